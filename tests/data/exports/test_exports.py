"""Exports hold what the set holds: read back by the importers, frame by frame, with rewards."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from algorithms.images import decode_png, encode_png
from algorithms.trajectories import Trajectory
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.exports import lerobot as lerobot_export
from orchestrator.data.exports import statistics
from orchestrator.data.exports.exporting import ExportSettings
from orchestrator.data.exports.formats import export_to
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError

ARM = ActionSpace(kind="continuous", names=("x", "gripper"))
TURNS = ActionSpace(kind="discrete", names=("left", "right", "go on"))
LENGTHS = (3, 1, 4)
TASKS = ("fold the cloth", "open the box, é", "fold the cloth")
PX = (8, 12)


def frame(number, px=PX):
    picture = np.full((*px, 3), number, np.uint8)
    picture[0, 0] = (255, 0, number)
    return encode_png(picture)


def made(folder, actions=ARM, px=PX, labels=("judge",)):
    """A set of three episodes: two succeed, the last is cut off; rewards tell episode and step."""
    random = np.random.default_rng(0)
    info = DatasetInfo(name="set", source="lerobot", actions=actions, frame_px=px)
    with DatasetWriter(folder, info) as writer:
        for number, length in enumerate(LENGTHS):
            last = np.arange(length) == length - 1
            never, is_success = np.zeros(length, bool), number < 2
            continuous = actions.kind == "continuous"
            recorded = random.normal(size=(length, 2)).astype(np.float32) if continuous else np.arange(length) % 3
            writer.write(
                Trajectory(
                    episode_id=f"e{number}", instruction=TASKS[number], actions=recorded,
                    action_names=tuple(f"step {step}" for step in range(length)),
                    sparse_rewards=(last & is_success).astype(np.float32), terminated=last if is_success else never,
                    truncated=never if is_success else last,
                    frames=tuple(frame(50 * number + 3 * step, px) for step in range(length + 1)),
                )
            )  # fmt: skip
    dataset = TrajectoryDataset(folder)
    for name in labels:
        rows = dataset.num_rows(dataset.parts[0])
        rewards = np.arange(rows, dtype=np.float32) / 10
        if name == "holes":
            rewards[1] = np.nan
        dataset.write_labels(dataset.parts[0], name, rewards)
        dataset.record_labels(name, {})
    return TrajectoryDataset(folder)


def same(old, new, pictures_may_differ=False):
    assert len(old) == len(new)
    for one, other in zip(old, new, strict=True):
        assert one.instruction == other.instruction
        np.testing.assert_array_equal(one.actions, other.actions)
        for field in ("sparse_rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        for ours, theirs in zip(one.frames, other.frames, strict=True):
            difference = np.abs(decode_png(ours).astype(int) - decode_png(theirs))
            assert difference.mean() <= (4 if pictures_may_differ else 0)


def as_lerobot(dataset, folder, **settings):
    export_to(dataset.folder, folder, ExportSettings(format="lerobot", **settings))
    return pa.concat_tables([pq.read_table(path) for path in sorted((folder / "data").rglob("*.parquet"))])


@pytest.mark.parametrize("actions", [ARM, TURNS])
def test_lerobot_read_back_is_the_same(tmp_path, actions):
    dataset = made(tmp_path / "set", actions)
    as_lerobot(dataset, tmp_path / "out")
    _, num_problems = import_lerobot(tmp_path / "out", tmp_path / "back", LeRobotSettings())
    back = TrajectoryDataset(tmp_path / "back")
    assert num_problems == 0 and back.info.actions.names == actions.names and back.info.actions.kind == actions.kind
    same(list(dataset.episodes()), list(back.episodes()))


def test_lerobot_as_video(tmp_path):
    dataset = made(tmp_path / "set", px=(64, 96))
    rows = as_lerobot(dataset, tmp_path / "out", pictures="video", fps=7)
    assert lerobot_export.CAMERA not in rows.column_names
    import_lerobot(tmp_path / "out", tmp_path / "back", LeRobotSettings())
    same(list(dataset.episodes()), list(TrajectoryDataset(tmp_path / "back").episodes()), pictures_may_differ=True)


def test_files_of_lerobot_are_cut_between_episodes(tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_export, "DATA_MB", 0)
    monkeypatch.setattr(lerobot_export, "VIDEO_MB", 0)
    monkeypatch.setattr(lerobot_export, "CHUNK", 2)
    dataset = made(tmp_path / "set", px=(64, 96))
    as_lerobot(dataset, tmp_path / "out", pictures="video")
    tables = (tmp_path / "out/data").rglob("*.parquet")
    assert sorted(str(path.relative_to(tmp_path / "out/data")) for path in tables) == [
        "chunk-000/file-000.parquet", "chunk-000/file-001.parquet", "chunk-001/file-000.parquet",
    ]  # fmt: skip
    assert len(list((tmp_path / "out/videos").rglob("*.mp4"))) == 3
    import_lerobot(tmp_path / "out", tmp_path / "back", LeRobotSettings())
    same(list(dataset.episodes()), list(TrajectoryDataset(tmp_path / "back").episodes()), pictures_may_differ=True)


def test_rewards_and_ends_stand_in_their_rows(tmp_path):
    rows = as_lerobot(made(tmp_path / "set", labels=("judge", "holes")), tmp_path / "out", reward="judge")
    assert rows["index"].to_pylist() == list(range(11)) and rows["frame_index"].to_pylist()[:5] == [0, 1, 2, 3, 0]
    # The row of the last picture follows the last action.
    assert rows["next.reward"].to_pylist() == pytest.approx([0, 0.1, 0.2, 0, 0.4, 0, 0.6, 0.7, 0.8, 0.9, 0])
    assert rows["next.success"].to_pylist() == [False, False, True, True, True, True] + [False] * 5
    assert rows["next.done"].to_pylist() == [False, False, True, True, True, True] + [False] * 3 + [True] * 2
    assert rows["next.truncated"].to_pylist() == [False] * 9 + [True] * 2
    holes = rows["reward.holes"].to_pylist()
    assert np.isnan([holes[1], holes[3], holes[5]]).all() and holes[2] == pytest.approx(0.2)
    assert rows["reward.judge"].to_pylist()[:3] == pytest.approx([0, 0.1, 0.2])
    assert rows["task_index"].to_pylist() == [0] * 4 + [1] * 2 + [0] * 5
    assert rows["timestamp"].to_pylist()[:3] == pytest.approx([0, 0.1, 0.2])


def test_lists_of_lerobot(tmp_path):
    dataset = made(tmp_path / "set", labels=("holes",))
    rows = as_lerobot(dataset, tmp_path / "out")
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert (info["total_frames"], info["total_tasks"], info["splits"]) == (11, 2, {"train": "0:3"})
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["x", "gripper"]}
    assert set(rows.column_names) == set(info["features"])
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    assert np.shape(stats[lerobot_export.CAMERA]["mean"]) == (3, 1, 1)
    values = np.array(rows["action"].to_pylist())
    np.testing.assert_allclose(stats["action"]["mean"], values.mean(axis=0))
    np.testing.assert_allclose(stats["action"]["std"], values.std(axis=0))
    assert stats["action"]["count"] == [11]
    # Labels that were not given do not count.
    assert stats["reward.holes"]["count"] == [7]
    episodes = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in episodes] == [(0, 4), (4, 6), (6, 11)]
    assert pq.ParquetFile(tmp_path / "out/data/chunk-000/file-000.parquet").num_row_groups == 3


def test_statistics_worked_by_hand():
    first, second = statistics.of_values(np.array([[1.0], [3.0]])), statistics.of_values(np.array([[8.0]]))
    both = statistics.together([first, {}, second])
    assert (both["mean"], both["min"], both["max"], both["count"]) == (4, 1, 8, 3)
    assert both["std"] == pytest.approx(np.std([1, 3, 8])) and both["q50"] == pytest.approx((2 * 2 + 8) / 3)
    pictures = statistics.of_pictures([np.full((2, 2, 3), (0, 51, 255), np.uint8)])
    assert pictures["mean"].ravel().tolist() == pytest.approx([0, 0.2, 1]) and pictures["count"] == [1]
    assert statistics.of_values(np.array([[np.nan]])) == {} and statistics.together([{}]) == {}
    assert len(statistics.sampled(1000)) == 20 and statistics.sampled(3) == [0, 1, 2]


def test_frames_that_are_not_plain_rgb_become_so(tmp_path):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (12, 8), 9).save(file, "PNG")
    info = DatasetInfo(name="set", source="x", actions=TURNS, frame_px=PX)
    with DatasetWriter(tmp_path / "set", info) as writer:
        writer.write(
            Trajectory("e", "go", np.array([0]), ("left",), np.float32([1]), np.array([True]), np.array([False]),
                       frames=(file.getvalue(), frame(1)))
        )  # fmt: skip
    rows = as_lerobot(TrajectoryDataset(tmp_path / "set"), tmp_path / "out")
    picture = Image.open(io.BytesIO(rows[lerobot_export.CAMERA][0].as_py()["bytes"]))
    assert picture.mode == "RGB" and picture.getpixel((0, 0)) == (9, 9, 9)
    assert rows[lerobot_export.CAMERA][1].as_py()["bytes"] == frame(1)


# ------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reward": "nobody"}, "reward: .* has no labels of 'nobody'; it has sparse, holes"),
        ({"labellers": ["nobody"]}, "labellers: .* has no labels of 'nobody'"),
        ({"reward": "holes"}, "it gave no reward to 1 of 8 actions"),
    ],
)
@pytest.mark.parametrize("kind", ["lerobot", "minari"])
def test_rewards_that_are_not_there(tmp_path, settings, message, kind):
    made(tmp_path / "set", labels=("holes",))
    with pytest.raises(SettingsError, match=message):
        export_to(tmp_path / "set", tmp_path / "out-v0", ExportSettings(format=kind, **settings))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_an_export_goes_into_an_empty_folder_whole_or_not_at_all(tmp_path, monkeypatch):
    dataset = made(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("")
    with pytest.raises(SettingsError, match="is not an empty folder"):
        as_lerobot(dataset, tmp_path / "out")
    (tmp_path / "out/mine").unlink()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(lerobot_export._Writer, "write_lists", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        as_lerobot(dataset, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set"] and not any((tmp_path / "out").iterdir())
    # What a killed export left is in nobody's way.
    (tmp_path / ".out.unfinished").mkdir()
    (tmp_path / ".out.unfinished/half").write_text("")
    as_lerobot(dataset, tmp_path / "out")
    assert not (tmp_path / ".out.unfinished").exists() and not (tmp_path / "out/half").exists()


def test_a_set_with_something_wrong_is_not_exported(tmp_path):
    dataset = made(tmp_path / "set", labels=())
    part = dataset.folder / dataset.parts[0]
    pq.write_table(pq.read_table(part).slice(1), part)
    with pytest.raises(SettingsError, match=r"part-00000.parquet.*t is 1, but must be 0.*likert data check"):
        as_lerobot(dataset, tmp_path / "out")


def test_frames_with_an_odd_side_are_no_video(tmp_path):
    made(tmp_path / "set", px=(9, 12))
    with pytest.raises(SettingsError, match="12 x 9 pixels have an odd side"):
        export_to(tmp_path / "set", tmp_path / "out", ExportSettings(format="lerobot", pictures="video"))


def test_the_command(tmp_path):
    made(tmp_path / "set")
    done = CliRunner().invoke(app, ["data", "export", str(tmp_path / "set"), str(tmp_path / "out"), "format=lerobot"])
    assert done.exit_code == 0, done.output
    assert "out: lerobot, 3 episodes; the reward is that of sparse, beside it judge" in done.output
    wrong = CliRunner().invoke(app, ["data", "export", str(tmp_path / "set"), str(tmp_path / "two"), "format=hdf5"])
    assert wrong.exit_code == 2 and "format = 'hdf5'" in wrong.stderr and not (tmp_path / "two").exists()
