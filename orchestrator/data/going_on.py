"""Going on with a data set whose writer was stopped: whether it may be, and what the set holds already."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from algorithms.images import decode_png
from orchestrator.data.schema import DatasetInfo
from orchestrator.errors import SettingsError

REMEDY = "Choose another folder, or delete this one and begin anew"

_NOT_COMPARED = ("name", "origin", "settings", "num_episodes", "num_transitions", "num_parts", "complete", "labels")


def check_continues(folder: Path, begun: DatasetInfo, wanted: DatasetInfo) -> None:
    """Raise SettingsError, naming what differs, unless `begun` in `folder` is the beginning of `wanted`.

    A set that does not know its origin may have been begun with anything: its episodes are to be compared.
    """
    start = f"{folder} holds the first {begun.num_episodes:,} episodes of a set that was not finished, begun"
    if begun.origin is not None and wanted.origin is not None:
        if begun.origin.digest != wanted.origin.digest:
            raise SettingsError(
                f"{start} from another source, {begun.origin.name!r}, or from {wanted.origin.name!r} before that was "
                f"changed. {REMEDY}"
            )
        if begun.origin.rule != wanted.origin.rule:
            raise SettingsError(f"{start} by another version of likert-rl, by other rules. {REMEDY}")
    elif begun.origin is not None:
        raise SettingsError(f"{start} from {begun.origin.name!r}. {REMEDY}")
    differing = [
        name for name in DatasetInfo.model_fields
        if name not in _NOT_COMPARED and getattr(begun, name) != getattr(wanted, name)
    ]  # fmt: skip
    # Who began it without noting its origin knew fewer settings; there the episodes themselves are compared.
    if begun.origin is not None or wanted.origin is None:
        differing += _differing(begun.settings, wanted.settings)
    if differing:
        raise SettingsError(f"{start} otherwise: {', '.join(differing)}. {REMEDY}")


class Comparison:
    """Episodes that a set holds, each compared with what is made now, in order."""

    def __init__(self, folder: Path, held: Iterator[pa.Table]) -> None:
        self._folder = folder
        self._held = held
        self._next = next(held, None)

    @property
    def is_done(self) -> bool:
        """Whether all of them were found to be the same."""
        return self._next is None

    def take(self, rows: pa.Table) -> None:
        """Compare an episode that was made now with the next one held. Raises SettingsError if they differ."""
        assert self._next is not None
        name = self._next["episode_id"][0].as_py()
        if not _same(self._next, rows):
            raise SettingsError(
                f"{self._folder}: the set was begun before sets noted their origin, and its episode {name} is not what "
                f"the source gives now: it was made by older rules, or from another source. {REMEDY}"
            )
        self._next = next(self._held, None)

    def check_done(self) -> None:
        """Raise SettingsError if an episode that the set holds was not made now."""
        if self._next is not None:
            name = self._next["episode_id"][0].as_py()
            raise SettingsError(f"{self._folder}: the set holds episode {name}, which the source has not. {REMEDY}")


def _differing(begun: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [
        f"{key} was {begun.get(key)!r}, now {wanted.get(key)!r}"
        for key in sorted({*begun, *wanted})
        if begun.get(key) != wanted.get(key)
    ]


def _same(held: pa.Table, made: pa.Table) -> bool:
    if held.column_names != made.column_names or held.num_rows != made.num_rows:
        return False
    if not held.drop_columns(["frame"]).equals(made.drop_columns(["frame"])):
        return False
    frames = zip(held["frame"].to_pylist(), made["frame"].to_pylist(), strict=True)
    return all(one == other or _same_picture(one, other) for one, other in frames)


def _same_picture(held: bytes, made: bytes) -> bool:
    """Whether the pixels are the same: other versions of a library compress them to other bytes."""
    try:
        return np.array_equal(decode_png(held), decode_png(made))
    except (OSError, SyntaxError, ValueError, TypeError):
        return False
