"""A teleoperated arm as a LeRobotDataset of version 3 has it: degrees, one video of all episodes, some that failed."""

import json
from collections.abc import Container
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FPS = 30
CAMERA = "observation.images.front"
NAMES = ("shoulder_pan.pos", "elbow_flex.pos", "gripper.pos")
TASK = "push the block to the left"
HEIGHT, WIDTH = 48, 64


def write_arm_recording(
    folder: Path, num_episodes: int = 12, length: int = 61, failed: Container[int] = (3, 8)
) -> None:
    """The arm goes from where it begins to the end of its range; what fails stops half way."""
    rng = np.random.default_rng(0)
    rows, pictures, episodes = [], [], []
    for episode in range(num_episodes):
        start, far = rng.uniform(0.0, 0.3), 0.5 if episode in failed else 1.0
        way = start + (far - start) * np.sin(np.linspace(0, np.pi / 2, length))
        first = len(rows)
        for frame in range(length):
            # The action is where the arm is to be: a little ahead of where it is seen.
            target = way[min(frame + 1, length - 1)]
            rows.append(
                {"episode_index": episode, "frame_index": frame, "index": first + frame, "task_index": 0,
                 "timestamp": np.float32(frame / FPS), "action": [-63.0 + 144.0 * target, 81.0 - 90.0 * target, 30.0],
                 "next.success": frame == length - 1 and episode not in failed}
            )  # fmt: skip
            pictures.append(_picture(way[frame]))
        video = {f"videos/{CAMERA}/{name}": 0 for name in ("chunk_index", "file_index")}
        times = {"from_timestamp": first / FPS, "to_timestamp": len(rows) / FPS}
        episodes.append(
            {"episode_index": episode, "tasks": [TASK], "length": length, "data/chunk_index": 0, "data/file_index": 0,
             **video, **{f"videos/{CAMERA}/{name}": value for name, value in times.items()}}
        )  # fmt: skip
    for part in ("meta/episodes/chunk-000", "data/chunk-000", f"videos/{CAMERA}/chunk-000"):
        (folder / part).mkdir(parents=True)
    features = {
        "action": {"dtype": "float32", "shape": [len(NAMES)], "names": list(NAMES)},
        CAMERA: {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]},
        "next.success": {"dtype": "bool", "shape": [1], "names": None},
    }
    info = {"codebase_version": "v3.0", "fps": FPS, "total_episodes": num_episodes, "features": features}
    (folder / "meta/info.json").write_text(json.dumps(info))
    actions = np.array([row["action"] for row in rows], np.float32)
    stats = {"action": {"min": actions.min(axis=0).tolist(), "max": actions.max(axis=0).tolist()}}
    (folder / "meta/stats.json").write_text(json.dumps(stats))
    tasks = pa.table({"task_index": [0], "task": [TASK]})
    pq.write_table(tasks, folder / "meta/tasks.parquet")
    pq.write_table(pa.Table.from_pylist(episodes), folder / "meta/episodes/chunk-000/file-000.parquet")
    pq.write_table(pa.Table.from_pylist(rows), folder / "data/chunk-000/file-000.parquet")
    _write_video(folder / f"videos/{CAMERA}/chunk-000/file-000.mp4", pictures)


def _picture(way: float) -> np.ndarray:
    """The arm, a bright bar, and the block that it has pushed so far."""
    picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    at = round(way * (WIDTH - 16))
    picture[6:40, at : at + 6] = (230, 200, 60)
    picture[34:44, max(at + 6, 24) : max(at + 6, 24) + 10] = (60, 90, 220)
    return picture


def _write_video(path: Path, pictures: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate, stream.gop_size = 4_000_000, 6
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
