"""Reading and labelling a trajectory data set, in memory for one part. See docs/datasets.md."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from algorithms.trajectories import Trajectory
from orchestrator.data.check import (
    PartError,
    Problem,
    ending_problems,
    structure_problems,
    value_problems,
)
from orchestrator.data.learning_check import LearningCheck
from orchestrator.data.metadata import read_info, write_info
from orchestrator.data.parts import episode_rows, open_part, read_whole, write_part
from orchestrator.data.schema import LABELLER_PATTERN, REWARD, SCORE, STATE_COLUMNS, trajectory_of
from orchestrator.errors import SettingsError
from orchestrator.storage.writing import waiting_lock

log = logging.getLogger(__name__)

LABELS_LOCK = ".labels.lock"
"""In the set's folder; whoever changes labels or metadata waits for it."""
_STAMP = b"likert.label"


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
        yield from episode_rows(self.folder / part, left_out)

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with the set, row by row."""
        seen: dict[str, str] = {}
        learning = LearningCheck(self.info)
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
                        states = [name for name in STATE_COLUMNS if name in rows.column_names]
                        learning.add(trajectory_of(rows.drop_columns(states), self.info))
            except PartError as error:
                yield Problem(part, str(error))
        yield from learning.problems()

    def label_stamp(self, part: str, labeller: str) -> dict[str, Any] | None:
        """What `write_labels` was given as stamp when it wrote this labeller's columns, or None. Raises PartError."""
        schema = open_part(self.folder / part).schema_arrow
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
        with waiting_lock(self.folder / LABELS_LOCK):
            table = read_whole(self.folder / part)
            table = table.drop_columns([n for n in (*columns, *instead_of) if n in table.column_names])
            for name, values in columns.items():
                field = pa.field(name, pa.float32(), metadata=metadata)
                table = table.append_column(field, pa.array(values, pa.float32(), from_pandas=True))
            write_part(self.folder / part, table)

    def num_rows(self, part: str) -> int:
        """Rows of a part. Raises PartError if it cannot be read."""
        with open_part(self.folder / part) as file:
            return file.metadata.num_rows

    def record_labels(self, labeller: str, about: dict[str, Any]) -> None:
        """Note in `metadata.json` how a labeller's columns came to be."""
        with waiting_lock(self.folder / LABELS_LOCK):
            info = read_info(self.folder)
            self.info = info.model_copy(update={"labels": {**info.labels, labeller: about}})
            write_info(self.folder, self.info)
