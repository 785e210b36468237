"""Importing a LeRobotDataset of version 3: Parquet tables with several episodes each, and mp4 files or embedded images.

    meta/info.json
    meta/tasks.parquet
    meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet
    videos/<camera>/chunk-000/file-000.mp4

A recording has as many pictures as actions, so what the last action led to was never seen: that action is left out.
See docs/datasets.md.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from algorithms.settings import PositiveInt
from algorithms.trajectories import Trajectory
from orchestrator.data.importing import ImportProblem, ImportSettings, stored_frame, write_imported
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.errors import SettingsError

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
"""Where files are if `meta/info.json` does not say."""


class LeRobotSettings(ImportSettings):
    """Settings of the importer."""

    camera: str | None = None
    """Feature that holds the pictures, such as `observation.images.front`; absent: the only one there is."""
    every: PositiveInt = 1
    """Keep every so many frames: robots are recorded far faster than a model can judge. The action kept is the last
    before the next frame that is kept."""


def import_lerobot(source: Path, folder: Path, settings: LeRobotSettings) -> tuple[DatasetInfo, int]:
    """Import all episodes. Returns the set's metadata and the number of problems. Raises SettingsError."""
    recording = Recording(source, settings)
    episodes = (recording.episode(row) for row in recording.episode_rows())
    total = int(recording.info.get("total_episodes", 0))
    return write_imported(folder, "lerobot", recording.actions, settings, episodes, total)


class Recording:
    """A LeRobotDataset in a folder."""

    def __init__(self, source: Path, settings: LeRobotSettings) -> None:
        """Open it. Raises SettingsError if it is no LeRobotDataset of version 3, or has no such camera."""
        self.source = source
        self._settings = settings
        self.info = _read_info(source)
        self._features: dict[str, Any] = self.info["features"]
        self._camera = _camera(source, self._features, settings.camera)
        if "action" not in self._features:
            raise SettingsError(f"{source}: its features have no 'action'")
        self.actions = ActionSpace(kind="continuous", names=_action_names(self._features["action"]))
        self._tasks = _read_tasks(source)
        self._table: tuple[Path, pa.Table] | None = None

    def episode_rows(self) -> Iterator[Mapping[str, Any] | ImportProblem]:
        """What `meta/episodes` says of each episode."""
        files = sorted((self.source / "meta" / "episodes").rglob("*.parquet"))
        if not files:
            raise SettingsError(f"{self.source} has no meta/episodes/**/*.parquet")
        for file in files:
            try:
                table = pq.read_table(file, partitioning=None)
            except (pa.ArrowException, OSError) as error:
                yield ImportProblem(f"{file}: its episodes cannot be read: {error}")
                continue
            # Statistics of every feature stand there too.
            yield from table.select([name for name in table.column_names if not name.startswith("stats/")]).to_pylist()

    def episode(self, row: Mapping[str, Any] | ImportProblem) -> Trajectory | ImportProblem:
        """One episode, or what keeps it from being imported."""
        if isinstance(row, ImportProblem):
            return row
        try:
            name = f"episode-{int(row['episode_index']):06d}"
            rows = self._rows(row, name)
            kept = list(range(0, rows.num_rows, self._settings.every))
            if len(kept) < 2:
                return ImportProblem(f"{self.source}: {name}: {rows.num_rows} frames are too few for one action")
            return self._trajectory(name, row, rows, kept)
        except ImportProblem as problem:
            return problem
        except (KeyError, ValueError, TypeError, IndexError) as error:
            return ImportProblem(f"{self.source}: episode {row.get('episode_index')}: {type(error).__name__}: {error}")

    def _trajectory(self, name: str, row: Mapping[str, Any], rows: pa.Table, kept: Sequence[int]) -> Trajectory:
        # The action that leads to the next kept frame, most directly.
        leading = [index - 1 for index in kept[1:]]
        actions = np.array(rows["action"].to_pylist(), dtype=np.float32).reshape(rows.num_rows, -1)[leading]
        last = np.arange(len(leading)) == len(leading) - 1
        return Trajectory(
            episode_id=name,
            instruction=self._instruction(name, row, rows),
            actions=actions,
            action_names=tuple(self._words(action) for action in actions),
            sparse_rewards=self._sparse_rewards(rows, leading, last),
            terminated=last,
            truncated=np.zeros(len(leading), dtype=bool),
            frames=tuple(self._frames(name, row, rows, kept)),
        )

    def _sparse_rewards(self, rows: pa.Table, leading: Sequence[int], last: np.ndarray) -> np.ndarray:
        # Without a word on success a recording counts as one, as in the paper.
        if "next.success" in rows.column_names:
            success = np.array(rows["next.success"].to_pylist(), dtype=bool).any()
            return (last & success).astype(np.float32)
        return last.astype(np.float32)

    def _words(self, action: np.ndarray) -> str:
        return ", ".join(f"{name} {value:+.2f}" for name, value in zip(self.actions.names, action, strict=True))

    def _instruction(self, name: str, row: Mapping[str, Any], rows: pa.Table) -> str:
        tasks = [task for task in row.get("tasks") or [] if task and task.strip()]
        if not tasks and "task_index" in rows.column_names:
            tasks = [self._tasks[index] for index in rows["task_index"].unique().to_pylist() if index in self._tasks]
        if not tasks:
            raise ImportProblem(f"{self.source}: {name}: it has no task, so no instruction")
        return " ".join(tasks[0].split())

    def _rows(self, row: Mapping[str, Any], name: str) -> pa.Table:
        place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        path = self.source / self.info.get("data_path", DATA_PATH).format(**place)
        if self._table is None or self._table[0] != path:
            # Episodes of one file follow one another, so it is read once.
            self._table = None
            try:
                self._table = path, pq.read_table(path, partitioning=None)
            except (pa.ArrowException, OSError) as error:
                raise ImportProblem(f"{path}: {name}: the file cannot be read: {error}") from error
        table = self._table[1]
        rows = table.filter(pc.equal(table["episode_index"], row["episode_index"]))
        if rows.num_rows != row["length"]:
            raise ImportProblem(f"{path}: {name}: it has {rows.num_rows} rows, but must have {row['length']}")
        return rows.sort_by("frame_index")

    def _frames(self, name: str, row: Mapping[str, Any], rows: pa.Table, kept: Sequence[int]) -> Iterator[bytes]:
        if self._features[self._camera]["dtype"] == "image":
            for index in kept:
                yield self._embedded(name, rows, index)
            return
        key = f"videos/{self._camera}"
        place = {"chunk_index": row[f"{key}/chunk_index"], "file_index": row[f"{key}/file_index"]}
        path = self.source / (self.info.get("video_path") or VIDEO_PATH).format(video_key=self._camera, **place)
        start = float(row[f"{key}/from_timestamp"])
        times = [start + float(rows["timestamp"][index].as_py()) for index in kept]
        yield from video_frames(path, name, times, float(self.info["fps"]), self._settings.frame_px)

    def _embedded(self, name: str, rows: pa.Table, index: int) -> bytes:
        image = rows[self._camera][index].as_py()
        try:
            return stored_frame(image["bytes"], self._settings.frame_px)
        except (OSError, SyntaxError, ValueError, TypeError) as error:
            raise ImportProblem(f"{self.source}: {name}: picture {index} cannot be read: {error}") from error


def video_frames(path: Path, name: str, times: Sequence[float], fps: float, height: int | None) -> Iterator[bytes]:
    """PNG files of a video's frames at these times in seconds, which rise. Raises ImportProblem, naming the file."""
    import av

    tolerance_s = 0.5 / fps
    waiting = list(reversed(times))
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # Goes back to a frame that can be decoded by itself.
            container.seek(max(0, int((times[0] - tolerance_s) / stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                time_s = float(frame.pts * stream.time_base)
                if waiting and time_s > waiting[-1] + tolerance_s:
                    break
                if waiting and abs(time_s - waiting[-1]) <= tolerance_s:
                    yield stored_frame(frame.to_image(), height)
                    waiting.pop()
                if not waiting:
                    return
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ImportProblem(f"{path}: {name}: the video cannot be read: {error}") from error
    raise ImportProblem(f"{path}: {name}: the video has no frame at {waiting[-1]:.3f} s")


def _read_info(source: Path) -> dict[str, Any]:
    path = source / "meta" / "info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{source} is no LeRobotDataset: it has no meta/info.json") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    version = str(info.get("codebase_version", "")) if isinstance(info, dict) else ""
    if not version.startswith("v3"):
        raise SettingsError(
            f"{path}: codebase_version is {version!r}, but must be v3.x; convert older recordings with LeRobot's own "
            "script first"
        )
    if not isinstance(info.get("features"), dict) or not info.get("fps"):
        raise SettingsError(f"{path} has no features or no fps")
    return info


def _camera(source: Path, features: Mapping[str, Any], wanted: str | None) -> str:
    cameras = [name for name, feature in features.items() if feature.get("dtype") in ("video", "image")]
    if wanted is None and len(cameras) == 1:
        return cameras[0]
    if wanted not in cameras:
        raise SettingsError(
            f"camera = {wanted}: must be one of the cameras of {source}: {', '.join(cameras) or 'it has none'}"
        )
    return wanted


def _action_names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of an action's entries; LeRobot has a list of them, or lists in a dictionary, or none."""
    names = feature.get("names")
    if isinstance(names, Mapping):
        names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
    size = int(np.prod(feature["shape"]))
    if isinstance(names, list) and len(names) == size:
        return tuple(map(str, names))
    return tuple(f"a{index}" for index in range(size))


def _read_tasks(source: Path) -> dict[int, str]:
    """Task by its number. The text is the table's index, whose column pandas names in several ways."""
    path = source / "meta" / "tasks.parquet"
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        return {}
    except (pa.ArrowException, OSError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    texts = [name for name in table.column_names if name != "task_index"]
    if not texts:
        return {}
    return dict(zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True))
