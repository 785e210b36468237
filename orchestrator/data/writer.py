"""Writing a trajectory data set, episode by episode, in memory for one part."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from algorithms.trajectories import Trajectory
from orchestrator.data.action_bounds import KnownBounds, recorded_actions, with_bounds
from orchestrator.data.check import PartError
from orchestrator.data.going_on import REMEDY, Comparison, check_continues
from orchestrator.data.metadata import METADATA_FILE, read_info, write_info
from orchestrator.data.parts import episode_rows, open_part, write_part
from orchestrator.data.schema import ActionSpace, DatasetInfo, rows_of
from orchestrator.errors import SettingsError
from orchestrator.storage.writing import remove_stale_temporaries

log = logging.getLogger(__name__)

PART_BYTES = 32 * 2**20
"""A part is written once its rows take this many bytes."""

_NOTHING_YET = {"num_episodes": 0, "num_transitions": 0, "num_parts": 0, "complete": False}


class DatasetWriter:
    """Writes a data set part by part. Use it as a context manager; without an error at its end the set is complete.

    A writer that was killed is followed by another: its whole parts stay, and `held` says which episodes are in them.
    The caller writes what is missing; to write one that is held changes nothing.
    """

    def __init__(
        self, folder: Path, info: DatasetInfo, part_bytes: int = PART_BYTES, bounds: KnownBounds | None = None
    ) -> None:
        """Begin a set, or go on with one that was begun from the same origin with the same settings.

        Continuous actions get their bounds at its end, from the actions themselves and from what `bounds` says of them.

        Raises SettingsError if a complete set stands there, or the beginning of another.
        """
        self.folder = folder
        self.info = info.model_copy(update=_NOTHING_YET)
        self.held: frozenset[str] = frozenset()
        """Episodes that the set held when this writer began, and that need not be made again."""
        self._part_bytes = part_bytes
        self._bounds = bounds or KnownBounds()
        self._bounds.check(info.actions)
        self._rows: list[pa.Table] = []
        self._num_bytes = 0
        self._written: set[str] = set()
        self._comparison: Comparison | None = None
        self._origin, self._settings = info.origin, info.settings
        if (folder / METADATA_FILE).exists():
            self._go_on(read_info(folder))
        elif any(folder.glob("part-*.parquet")):
            raise SettingsError(f"{folder} has parts of a data set, but no {METADATA_FILE}. {REMEDY}")
        remove_stale_temporaries(folder)
        for part in sorted(folder.glob("part-*.parquet"))[self.info.num_parts :]:
            part.unlink()
        write_info(folder, self.info)

    def _go_on(self, begun: DatasetInfo) -> None:
        if begun.complete:
            raise SettingsError(f"{self.folder} holds a complete data set already; choose another folder, or delete it")
        if not begun.num_parts:
            return
        if self.info.actions.bounds is None:
            # They are found anew at the end, from all that the set then holds.
            begun = begun.model_copy(update={"actions": begun.actions.model_copy(update={"bounds": None})})
        check_continues(self.folder, begun, self.info)
        held = self._held_rows(begun.num_parts, only_names=True)
        names = [rows["episode_id"][0].as_py() for rows in held]
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None or len(names) != begun.num_episodes:
            holds = f"{len(names):,} episodes" if twice is None else f"{twice} twice"
            raise SettingsError(
                f"{self.folder}: its parts hold {holds}, and {METADATA_FILE} says {begun.num_episodes:,} episodes. "
                f"{REMEDY}"
            )
        if begun.origin is None and self._origin is not None:
            log.warning(
                "%s was begun before sets noted their origin: each of its %d episodes is made again and compared",
                self.folder, begun.num_episodes,
            )  # fmt: skip
            self._comparison = Comparison(self.folder, self._held_rows(begun.num_parts))
        else:
            self.held = frozenset(names)
        self.info = begun.model_copy(update={"name": self.info.name})

    def _held_rows(self, num_parts: int, only_names: bool = False) -> Iterator[pa.Table]:
        for number in range(num_parts):
            part = self.folder / f"part-{number:05d}.parquet"
            try:
                with open_part(part) as file:
                    left_out = set(file.schema_arrow.names) - {"episode_id"} if only_names else set()
                for _, rows in episode_rows(part, left_out):
                    yield rows
            except PartError as error:
                raise SettingsError(f"{part}, of a set that was not finished: {error}. {REMEDY}") from None

    def write(self, trajectory: Trajectory) -> None:
        """Add an episode, if it is not held yet.

        Raises ValueError if it does not fit the set, or if its id was written already.
        """
        if trajectory.episode_id in self.held:
            return
        if trajectory.episode_id in self._written:
            raise ValueError(f"episode {trajectory.episode_id} was written already: ids are unique in a set")
        self._written.add(trajectory.episode_id)
        rows = rows_of(trajectory, self.info)
        if self._comparison is not None:
            self._compare(rows)
            return
        self._rows.append(rows)
        self._num_bytes += rows.nbytes
        if self._num_bytes >= self._part_bytes:
            self._flush()

    def _compare(self, rows: pa.Table) -> None:
        assert self._comparison is not None
        self._comparison.take(rows)
        if self._comparison.is_done:
            self._comparison = None
            self.info = self.info.model_copy(update={"origin": self._origin, "settings": self._settings})
            write_info(self.folder, self.info)

    def close(self) -> None:
        """Write what is left; the set is complete. Raises SettingsError if it holds what the caller did not make."""
        if self._comparison is not None:
            self._comparison.check_done()
        self._flush()
        self.info = self.info.model_copy(update={"complete": True, "actions": self._with_bounds()})
        write_info(self.folder, self.info)

    def _with_bounds(self) -> ActionSpace:
        """Read back from the parts, since an earlier writer may have made some of them."""
        actions = self.info.actions
        if actions.kind == "discrete" or actions.bounds is not None or not self.info.num_parts:
            return actions
        parts = (self.folder / f"part-{number:05d}.parquet" for number in range(self.info.num_parts))
        actions, notes = with_bounds(actions, recorded_actions(parts, len(actions.names)), self._bounds)
        for note in notes:
            log.warning("%s: %s", self.folder, note)
        return actions

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        write_part(self.folder / f"part-{self.info.num_parts:05d}.parquet", pa.concat_tables(self._rows))
        num_rows = sum(rows.num_rows for rows in self._rows)
        self.info = self.info.model_copy(
            update={
                "num_episodes": self.info.num_episodes + len(self._rows),
                "num_transitions": self.info.num_transitions + num_rows - len(self._rows),
                "num_parts": self.info.num_parts + 1,
            }
        )
        self._rows, self._num_bytes = [], 0
        write_info(self.folder, self.info)
