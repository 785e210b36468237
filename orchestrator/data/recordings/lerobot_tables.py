"""The tasks, the episodes and the files of a LeRobotDataset, as either version lists them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.lerobot_metadata import RecordingInfo, value_of, whole_number
from orchestrator.data.recordings.pictures import PictureError, file_below
from orchestrator.errors import SettingsError

TASKS = {2: "tasks.jsonl", 3: "tasks.parquet"}
"""Below `meta/`."""
EPISODES = "episodes.jsonl"
"""Likewise, in version 2."""


def meta_files(source: Path, info: RecordingInfo) -> set[Path]:
    """What is read of `meta/`, whether it is there or not."""
    meta = source / "meta"
    episodes = [meta / EPISODES] if info.version == 2 else episode_files(source)
    return {meta / "info.json", meta / TASKS[info.version], *episodes}


def read_tasks(source: Path, info: RecordingInfo) -> dict[int, str]:
    """Task by its number. Raises SettingsError."""
    path = source / "meta" / TASKS[info.version]
    if not path.exists():
        return {}
    try:
        tasks: dict[int, str] = {}
        for row in _task_lines(path) if info.version == 2 else _task_table(path):
            number = whole_number(row.get("task_index"), "task_index")
            if tasks.setdefault(number, row.get("task")) != row.get("task"):
                raise ImportProblem(f"task_index {number} stands there with two tasks")
    except ImportProblem as problem:
        raise SettingsError(f"{path}: {problem}") from None
    return tasks


def _task_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for row in _lines(path):
        if isinstance(row, ImportProblem):
            raise row
        yield row


def _task_table(path: Path) -> Iterator[Mapping[str, Any]]:
    """The text is the table's index, whose column pandas names in several ways."""
    table = read_columns(path)
    texts = [field.name for field in table.schema if _is_text(field.type)]
    text = next((name for name in ("task", "__index_level_0__") if name in texts), texts[0] if texts else None)
    if text is None or [table.column_names.count(name) for name in (text, "task_index")] != [1, 1]:
        raise ImportProblem(f"it has columns {', '.join(table.column_names)}, but must have task_index and task")
    for row in _rows(table.select(["task_index", text])):
        yield {"task_index": row["task_index"], "task": row[text]}


def read_episodes(source: Path, info: RecordingInfo, camera: str) -> Iterator[Mapping[str, Any] | ImportProblem]:
    """What is said of each episode, and what cannot be read. Raises SettingsError if there is no such list."""
    if info.version == 2:
        path = source / "meta" / EPISODES
        if not path.is_file():
            raise SettingsError(f"{source} has no meta/{EPISODES}")
        try:
            yield from _lines(path)
        except ImportProblem as problem:
            raise SettingsError(f"{path}: {problem}") from None
        return
    files = episode_files(source)
    if not files:
        raise SettingsError(f"{source} has no meta/episodes/**/*.parquet")

    def wanted(name: str) -> bool:
        return name in ("episode_index", "tasks", "length") or name.startswith(("data/", f"videos/{camera}/"))

    for file in files:
        try:
            # Statistics of every feature stand there too.
            names = [name for name in _column_names(file) if wanted(name)]
            yield from _rows(read_columns(file, names))
        except ImportProblem as problem:
            yield ImportProblem(f"{file}: its episodes cannot be read: {problem}")


def episode_files(source: Path) -> list[Path]:
    """Tables of `meta/episodes` in version 3, in order."""
    return sorted((source / "meta" / "episodes").rglob("*.parquet"))


def is_whole(value: Any) -> bool:
    """Whether it is a whole number from 0."""
    try:
        whole_number(value, "")
    except ImportProblem:
        return False
    return True


def contradicted(rows: Sequence[Mapping[str, Any] | ImportProblem]) -> set[int]:
    """Numbers of episodes that are listed more than once and not in the same way."""
    listed: dict[int, Mapping[str, Any]] = {}
    found = set()
    for row in rows:
        if not isinstance(row, ImportProblem) and is_whole(row.get("episode_index")):
            number = int(row["episode_index"])
            if listed.setdefault(number, row) != row:
                found.add(number)
    return found


def data_file(source: Path, info: RecordingInfo, row: Mapping[str, Any]) -> Path:
    """The table with an episode's rows. Raises ImportProblem."""
    return _file(source, info, info.data_path, row, "data")


def video_file(source: Path, info: RecordingInfo, row: Mapping[str, Any], camera: str) -> Path:
    """The video with an episode's pictures. Raises ImportProblem."""
    return _file(source, info, info.video_path, row, f"videos/{camera}", camera)


def video_span(info: RecordingInfo, row: Mapping[str, Any], camera: str) -> tuple[float, float]:
    """Seconds of its video where an episode begins and ends. Raises ImportProblem."""
    if info.version == 2:
        return 0.0, whole_number(value_of(row, "length"), "length") / info.fps
    start, stop = (_seconds(value_of(row, f"videos/{camera}/{edge}_timestamp")) for edge in ("from", "to"))
    return start, stop


def _file(
    source: Path, info: RecordingInfo, template: str, row: Mapping[str, Any], prefix: str, camera: str = ""
) -> Path:
    if info.version == 2:
        episode = whole_number(value_of(row, "episode_index"), "episode_index")
        numbers = {"episode_chunk": episode // info.chunks_size, "episode_index": episode}
    else:
        numbers = {
            name: whole_number(value_of(row, f"{prefix}/{name}"), f"{prefix}/{name}")
            for name in ("chunk_index", "file_index")
        }
    try:
        # A Hugging Face cache is all links, so these may lead outside.
        return file_below(source, template.format(video_key=camera, **numbers), follow_links=False)
    except PictureError as error:
        raise ImportProblem(str(error)) from None


def _lines(path: Path) -> Iterator[Mapping[str, Any] | ImportProblem]:
    """The block in each line of a file, or what is wrong with it. Raises ImportProblem if the file cannot be read."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ImportProblem(f"the file cannot be read: {error.strerror or error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield ImportProblem(f"{path}, line {number}: {error}")
            continue
        yield row if isinstance(row, dict) else ImportProblem(f"{path}, line {number}: it must be a block")


def _seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    raise ImportProblem(f"from_timestamp or to_timestamp is {value!r}, but must be a number of seconds from 0")


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or those of `columns` that it has. Raises ImportProblem if it cannot be read."""
    try:
        if not path.is_file():
            raise ImportProblem("there is no such file")
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            return file.read(columns=None if columns is None else [name for name in columns if name in present])
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ImportProblem(f"the file cannot be read: {error}") from error


def _column_names(path: Path) -> list[str]:
    try:
        return pq.read_schema(path).names
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ImportProblem(str(error)) from error


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    try:
        return table.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise ImportProblem(str(error)) from error


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
