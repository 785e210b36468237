"""A LeRobotDataset, small and all in memory until it is written: two episodes with embedded pictures."""

import functools
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from algorithms.images import decode_png
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot

LENGTHS = (3, 4)
TASKS = ("fold the cloth", "open the box")
CAMERA = "observation.images.top"
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@functools.cache
def png(value: int, px: int = 4, mode: str = "RGB") -> bytes:
    """A picture whose red tells which one it is."""
    file = io.BytesIO()
    picture = Image.fromarray(np.full((px, px), value, np.uint16)) if mode == "I;16" else None
    (picture or Image.new("RGB", (px, px), (value, 0, 0)).convert(mode)).save(file, "PNG")
    return file.getvalue()


@dataclass
class SmallRecording:
    """The contents of the four files; whoever changes them makes another recording."""

    info: dict[str, Any]
    tasks: pa.Table
    episodes: pa.Table
    data: pa.Table

    def set(self, table: str, column: str, values: Any, kind: pa.DataType | None = None) -> "SmallRecording":
        """Put a column in place of another, or behind the others."""
        old: pa.Table = getattr(self, table)
        new = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
        place = old.schema.get_field_index(column)
        changed = old.append_column(column, new) if place < 0 else old.set_column(place, column, new)
        setattr(self, table, changed)
        return self

    def write(self, folder: Any) -> Any:
        """Write the files and return the folder."""
        for part in ("meta/episodes/chunk-000", "data/chunk-000"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "meta/info.json").write_text(json.dumps(self.info))
        pq.write_table(self.tasks, folder / "meta/tasks.parquet")
        pq.write_table(self.episodes, folder / "meta/episodes/chunk-000/file-000.parquet")
        pq.write_table(self.data, folder / "data/chunk-000/file-000.parquet")
        return folder

    def write_v2(self, folder: Any) -> Any:
        """Write it as version 2.1 does: a file for each episode, lists as lines of JSON. Returns the folder."""
        for part in ("meta", "data/chunk-000"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "meta/info.json").write_text(json.dumps(self.info | {"codebase_version": "v2.1"}))
        tasks = [{"task_index": n, "task": task} for n, task in enumerate(TASKS)]
        (folder / "meta/tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tasks))
        rows = self.episodes.select(["episode_index", "tasks", "length"]).to_pylist()
        (folder / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for number in range(len(rows)):
            own = self.data.filter(pc.equal(self.data["episode_index"], number))
            pq.write_table(own, folder / f"data/chunk-000/episode_{number:06d}.parquet")
        return folder


def small_recording(
    names: Any = ("x", "gripper"), colour: int = 0, task_index: Any = (0, 0, 0, 1, 1, 1, 1)
) -> SmallRecording:
    """Episode 0 folds the cloth, episode 1 opens the box; row n of all has picture n and action (n / 10, -n / 10)."""
    rows = [(episode, frame) for episode, length in enumerate(LENGTHS) for frame in range(length)]
    info = {
        "codebase_version": "v3.0", "fps": 10, "total_episodes": len(LENGTHS),
        "features": {
            "action": {"dtype": "float32", "shape": [2], "names": names},
            CAMERA: {"dtype": "image", "shape": [4, 4, 3], "names": ["height", "width", "channels"]},
            "next.success": {"dtype": "bool", "shape": [1], "names": None},
        },
    }  # fmt: skip
    episodes = {
        "episode_index": [0, 1], "tasks": [[TASKS[0]], [TASKS[1]]], "length": list(LENGTHS),
        "data/chunk_index": [0, 0], "data/file_index": [0, 0],
    }  # fmt: skip
    data = {
        "action": pa.array([[n / 10, -n / 10] for n in range(len(rows))], pa.list_(pa.float32(), 2)),
        CAMERA: pa.array([{"bytes": png(n + colour), "path": f"frame-{n:06d}.png"} for n in range(len(rows))], PICTURE),
        "timestamp": pa.array([frame / 10 for _, frame in rows], pa.float32()),
        "frame_index": [frame for _, frame in rows],
        "episode_index": [episode for episode, _ in rows],
        "index": list(range(len(rows))),
        "task_index": list(task_index),
        "next.success": [frame == LENGTHS[episode] - 1 for episode, frame in rows],
    }
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": list(TASKS)})
    return SmallRecording(info, tasks, pa.table(episodes), pa.table(data))


def imported(recording: SmallRecording, folder: Any, **settings: Any) -> tuple[dict[str, Trajectory], int]:
    """Import it below `folder`: the set's episodes by name, and the number of problems."""
    source = recording.write(folder / "robot")
    _, num_problems = import_lerobot(source, folder / "set", LeRobotSettings(**settings))
    return {one.episode_id: one for one in TrajectoryDataset(folder / "set").episodes()}, num_problems


def pictures(trajectory: Trajectory) -> list[int]:
    """Which pictures an episode has."""
    return [int(decode_png(frame)[0, 0, 0]) for frame in trajectory.frames]


def by_path(recording: SmallRecording, paths: list[str]) -> SmallRecording:
    """Its pictures are files of their own."""
    return recording.set("data", CAMERA, [{"bytes": None, "path": path} for path in paths], PICTURE)
