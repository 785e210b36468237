"""A data set of ours as a LeRobotDataset of version 3.0.

A row has a picture and the action that followed it. So that the last picture is kept, an episode of T actions has T + 1
rows: the last one repeats the last action, which nothing follows. Its importers leave that action out. See
docs/datasets.md.
"""

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from algorithms.images import decode_png
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.exports import statistics
from orchestrator.data.exports.exporting import ExportSettings, Survey, reward_of, rgb_png
from orchestrator.data.schema import ActionSpace
from orchestrator.errors import SettingsError

CAMERA = "observation.images.main"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
CHUNK, DATA_MB, VIDEO_MB = 1000, 100, 200
"""Files in a folder, and how large files become at most, as LeRobot has it; an episode is never parted."""
VIDEO = {"g": "2", "crf": "30", "preset": "12"}
"""LeRobot's own settings of libsvtav1."""
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_INDEX = {"dtype": "int64", "shape": [1], "names": None}


def write_lerobot(
    dataset: TrajectoryDataset, folder: Path, settings: ExportSettings, survey: Survey, episodes: Iterator[Trajectory]
) -> None:
    """Write the set into an empty folder. Raises SettingsError if it does not fit."""
    writer = _Writer(dataset, folder, settings, survey)
    try:
        for episode in episodes:
            writer.write(episode)
    finally:
        writer.close_files()
    writer.write_lists()


class _Writer:
    def __init__(self, dataset: TrajectoryDataset, folder: Path, settings: ExportSettings, survey: Survey) -> None:
        self._folder, self._settings, self._survey = folder, settings, survey
        self._actions = dataset.info.actions
        assert dataset.info.frame_px is not None
        self._frame_px = dataset.info.frame_px
        self._tasks = {task: number for number, task in enumerate(survey.instructions)}
        self.features = self._features()
        self._rows: list[dict[str, Any]] = []
        self._each: dict[str, list[statistics.Statistics]] = {name: [] for name in self.features}
        self._num_frames = 0
        self._data = _DataFiles(folder)
        self._video = _VideoFiles(folder, settings.fps, self._frame_px) if settings.pictures == "video" else None

    def write(self, episode: Trajectory) -> None:
        number, length = len(self._rows), len(episode) + 1
        columns = self._columns(episode, number, length)
        file = self._data.write(pa.table({name: columns[name] for name in self.features if name in columns}))
        row: dict[str, Any] = {
            "episode_index": number, "tasks": [episode.instruction], "length": length,
            "data/chunk_index": file // CHUNK, "data/file_index": file % CHUNK,
            "dataset_from_index": self._num_frames, "dataset_to_index": self._num_frames + length,
        }  # fmt: skip
        if self._video is not None:
            file, start = self._video.write(episode.frames)
            row |= {
                f"videos/{CAMERA}/chunk_index": file // CHUNK, f"videos/{CAMERA}/file_index": file % CHUNK,
                f"videos/{CAMERA}/from_timestamp": start / self._settings.fps,
                f"videos/{CAMERA}/to_timestamp": (start + length) / self._settings.fps,
            }  # fmt: skip
        found = {name: _statistics_of(columns[name]) for name in self.features if name != CAMERA}
        found[CAMERA] = statistics.of_pictures([decode_png(episode.frames[i]) for i in statistics.sampled(length)])
        for name, one in found.items():
            self._each[name].append(one)
            row |= {f"stats/{name}/{what}": values for what, values in statistics.as_lists(one).items()}
        self._rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self._num_frames += length

    def close_files(self) -> None:
        self._data.close()
        if self._video is not None:
            self._video.close()

    def write_lists(self) -> None:
        """What `meta/` has."""
        path = self._folder / EPISODES_PATH.format(chunk_index=0, file_index=0)
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows, _schema_of(self._rows)), path)
        tasks = pa.table({"task_index": pa.array(self._tasks.values(), pa.int64()), "task": list(self._tasks)})
        pq.write_table(
            tasks.replace_schema_metadata({"pandas": json.dumps(_PANDAS)}), self._folder / "meta/tasks.parquet"
        )
        found = {name: statistics.as_lists(statistics.together(each)) for name, each in self._each.items()}
        self._write_json("meta/stats.json", {name: one for name, one in found.items() if one})
        self._write_json(
            "meta/info.json",
            {
                "codebase_version": "v3.0",
                "fps": self._settings.fps,
                "features": self.features,
                "total_episodes": len(self._rows),
                "total_frames": self._num_frames,
                "total_tasks": len(self._tasks),
                "chunks_size": CHUNK,
                "data_files_size_in_mb": DATA_MB,
                "video_files_size_in_mb": VIDEO_MB,
                "data_path": DATA_PATH,
                "video_path": None if self._video is None else VIDEO_PATH,
                "robot_type": None,
                "splits": {"train": f"0:{len(self._rows)}"},
            },
        )

    def _write_json(self, name: str, value: Any) -> None:
        (self._folder / name).write_text(json.dumps(value, indent=4, allow_nan=False), encoding="utf-8")

    def _features(self) -> dict[str, dict[str, Any]]:
        height, width = self._frame_px
        picture: dict[str, Any] = {
            "dtype": "image" if self._settings.pictures == "png" else "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
        }
        if self._settings.pictures == "video":
            picture["info"] = {
                "video.height": height, "video.width": width, "video.codec": "av1", "video.pix_fmt": "yuv420p",
                "video.fps": self._settings.fps, "video.channels": 3, "has_audio": False,
            }  # fmt: skip
        flag, number = ({"dtype": kind, "shape": [1], "names": None} for kind in ("bool", "float32"))
        return {
            CAMERA: picture,
            "action": action_feature(self._actions),
            "next.reward": number,
            "next.success": flag,
            "next.done": flag,
            "next.truncated": flag,
            **{f"reward.{name}": number for name in self._survey.labellers},
            "timestamp": number,
            **{name: _INDEX for name in ("frame_index", "episode_index", "index", "task_index")},
        }

    def _columns(self, episode: Trajectory, number: int, length: int) -> dict[str, pa.Array]:
        def padded(values: np.ndarray, last: Any) -> np.ndarray:
            return np.concatenate([values, np.asarray([last], dtype=values.dtype)])

        actions = padded(episode.actions, episode.actions[-1])
        is_over = episode.terminated | episode.truncated
        frames = np.arange(length)
        columns = {
            "action": _vectors(actions) if self._actions.kind == "continuous" else pa.array(actions, pa.int64()),
            "next.reward": padded(reward_of(episode, self._settings.reward), 0),
            # What holds behind the last action holds for the row that nothing follows.
            "next.success": padded(episode.sparse_rewards > 0, bool(episode.sparse_rewards[-1] > 0)),
            "next.done": padded(is_over, is_over[-1]),
            "next.truncated": padded(episode.truncated, episode.truncated[-1]),
            **{f"reward.{name}": padded(episode.rewards[name], np.nan) for name in self._survey.labellers},
            "timestamp": (frames / self._settings.fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(length, number),
            "index": frames + self._num_frames,
            "task_index": np.full(length, self._tasks[episode.instruction]),
        }
        if self._settings.pictures == "png":
            pictures = [
                {"bytes": rgb_png(png), "path": f"frame-{frame:06d}.png"} for frame, png in enumerate(episode.frames)
            ]
            columns[CAMERA] = pa.array(pictures, _PICTURE)
        return {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()}


def action_feature(actions: ActionSpace) -> dict[str, Any]:
    """How LeRobot is told the actions; `choices` names those that are numbers, and is ours."""
    if actions.kind == "discrete":
        return {"dtype": "int64", "shape": [1], "names": ["action"], "choices": list(actions.names)}
    return {"dtype": "float32", "shape": [len(actions.names)], "names": list(actions.names)}


class _DataFiles:
    """Tables of about DATA_MB, a row group for each episode."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = -1
        self._writer: pq.ParquetWriter | None = None
        self._num_bytes = 0

    def write(self, rows: pa.Table) -> int:
        """Write an episode. Returns the number of its file."""
        if self._writer is None or self._num_bytes + rows.nbytes > DATA_MB * 2**20:
            self.close()
            self._number += 1
            path = self._folder / DATA_PATH.format(chunk_index=self._number // CHUNK, file_index=self._number % CHUNK)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._num_bytes = pq.ParquetWriter(path, rows.schema), 0
        self._writer.write_table(rows, row_group_size=max(1, rows.num_rows))
        self._num_bytes += rows.nbytes
        return self._number

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class _VideoFiles:
    """Videos of about VIDEO_MB, one episode behind the other."""

    def __init__(self, folder: Path, fps: int, frame_px: tuple[int, int]) -> None:
        if frame_px[0] % 2 or frame_px[1] % 2:
            raise SettingsError(
                f"pictures = video: frames of {frame_px[1]} x {frame_px[0]} pixels have an odd side, and such videos "
                "cannot be made; use pictures=png"
            )
        # Its encoder tells its version and settings else.
        os.environ.setdefault("SVT_LOG", "1")
        self._folder, self._fps, self._frame_px = folder, fps, frame_px
        self._number = -1
        self._container: Any = None
        self._stream: Any = None
        self._num_frames = self._num_bytes = 0

    def write(self, frames: tuple[bytes, ...]) -> tuple[int, int]:
        """Write an episode. Returns the number of its file, and that of its first frame there."""
        import av

        if self._container is None or self._num_bytes >= VIDEO_MB * 2**20:
            self._begin()
        first = self._num_frames
        for png in frames:
            frame = av.VideoFrame.from_ndarray(decode_png(png), format="rgb24")
            frame.pts, frame.time_base = self._num_frames, Fraction(1, self._fps)
            self._mux(frame)
            self._num_frames += 1
        return self._number, first

    def _begin(self) -> None:
        import av

        self.close()
        self._number += 1
        name = VIDEO_PATH.format(video_key=CAMERA, chunk_index=self._number // CHUNK, file_index=self._number % CHUNK)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._num_frames = self._num_bytes = 0
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libsvtav1", rate=self._fps, options=VIDEO)
        self._stream.height, self._stream.width = self._frame_px
        self._stream.pix_fmt = "yuv420p"

    def _mux(self, frame: Any) -> None:
        for packet in self._stream.encode(frame):
            self._num_bytes += packet.size
            self._container.mux(packet)

    def close(self) -> None:
        if self._container is not None:
            self._mux(None)
            self._container.close()
            self._container = None


def _vectors(values: np.ndarray) -> pa.Array:
    if values.shape[1] == 1:
        return pa.array(values[:, 0], pa.float32())
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), values.shape[1])


def _statistics_of(column: pa.Array) -> statistics.Statistics:
    values = column.flatten().to_numpy(zero_copy_only=False) if pa.types.is_fixed_size_list(column.type) else column
    return statistics.of_values(np.asarray(values, dtype=np.float64).reshape(len(column), -1))


def _schema_of(rows: list[dict[str, Any]]) -> pa.Schema:
    """Types of all rows; where a labeller gave nothing in the first episodes, later ones tell."""
    found: dict[str, pa.DataType] = {}
    for row in rows:
        for name in row.keys() - found.keys():
            found[name] = pa.array([row[name]]).type
    ordered = dict.fromkeys(name for row in rows for name in row)
    return pa.schema([(name, found[name]) for name in ordered])


_PANDAS = {
    "index_columns": ["task"],
    "column_indexes": [
        {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    ],
    "columns": [
        {
            "name": "task_index",
            "field_name": "task_index",
            "pandas_type": "int64",
            "numpy_type": "int64",
            "metadata": None,
        },
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object", "metadata": None},
    ],
}
"""The text is the index of LeRobot's table."""
