"""Trajectory data sets: Parquet parts and `metadata.json`, written and read in streams. See docs/datasets.md.

No function holds more than one part in memory, whatever the size of the set.
"""

import itertools
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from algorithms.trajectories import Trajectory
from orchestrator.data.action_ranges import ActionRanges
from orchestrator.data.check import (
    PartError,
    Problem,
    ending_problems,
    structure_problems,
    value_problems,
)
from orchestrator.data.going_on import REMEDY, Comparison, check_continues
from orchestrator.data.schema import (
    LABELLER_PATTERN,
    REWARD,
    SCHEMA_VERSION,
    SCORE,
    DatasetInfo,
    rows_of,
    trajectory_of,
)
from orchestrator.errors import SettingsError
from orchestrator.storage.writing import remove_stale_temporaries, waiting_lock, write_atomic, write_text

log = logging.getLogger(__name__)

METADATA_FILE = "metadata.json"
PART_BYTES = 32 * 2**20
"""A part is written once its rows take this many bytes."""
ROWS_PER_GROUP = 128
"""Rows that are read together."""

_TABLE = {b"likert.table": b"trajectories", b"likert.schema_version": str(SCHEMA_VERSION).encode()}
_STAMP = b"likert.label"
_NOTHING_YET = {"num_episodes": 0, "num_transitions": 0, "num_parts": 0, "complete": False}


class DatasetWriter:
    """Writes a data set part by part. Use it as a context manager; without an error at its end the set is complete.

    A writer that was killed is followed by another: its whole parts stay, and `held` says which episodes are in them.
    The caller writes what is missing; to write one that is held changes nothing.
    """

    def __init__(self, folder: Path, info: DatasetInfo, part_bytes: int = PART_BYTES) -> None:
        """Begin a set, or go on with one that was begun from the same origin with the same settings.

        Raises SettingsError if a complete set stands there, or the beginning of another.
        """
        self.folder = folder
        self.info = info.model_copy(update=_NOTHING_YET)
        self.held: frozenset[str] = frozenset()
        """Episodes that the set held when this writer began, and that need not be made again."""
        self._part_bytes = part_bytes
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
        _write_info(folder, self.info)

    def _go_on(self, begun: DatasetInfo) -> None:
        if begun.complete:
            raise SettingsError(f"{self.folder} holds a complete data set already; choose another folder, or delete it")
        if not begun.num_parts:
            return
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
                with _open(part) as file:
                    left_out = set(file.schema_arrow.names) - {"episode_id"} if only_names else set()
                for _, rows in _episode_rows(part, left_out):
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
            _write_info(self.folder, self.info)

    def close(self) -> None:
        """Write what is left; the set is complete. Raises SettingsError if it holds what the caller did not make."""
        if self._comparison is not None:
            self._comparison.check_done()
        self._flush()
        self.info = self.info.model_copy(update={"complete": True})
        _write_info(self.folder, self.info)

    def __enter__(self) -> "DatasetWriter":
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None:
            self.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        _write_part(self.folder / f"part-{self.info.num_parts:05d}.parquet", pa.concat_tables(self._rows))
        num_rows = sum(rows.num_rows for rows in self._rows)
        self.info = self.info.model_copy(
            update={
                "num_episodes": self.info.num_episodes + len(self._rows),
                "num_transitions": self.info.num_transitions + num_rows - len(self._rows),
                "num_parts": self.info.num_parts + 1,
            }
        )
        self._rows, self._num_bytes = [], 0
        _write_info(self.folder, self.info)


class TrajectoryDataset:
    """A data set on disk. Reading it needs memory for one part at most."""

    def __init__(self, folder: Path) -> None:
        """Open it. Raises SettingsError if there is none, or if a newer version wrote it."""
        self.folder = Path(folder)
        self.info = read_info(self.folder)
        if not self.info.complete:
            raise SettingsError(f"{folder} is not complete: its writer was stopped. Run it again to its end")

    @property
    def parts(self) -> list[str]:
        """Names of the parts, in order."""
        return sorted(path.name for path in self.folder.glob("part-*.parquet"))

    def episodes(
        self,
        parts: Sequence[str] | None = None,
        *,
        frames: bool = True,
        symbolic: bool = True,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> Iterator[Trajectory]:
        """The episodes of `parts`, or of all, one after the other.

        An episode that cannot be read whole is left out and `on_problem` is told why; by default a warning is logged.
        Pictures are not decoded here. `frames` and `symbolic` say whether to read those columns.
        """
        tell = on_problem or (lambda problem: log.warning("%s: left out", problem))
        for part in parts if parts is not None else self.parts:
            try:
                for first_row, rows in self.episode_rows(part, frames=frames, symbolic=symbolic):
                    problems = structure_problems(part, first_row, rows, self.info)
                    for problem in problems:
                        tell(problem)
                    if not problems:
                        yield trajectory_of(rows, self.info)
            except PartError as error:
                tell(Problem(part, str(error)))

    def episode_rows(self, part: str, *, frames: bool = True, symbolic: bool = True) -> Iterator[tuple[int, pa.Table]]:
        """For each run of rows with one episode id: the number of its first row in the part, and the rows.

        Raises PartError if the part, or what is left of it, cannot be read.
        """
        left_out = {name for name, wanted in (("frame", frames), ("symbolic", symbolic)) if not wanted}
        yield from _episode_rows(self.folder / part, left_out)

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with the set, row by row."""
        seen: dict[str, str] = {}
        ranges = ActionRanges(self.info.actions)
        lost = {f"part-{number:05d}.parquet" for number in range(self.info.num_parts)} - set(self.parts)
        yield from (Problem(part, "the file is missing") for part in sorted(lost))
        for part in self.parts:
            try:
                for first_row, rows in self.episode_rows(part):
                    name = rows["episode_id"][0].as_py()
                    if name in seen:
                        yield Problem(part, f"its id stands in {seen[name]} already", first_row, name)
                    seen[name] = part
                    torn = structure_problems(part, first_row, rows, self.info)
                    yield from torn
                    yield from value_problems(part, first_row, rows, self.info)
                    if not torn:
                        yield from ending_problems(part, first_row, rows)
                        if self.info.actions.kind == "continuous":
                            ranges.add(trajectory_of(rows, self.info).actions)
            except PartError as error:
                yield Problem(part, str(error))
        if ranges.beyond_policy:
            yield Problem("all parts", f"{ranges.beyond_policy}; it can be labelled, but not learned from")
        yield from (Problem("all parts", f"{text} in every action", is_note=True) for text in ranges.constant)

    def label_stamp(self, part: str, labeller: str) -> dict[str, Any] | None:
        """What `write_labels` was given as stamp when it wrote this labeller's columns, or None. Raises PartError."""
        schema = _open(self.folder / part).schema_arrow
        index = schema.get_field_index(REWARD + labeller)
        metadata = (schema.field(index).metadata or {}) if index >= 0 else {}
        try:
            return json.loads(metadata[_STAMP]) if _STAMP in metadata else None
        except ValueError as error:
            raise PartError(f"its note about the labels of {labeller} cannot be read: {error}") from error

    def write_labels(
        self,
        part: str,
        labeller: str,
        rewards: np.ndarray,
        scores: np.ndarray | None = None,
        stamp: dict[str, Any] | None = None,
    ) -> None:
        """Put a labeller's columns `reward_<labeller>` and `score_<labeller>` into a part, in place of its old ones.

        Args:
            rewards: float32, one for each row of the part; NaN is stored as null: no label.
            scores: likewise, the labeller's answers on its own scale.
            stamp: JSON data that `label_stamp` gives back.

        Raises PartError if the part cannot be read, ValueError for a name that no column can have.
        """
        if not re.match(LABELLER_PATTERN, labeller):
            raise ValueError(f"labeller {labeller!r}: a name has small letters, digits and _, and begins with a letter")
        columns = {REWARD + labeller: rewards} | ({} if scores is None else {SCORE + labeller: scores})
        self.write_columns(part, columns, stamp, instead_of=(SCORE + labeller,))

    def write_columns(
        self,
        part: str,
        columns: Mapping[str, np.ndarray],
        stamp: dict[str, Any] | None = None,
        instead_of: Sequence[str] = (),
    ) -> None:
        """Put columns of labels, by full name, into a part in place of those of equal name and of `instead_of`.

        Values are float32, one for each row of the part; NaN is stored as null. Raises PartError.
        """
        metadata = {_STAMP: json.dumps(stamp or {}, sort_keys=True).encode()}
        with waiting_lock(self.folder / ".labels.lock"):
            table = _read_whole(self.folder / part)
            table = table.drop_columns([n for n in (*columns, *instead_of) if n in table.column_names])
            for name, values in columns.items():
                field = pa.field(name, pa.float32(), metadata=metadata)
                table = table.append_column(field, pa.array(values, pa.float32(), from_pandas=True))
            _write_part(self.folder / part, table)

    def num_rows(self, part: str) -> int:
        """Rows of a part. Raises PartError if it cannot be read."""
        with _open(self.folder / part) as file:
            return file.metadata.num_rows

    def record_labels(self, labeller: str, about: dict[str, Any]) -> None:
        """Note in `metadata.json` how a labeller's columns came to be."""
        with waiting_lock(self.folder / ".labels.lock"):
            info = read_info(self.folder)
            self.info = info.model_copy(update={"labels": {**info.labels, labeller: about}})
            _write_info(self.folder, self.info)


def read_info(folder: Path) -> DatasetInfo:
    """A set's metadata. Raises SettingsError if there is none, or if a newer version wrote it."""
    path = Path(folder) / METADATA_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{folder} is no trajectory data set: it has no {METADATA_FILE}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SettingsError(
            f"{path} has schema version {version}; this likert-rl reads up to {SCHEMA_VERSION}. Update likert-rl"
        )
    try:
        return DatasetInfo.model_validate(found)
    except ValidationError as error:
        raise SettingsError(f"{path} is not a data set's metadata: {error}") from None


def _write_info(folder: Path, info: DatasetInfo) -> None:
    write_text(folder / METADATA_FILE, info.model_dump_json(indent=2) + "\n")


def _write_part(path: Path, table: pa.Table) -> None:
    table = table.replace_schema_metadata(_TABLE)
    leaves = [f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in table.schema]

    def write(file: Any) -> None:
        pq.write_table(
            table,
            file,
            row_group_size=ROWS_PER_GROUP,
            # PNG files do not get smaller.
            compression={name: "none" if name == "frame" else "zstd" for name in leaves},
            use_dictionary=[name for name in leaves if name in ("episode_id", "instruction", "action_name")],
            write_page_checksum=True,
        )

    write_atomic(path, write)


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PartError(f"the file cannot be read: {error}") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PartError(f"it has the column {twice!r} twice")
    missing = [name for name in ("episode_id", "t") if name not in names]
    if missing:
        raise PartError(f"it has no column {missing[0]!r}, so it is no part of a trajectory data set")
    return file


def _row_groups(path: Path, left_out: set[str]) -> Iterator[pa.Table]:
    with _open(path) as file:
        columns = [name for name in file.schema_arrow.names if name not in left_out]
        for group in range(file.num_row_groups):
            try:
                table = file.read_row_group(group, columns=columns)
                table.validate(full=True)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise PartError(f"row group {group} of {file.num_row_groups} cannot be read: {error}") from error
            yield table


def _episode_rows(path: Path, left_out: set[str]) -> Iterator[tuple[int, pa.Table]]:
    waiting: list[pa.Table] = []
    first_row = 0
    for group in _row_groups(path, left_out):
        for run in _runs(group):
            if waiting and waiting[0]["episode_id"][0] != run["episode_id"][0]:
                rows = pa.concat_tables(waiting)
                yield first_row, rows
                first_row += rows.num_rows
                waiting = []
            waiting.append(run)
    if waiting:
        yield first_row, pa.concat_tables(waiting)


def _read_whole(path: Path) -> pa.Table:
    try:
        return pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PartError(f"the file cannot be read: {error}") from error


def _runs(table: pa.Table) -> Iterator[pa.Table]:
    """The table cut where the episode id changes."""
    names = table["episode_id"].to_numpy()
    edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
    for start, end in itertools.pairwise(edges):
        if end > start:
            yield table.slice(start, end - start)
