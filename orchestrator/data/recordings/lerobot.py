"""Importing a LeRobotDataset: Parquet tables, and mp4 files or pictures.

In version 3 a file has several episodes, in version 2 one:

    meta/info.json                                  meta/info.json
    meta/tasks.parquet                              meta/tasks.jsonl
    meta/episodes/chunk-000/file-000.parquet        meta/episodes.jsonl
    data/chunk-000/file-000.parquet                 data/chunk-000/episode_000000.parquet
    videos/<camera>/chunk-000/file-000.mp4          videos/chunk-000/<camera>/episode_000000.mp4

A recording has as many pictures as actions, so what its last action led to was never seen: that action is left out.
See docs/datasets.md.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from algorithms.trajectories import Trajectory
from orchestrator.data.recordings.importing import ImportProblem, digest_of, write_imported
from orchestrator.data.recordings.in_parallel import in_parallel
from orchestrator.data.recordings.lerobot_metadata import (
    action_choices,
    action_entries,
    choose_camera,
    read_info,
    value_of,
    whole_number,
)
from orchestrator.data.recordings.lerobot_statistics import stated_bounds
from orchestrator.data.recordings.lerobot_tables import (
    contradicted,
    data_file,
    is_whole,
    meta_files,
    read_columns,
    read_episodes,
    read_tasks,
    video_file,
    video_span,
)
from orchestrator.data.recordings.lerobot_values import flags, numbers, whole_numbers
from orchestrator.data.recordings.pictures import PictureError, file_below, stored_frame, video_frames
from orchestrator.data.recordings.steps import Steps, StepSettings, trajectory_of_steps
from orchestrator.data.schema import ActionSpace, DatasetInfo, Origin
from orchestrator.errors import SettingsError
from orchestrator.screen.counts import counted

RULE = 1
"""Of `schema.Origin`: raised whenever the same recording would give other episodes."""


MAX_GAPS = 10
"""So many gaps in the list of episodes are told."""
STATE = "observation.state"
"""Where a robot's own state is, by LeRobot's custom."""


class LeRobotSettings(StepSettings):
    """Settings of the importer."""

    camera: str | None = None
    """Feature that holds the pictures, such as `observation.images.front`; absent: the only one there is."""
    action_key: str = "action"
    """Feature that holds the actions."""


def import_lerobot(source: Path, folder: Path, settings: LeRobotSettings) -> tuple[DatasetInfo, int]:
    """Import all episodes. Returns the set's metadata and the number of problems. Raises SettingsError."""
    recording = Recording(source, settings)
    origin = Origin(name=source.resolve().name, digest=digest_of(source, recording.files()), rule=RULE)
    # Statistics are of single moves.
    has_others = (settings.actions == "relative" and settings.every > 1) or recording.actions.kind == "discrete"
    bounds = None if has_others else stated_bounds(source, settings.action_key, len(recording.actions.names))
    total = max(len(recording.rows), recording.info.total_episodes or 0)
    return write_imported(
        folder, "lerobot", recording.actions, settings, recording.episodes(), total, origin, stated_bounds=bounds
    )


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of an episode that have one task."""

    name: str
    """Of the episode that it becomes."""
    first: int
    stop: int
    """The row after its last."""
    task: int | None
    """Number of its task; None where rows have none."""


class Recording:
    """A LeRobotDataset in a folder."""

    def __init__(self, source: Path, settings: LeRobotSettings) -> None:
        """Open it. Raises SettingsError if it is no LeRobotDataset, or lacks the camera or the actions."""
        self.source = source
        self._settings = settings
        self.info = read_info(source)
        features = self.info.features
        try:
            self._camera = choose_camera(source, features, settings.camera)
            names, self.is_named = action_entries(source, features, settings.action_key)
        except RecursionError:
            raise SettingsError(f"{source}/meta/info.json: its features are nested too deep") from None
        self._is_video = features[self._camera]["dtype"] == "video"
        choices = action_choices(features[settings.action_key])
        self.actions = ActionSpace(kind="discrete" if choices else "continuous", names=choices or names)
        self._steps = Steps(settings, self.actions)
        self._tasks = read_tasks(source, self.info)
        self.rows = list(read_episodes(source, self.info, self._camera))
        """What `meta/episodes` says of each episode, and what cannot be read of it."""
        self._contradicted = contradicted(self.rows)
        self._table: tuple[Path, pa.Table] | None = None

    def files(self) -> set[Path]:
        """All files that an import reads, whether they are there or not."""
        files = meta_files(self.source, self.info)
        for row in self.rows:
            if isinstance(row, ImportProblem):
                continue
            # An episode that names no file that could be read has none; `episodes` says so in its turn.
            with suppress(ImportProblem):
                files.add(self._data_file(row))
                if self._is_video:
                    files.add(self._video_file(row))
        return files if self._is_video else files | self._picture_files(files)

    def episodes(self) -> Iterator[Trajectory | ImportProblem]:
        """Every episode, in pieces of one task each, and what keeps others from being imported."""
        if not self.is_named:
            yield ImportProblem(
                f"{self.source}/meta/info.json: the names of {self._settings.action_key!r} do not fit its "
                f"{len(self.actions.names)} entries, which are called a0, a1 and so on",
                is_note=True,
            )
        for row in self.rows:
            yield from [row] if isinstance(row, ImportProblem) else self._episode(row)
        note = self._steps.note()
        if note is not None:
            yield note
        yield from self._not_listed()

    def _not_listed(self) -> Iterator[ImportProblem]:
        promised = self.info.total_episodes
        if promised is None:
            return
        rows = [row.get("episode_index") for row in self.rows if not isinstance(row, ImportProblem)]
        listed = sorted({int(number) for number in rows if is_whole(number)})
        beyond = [number for number in listed if number >= promised]
        edges = [-1, *listed[: len(listed) - len(beyond)], promised]
        gaps = [(one + 1, other - 1) for one, other in itertools.pairwise(edges) if other - one > 1]
        promise = f"{self.source}: meta/info.json promises {counted(promised, 'episode')}, and meta/episodes"
        if gaps:
            told = [f"{first}" if first == last else f"{first} to {last}" for first, last in gaps[:MAX_GAPS]]
            more = f" and more ({len(gaps):,} gaps)" if len(gaps) > MAX_GAPS else ""
            yield ImportProblem(
                f"{promise} lacks {', '.join(told)}{more}", sum(last - first + 1 for first, last in gaps)
            )
        if beyond:
            yield ImportProblem(f"{promise} lists others: {beyond[0]} to {beyond[-1]}", num_episodes=0)

    def _episode(self, row: Mapping[str, Any]) -> Iterator[Trajectory | ImportProblem]:
        try:
            number = whole_number(value_of(row, "episode_index"), "episode_index")
            name = f"episode-{number:06d}"
            if number in self._contradicted:
                raise ImportProblem(f"{name} is listed more than once, each time otherwise")
        except ImportProblem as problem:
            yield ImportProblem(f"{self.source}: an episode of meta/episodes: {problem}")
            return
        try:
            rows = self._rows_of(row, number)
            pieces = self._pieces(name, rows)
        except ImportProblem as problem:
            yield ImportProblem(f"{self.source}: {name}: {problem}")
            return
        note = self._look_at(rows) if self._steps.is_looking else None
        if note is not None:
            yield note
        for piece in pieces:
            try:
                yield self._trajectory(piece, row, rows)
            except (ImportProblem, PictureError) as problem:
                yield ImportProblem(f"{self.source}: {piece.name}: {problem}")

    def _rows_of(self, row: Mapping[str, Any], number: int) -> pa.Table:
        """An episode's rows, in the order of its frames."""
        path = self._data_file(row)
        length = whole_number(value_of(row, "length"), "length")
        if self._table is None or self._table[0] != path:
            # Episodes of one file follow one another, so it is read once.
            self._table = None
            self._table = path, self._read(path)
        table = self._table[1]
        try:
            rows = table.filter(pc.equal(table["episode_index"], number))
        except (pa.ArrowException, KeyError) as error:
            raise ImportProblem(f"{path}: its column episode_index cannot be read: {error}") from error
        if rows.num_rows != length:
            raise ImportProblem(f"{path}: it has {counted(rows.num_rows, 'row')}, but must have {length}")
        order = whole_numbers(rows, "frame_index")
        if sorted(order) != list(range(length)):
            raise ImportProblem(f"{path}: frame_index does not number its {length} rows from 0")
        return rows if order == list(range(length)) else rows.take(np.argsort(order))

    def _read(self, path: Path) -> pa.Table:
        columns = ["episode_index", "frame_index", "task_index", "timestamp", "next.success"]
        columns += [STATE] if self._steps.is_looking and STATE != self._settings.action_key else []
        camera = [] if self._is_video else [self._camera]
        try:
            return read_columns(path, [*columns, self._settings.action_key, *camera])
        except ImportProblem as problem:
            raise ImportProblem(f"{path}: {problem}") from problem

    def _pieces(self, name: str, rows: pa.Table) -> list[Piece]:
        """The episode, cut where its task changes; the rows alone know where that is."""
        if "task_index" not in rows.column_names:
            return [Piece(name, 0, rows.num_rows, None)]
        tasks = whole_numbers(rows, "task_index")
        edges = [0, *(row for row in range(1, len(tasks)) if tasks[row] != tasks[row - 1]), len(tasks)]
        if len(edges) == 2:
            return [Piece(name, 0, rows.num_rows, tasks[0] if tasks else None)]
        return [
            Piece(f"{name}/{number}", first, stop, tasks[first])
            for number, (first, stop) in enumerate(itertools.pairwise(edges))
        ]

    def _trajectory(self, piece: Piece, row: Mapping[str, Any], rows: pa.Table) -> Trajectory:
        instruction = self._instruction(piece, row)
        # What a piece led to is the first picture of the next; behind the last piece there is none.
        kept = self._steps.kept(piece.first, min(piece.stop, rows.num_rows - 1))
        actions = self._steps.joined(self._actions(rows.take(self._steps.rows(kept))), kept)
        # Without a word on success a recording counts as one, as in the paper.
        success = flags(rows.slice(piece.first, piece.stop - piece.first), "next.success")
        return trajectory_of_steps(
            piece.name,
            instruction,
            actions,
            self._steps.words(actions),
            self._frames(row, rows, kept),
            succeeded=any(success) if success else True,
        )

    def _look_at(self, rows: pa.Table) -> ImportProblem | None:
        try:
            states = numbers(rows, STATE) if STATE in rows.column_names else None
            return self._steps.look_at(self._actions(rows), states)
        except ImportProblem:
            return None  # Told if it concerns a row that is kept.

    def _instruction(self, piece: Piece, row: Mapping[str, Any]) -> str:
        """The task of its rows; what the episode's own list says must agree."""
        listed = [row["tasks"]] if isinstance(row.get("tasks"), str) else row.get("tasks") or []
        if not isinstance(listed, list) or not all(isinstance(task, str) for task in listed):
            raise ImportProblem(f"its tasks are {listed!r}, but must be a list of texts")
        if piece.task is not None and self._tasks:
            task = self._tasks.get(piece.task)
            if task is None:
                raise ImportProblem(f"its task_index {piece.task} has no task in meta/tasks")
            if listed and task not in listed:
                raise ImportProblem(f"its rows have the task {task!r}, but meta/episodes says {listed}")
        elif len(set(listed)) == 1:
            task = listed[0]
        else:
            raise ImportProblem(f"which of {listed} is its task cannot be told" if listed else "it has no task")
        if not isinstance(task, str) or not task.strip():
            raise ImportProblem("its task has no words, so it has no instruction")
        return " ".join(task.split())

    def _actions(self, rows: pa.Table) -> np.ndarray:
        """[rows, entries] float32, or [rows] int64 where they are numbers of choices."""
        if self.actions.kind == "discrete":
            found = whole_numbers(rows, self._settings.action_key)
            unknown = next((number for number in found if number >= len(self.actions.names)), None)
            if unknown is not None:
                raise ImportProblem(f"its action {unknown} is unknown: there are {len(self.actions.names)} choices")
            return np.array(found, dtype=np.int64)
        actions = numbers(rows, self._settings.action_key)
        if actions.shape[1] != len(self.actions.names):
            raise ImportProblem(
                f"its actions have {actions.shape[1]} entries, but meta/info.json says {len(self.actions.names)}"
            )
        return actions

    def _frames(self, row: Mapping[str, Any], rows: pa.Table, kept: Sequence[int]) -> Iterator[bytes]:
        if not self._is_video:
            yield from in_parallel(lambda index: self._picture(rows, index), kept)
            return
        path = self._video_file(row)
        start, stop = video_span(self.info, row, self._camera)
        stamps = numbers(rows.take(kept), "timestamp", np.float64).reshape(-1)
        times = start + stamps
        tolerance = 0.5 / self.info.fps
        if len(stamps) != len(kept) or stamps[0] < 0 or (np.diff(times) <= 0).any() or times[-1] > stop - tolerance:
            raise ImportProblem(f"its timestamps do not rise from {start:.3f} s of the video to before {stop:.3f} s")
        if not path.is_file():
            raise ImportProblem(f"{path}: the video cannot be read: there is no such file")
        try:
            yield from video_frames(path, times.tolist(), self.info.fps, self._settings.frame_px)
        except PictureError as error:
            raise ImportProblem(f"{path}: {error}") from error

    def _picture(self, rows: pa.Table, index: int) -> bytes:
        """The picture of a row: its bytes, or the file that it names."""
        try:
            cell = rows[self._camera][index].as_py()
            if not isinstance(cell, dict) or (cell.get("bytes") is None and not isinstance(cell.get("path"), str)):
                raise PictureError("it has neither bytes nor a path")
            content = cell.get("bytes")
            picture = file_below(self.source, cell["path"]) if content is None else content
            if not isinstance(picture, Path | bytes):
                raise PictureError(f"it is {type(picture).__name__}, and no bytes")
            return stored_frame(picture, self._settings.frame_px)
        except (PictureError, KeyError, pa.ArrowException, ValueError) as error:
            raise ImportProblem(f"picture {index} cannot be read: {error}") from error

    def _data_file(self, row: Mapping[str, Any]) -> Path:
        return data_file(self.source, self.info, row)

    def _video_file(self, row: Mapping[str, Any]) -> Path:
        return video_file(self.source, self.info, row, self._camera)

    def _picture_files(self, tables: set[Path]) -> set[Path]:
        """Files that the tables name as pictures, as far as they are there."""
        found = set()
        for table in tables:
            try:
                with pq.ParquetFile(table) as file:
                    paths = file.read(columns=[f"{self._camera}.path"])[self._camera].combine_chunks().field("path")
                named = {name for name in paths.to_pylist() if name}
                found |= {path for path in (file_below(self.source, name) for name in named) if path.is_file()}
            except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError):
                continue  # Told when an episode of that table has its turn.
        return found
