"""LeRobotDataset version 2.1: a table and a video for each episode, lists as lines of JSON."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from typer.testing import CliRunner

from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.errors import LikertError, SettingsError
from tests.data.recordings.test_lerobot import FPS, brightness, write_video
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND, fuzzed
from tests.fakes.small_recording import CAMERA, small_recording

EPISODES, TASK_LINES = "meta/episodes.jsonl", "meta/tasks.jsonl"
FILES = ("meta/info.json", TASK_LINES, EPISODES, "data/chunk-000/episode_000000.parquet",
         "data/chunk-000/episode_000001.parquet")  # fmt: skip


def imported(source, folder, **settings):
    _, num_problems = import_lerobot(source, folder, LeRobotSettings(**settings))
    return {one.episode_id: one for one in TrajectoryDataset(folder).episodes()}, num_problems


def test_it_is_read_as_version_3_is(tmp_path):
    new, _ = imported(small_recording().write(tmp_path / "v3"), tmp_path / "new")
    old, num_problems = imported(small_recording().write_v2(tmp_path / "v2"), tmp_path / "old")
    assert num_problems == 0 and list(old) == list(new) == ["episode-000000", "episode-000001"]
    for name, one in old.items():
        assert one.frames == new[name].frames and one.instruction == new[name].instruction
        np.testing.assert_array_equal(one.actions, new[name].actions)


def with_videos(folder, lengths=(5, 7), **info):
    """An episode's frames are as bright as their number in it."""
    (folder / "meta").mkdir(parents=True)
    features = {
        "observation.images.top": {"dtype": "video", "shape": [32, 48, 3], "names": ["height", "width", "channel"]},
        "action": {"dtype": "float32", "shape": [1], "names": ["x"]},
    }
    told = {"codebase_version": "v2.1", "fps": FPS, "total_episodes": len(lengths), "features": features,
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
            "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"}  # fmt: skip
    (folder / "meta/info.json").write_text(json.dumps(told | info))
    chunk = info.get("chunks_size", 1000)
    lines = []
    for number, length in enumerate(lengths):
        lines.append(json.dumps({"episode_index": number, "tasks": ["open it"], "length": length}))
        table = {"action": pa.array([n / 10 for n in range(length)], pa.float32()), "task_index": [0] * length,
                 "timestamp": pa.array([n / FPS for n in range(length)], pa.float32()),
                 "frame_index": list(range(length)), "episode_index": [number] * length}  # fmt: skip
        path = folder / f"data/chunk-{number // chunk:03d}/episode_{number:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), path)
        write_video(folder / f"videos/chunk-{number // chunk:03d}/{CAMERA}/episode_{number:06d}.mp4", length)
    (folder / EPISODES).write_text("\n".join(lines))
    (folder / TASK_LINES).write_text(json.dumps({"task_index": 0, "task": "open it"}) + "\n")
    return folder


@pytest.mark.parametrize("info", [{}, {"chunks_size": 1}, {"codebase_version": "v2.0"}])
def test_each_episode_has_its_own_video(tmp_path, info):
    episodes, num_problems = imported(with_videos(tmp_path / "robot", **info), tmp_path / "set", every=2)
    assert num_problems == 0
    assert [brightness(one) for one in episodes.values()] == [[0, 2, 4], [0, 2, 4, 6]]
    assert episodes["episode-000001"].actions.tolist() == np.float32([[0.1], [0.3], [0.5]]).tolist()


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_imported(tmp_path, capsys):
    source = with_videos(tmp_path / "robot", (5, 7, 4, 4))
    (source / f"videos/chunk-000/{CAMERA}/episode_000001.mp4").unlink()
    (source / "data/chunk-000/episode_000002.parquet").write_bytes(b"PAR1")
    episodes, num_problems = imported(source, tmp_path / "set")
    assert list(episodes) == ["episode-000000", "episode-000003"] and num_problems == 2
    told = capsys.readouterr().err
    assert "episode-000001: " in told and "episode_000001.mp4: the video cannot be read" in told
    assert "episode-000002: " in told and "episode_000002.parquet: the file cannot be read" in told


def test_a_line_that_cannot_be_read_costs_its_episode(tmp_path, capsys):
    source = small_recording().write_v2(tmp_path / "robot")
    lines = (source / EPISODES).read_text().splitlines()
    (source / EPISODES).write_text(f"{lines[0][:-4]}\n{lines[1]}\n")
    episodes, num_problems = imported(source, tmp_path / "set")
    # The line, and the episode that is then missing.
    assert list(episodes) == ["episode-000001"] and num_problems == 2
    told = capsys.readouterr().err
    assert "episodes.jsonl, line 1: " in told and "promises 2 episodes, and meta/episodes lacks 0" in told


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (EPISODES, None, "has no meta/episodes.jsonl"),
        (TASK_LINES, '{"task_index": 0', "tasks.jsonl, line 1"),
        (TASK_LINES, "[]", "tasks.jsonl, line 1: it must be a block"),
        (TASK_LINES, '{"task_index": 0, "task": "a"}\n{"task_index": 0, "task": "b"}', "0 stands there with two tasks"),
        (EPISODES, "", "nothing could be imported"),
    ],
)
def test_lists_that_cannot_be_used(tmp_path, file, content, message):
    source = small_recording().write_v2(tmp_path / "robot")
    (source / file).unlink() if content is None else (source / file).write_text(content)
    with pytest.raises(SettingsError, match=message):
        imported(source, tmp_path / "set")


def test_files_outside_are_not_read(tmp_path):
    recording = small_recording()
    recording.info["data_path"] = "../data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    recording.write_v2(tmp_path / "robot")
    shutil.copytree(tmp_path / "robot/data", tmp_path / "data")
    with pytest.raises(SettingsError, match="no whole episode"):
        imported(tmp_path / "robot", tmp_path / "set")


def test_the_lists_count_towards_the_source(tmp_path):
    source = small_recording().write_v2(tmp_path / "robot")
    imported(source, tmp_path / "set")
    digest = TrajectoryDataset(tmp_path / "set").info.origin.digest
    (source / EPISODES).write_text((source / EPISODES).read_text().replace("fold", "hold"))
    imported(source, tmp_path / "other")
    assert TrajectoryDataset(tmp_path / "other").info.origin.digest != digest


def test_the_command(tmp_path):
    source = small_recording().write_v2(tmp_path / "robot")
    done = CliRunner().invoke(app, ["data", "lerobot", str(source), str(tmp_path / "set")])
    assert done.exit_code == 0 and "2 episodes, 5 actions" in done.output, done.output


# ------------------------------------------------------------------------------------------------- damage

JUNK = [None, True, -1, 0, 1, 2, 0.5, 1.0, 1e300, float("nan"), "", "0", "x", [], [0], ["x"], {}, 2**63]


def damage(data, folder):
    """A line, or a file, says something else."""
    name = data.draw(st.sampled_from(FILES))
    path = folder / name
    content = path.read_bytes()
    how = data.draw(st.sampled_from(["value", "flipped", "torn", "gone", "twice"]))
    if how == "value" and name in (EPISODES, TASK_LINES):
        rows = [json.loads(line) for line in content.splitlines()]
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.sampled_from(sorted(row)))] = data.draw(st.sampled_from(JUNK))
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif how == "flipped":
        place = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(
            content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
        )
    elif how == "torn":
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    elif how == "gone":
        path.unlink()
    elif how == "twice" and name in (EPISODES, TASK_LINES):
        path.write_bytes(content + content)


def check_damaged(data, folder):
    """A damaged recording gives episodes that are those of the whole one, or none; never a traceback."""
    shutil.rmtree(folder, ignore_errors=True)
    source = small_recording().write_v2(folder / "robot")
    damage(data, source)
    try:
        episodes, _ = imported(source, folder / "set")
    except LikertError:
        return 0
    for name, one in episodes.items():
        first, last = {"episode-000000": (0, 2), "episode-000001": (3, 6)}[name]
        # Names of tasks may be damaged in a way that nothing tells.
        assert one.instruction
        assert [int(decode_png(frame)[0, 0, 0]) for frame in one.frames] == list(range(first, last + 1))
        assert len(one) == last - first
    return len(episodes)


def test_a_hundred_recordings_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    assert {0, 1, 2} == fuzzed(A_HUNDRED, lambda data: check_damaged(data, tmp_path / "one"))


@pytest.mark.slow
def test_ten_thousand_recordings_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    fuzzed(TEN_THOUSAND, lambda data: check_damaged(data, tmp_path / "one"))
