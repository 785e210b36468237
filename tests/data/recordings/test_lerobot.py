"""LeRobotDataset version 3, made small by the tests: tables with several episodes, mp4, embedded pictures, damage."""

import io
import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.errors import SettingsError

FPS = 10
CAMERA = "observation.images.front"
LENGTHS = [5, 7, 4]
TASKS = ["fold the cloth", "open the box"]


def grey(index: int) -> np.ndarray:
    """Frames of a video differ by brightness, which survives its compression."""
    return np.full((32, 48, 3), 10 * index, dtype=np.uint8)


def write_video(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.bit_rate = 4_000_000
        # Few frames can be decoded by themselves, as in real recordings.
        stream.gop_size = 6
        for index in range(number):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(index), format="rgb24")))
        container.mux(stream.encode())


def png(index):
    buffer = io.BytesIO()
    Image.fromarray(grey(index)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_recording(folder, *, images=False, success=None):
    """Episodes 0 and 1 share a table and a video; episode 2 has its own. Frames of a video are numbered through."""
    total = sum(LENGTHS)
    features = {
        CAMERA: {
            "dtype": "image" if images else "video",
            "shape": [32, 48, 3],
            "names": ["height", "width", "channel"],
        },
        "action": {"dtype": "float32", "shape": [2], "names": ["x", "gripper"]},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }
    info = {"codebase_version": "v3.0", "fps": FPS, "total_episodes": 3, "total_frames": total, "features": features,
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"}  # fmt: skip
    (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": TASKS})
    pq.write_table(tasks, folder / "meta" / "tasks.parquet")
    episodes, tables, start = [], [[], []], 0
    for episode, length in enumerate(LENGTHS):
        file, first = (0, start) if episode < 2 else (1, 0)
        for index in range(length):
            row = {"episode_index": episode, "frame_index": index, "timestamp": index / FPS, "index": start + index,
                   "task_index": episode % 2, "action": [episode / 10, index / 10]}  # fmt: skip
            if images:
                row[CAMERA] = {"bytes": png(first + index), "path": None}
            if success is not None:
                row["next.success"] = success[episode] and index == length - 1
            tables[file].append(row)
        episodes.append(
            {"episode_index": episode, "tasks": [TASKS[episode % 2]], "length": length, "data/chunk_index": 0,
             "data/file_index": file, "dataset_from_index": start, "dataset_to_index": start + length,
             f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": file,
             f"videos/{CAMERA}/from_timestamp": first / FPS, f"videos/{CAMERA}/to_timestamp": (first + length) / FPS,
             "stats/action/mean": [0.0]}
        )  # fmt: skip
        start += length
    pq.write_table(pa.Table.from_pylist(episodes), folder / "meta/episodes/chunk-000/file-000.parquet")
    for file, rows in enumerate(tables):
        path = folder / f"data/chunk-000/file-{file:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
        if not images:
            write_video(folder / f"videos/{CAMERA}/chunk-000/file-{file:03d}.mp4", len(rows))


def imported(source, folder, **settings):
    _, num_problems = import_lerobot(source, folder, LeRobotSettings(**settings))
    return list(TrajectoryDataset(folder).episodes()), num_problems


def brightness(trajectory):
    return [round(float(decode_png(frame).mean()) / 10) for frame in trajectory.frames]


@pytest.mark.parametrize("images", [False, True])
def test_each_episode_has_its_own_frames_actions_and_task(tmp_path, images):
    write_recording(tmp_path / "robot", images=images)
    episodes, num_problems = imported(tmp_path / "robot", tmp_path / "set")
    assert num_problems == 0 and [len(one) for one in episodes] == [length - 1 for length in LENGTHS]
    assert [brightness(one) for one in episodes] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 10, 11], [0, 1, 2, 3]]
    assert [one.instruction for one in episodes] == [TASKS[0], TASKS[1], TASKS[0]]
    assert episodes[1].actions.tolist() == np.float32([[0.1, index / 10] for index in range(6)]).tolist()
    assert episodes[1].action_names[2] == "x +0.10, gripper +0.20"
    assert episodes[0].sparse_rewards.tolist() == [0, 0, 0, 1] and episodes[0].terminated[-1]
    assert TrajectoryDataset(tmp_path / "set").info.actions.names == ("x", "gripper")
    (note,) = TrajectoryDataset(tmp_path / "set").problems()
    assert note.is_note and "all 3 episodes count as successes, as they do where a recording does not say" in note.text


def test_every_third_frame_with_the_action_that_leads_to_the_next(tmp_path):
    write_recording(tmp_path / "robot")
    episodes, _ = imported(tmp_path / "robot", tmp_path / "set", every=3, frame_px=16)
    assert brightness(episodes[1]) == [5, 8, 11]
    assert episodes[1].actions.tolist() == np.float32([[0.1, 0.2], [0.1, 0.5]]).tolist()
    assert TrajectoryDataset(tmp_path / "set").info.frame_px == (16, 24)


def test_success_is_believed_where_the_recording_tells_it(tmp_path):
    write_recording(tmp_path / "robot", images=True, success=[True, False, True])
    episodes, _ = imported(tmp_path / "robot", tmp_path / "set")
    assert [one.sparse_rewards.sum() for one in episodes] == [1, 0, 1]


def test_tasks_can_stand_in_their_own_table_only(tmp_path):
    write_recording(tmp_path / "robot", images=True)
    path = tmp_path / "robot/meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["tasks"]), path)
    episodes, _ = imported(tmp_path / "robot", tmp_path / "set")
    assert [one.instruction for one in episodes] == [TASKS[0], TASKS[1], TASKS[0]]


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_imported(tmp_path, capsys):
    write_recording(tmp_path / "robot")
    (tmp_path / f"robot/videos/{CAMERA}/chunk-000/file-001.mp4").unlink()
    episodes, num_problems = imported(tmp_path / "robot", tmp_path / "one")
    assert len(episodes) == 2 and num_problems == 1
    assert "episode-000002: " in (told := capsys.readouterr().err) and "file-001.mp4: the video cannot be read" in told

    write_video(tmp_path / f"robot/videos/{CAMERA}/chunk-000/file-001.mp4", 2)
    episodes, num_problems = imported(tmp_path / "robot", tmp_path / "two")
    assert len(episodes) == 2 and "the video has no frame at 0.200 s" in capsys.readouterr().err

    data = tmp_path / "robot/data/chunk-000/file-000.parquet"
    data.write_bytes(data.read_bytes()[:200])
    write_video(tmp_path / f"robot/videos/{CAMERA}/chunk-000/file-001.mp4", 4)
    episodes, num_problems = imported(tmp_path / "robot", tmp_path / "three")
    assert [one.episode_id for one in episodes] == ["episode-000002"] and num_problems == 2
    assert "episode-000001: " in (told := capsys.readouterr().err)
    assert "file-000.parquet: the file cannot be read" in told


def test_a_broken_embedded_picture_spoils_its_episode_only(tmp_path, capsys):
    write_recording(tmp_path / "robot", images=True)
    path = tmp_path / "robot/data/chunk-000/file-000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[2][CAMERA]["bytes"] = rows[2][CAMERA]["bytes"][:40]
    pq.write_table(pa.Table.from_pylist(rows), path)
    episodes, num_problems = imported(tmp_path / "robot", tmp_path / "set")
    assert [one.episode_id for one in episodes] == ["episode-000001", "episode-000002"] and num_problems == 1
    assert "episode-000000: picture 2 cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebase_version": "v1.6"}, "codebase_version is 'v1.6', but must be v2.x or v3.x"),
        ({"codebase_version": "v2.1"}, "data_path is .*, but must be a name of a file such as 'data/chunk-{episode"),
        ({"fps": 0}, "fps is 0, but must be"),
        ({"features": {"action": {"dtype": "float32", "shape": [2], "names": None}}}, "it has none"),
    ],
)
def test_other_recordings_are_refused(tmp_path, change, message):
    write_recording(tmp_path / "robot", images=True)
    path = tmp_path / "robot/meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match=message):
        import_lerobot(tmp_path / "robot", tmp_path / "set", LeRobotSettings())


def test_the_command(tmp_path):
    write_recording(tmp_path / "robot", images=True)
    likert = lambda *more: CliRunner().invoke(  # noqa: E731
        app, ["data", "lerobot", str(tmp_path / "robot"), str(tmp_path / "set"), *more]
    )
    done = likert()
    assert done.exit_code == 0 and "3 episodes, 13 actions" in done.output, done.output
    assert "one of the cameras" in likert("camera=top").stderr
    assert (
        "no meta/info.json" in CliRunner().invoke(app, ["data", "lerobot", str(tmp_path), str(tmp_path / "x")]).stderr
    )
