"""Imports that left something out, were refused, or were stopped and go on."""

import itertools
import json
import types

import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.metadata import METADATA_FILE
from orchestrator.data.recordings.lerobot import LeRobotSettings, Recording, import_lerobot
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from tests.fakes.small_recording import TASKS, by_path, imported, pictures, png, small_recording


def likert(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    return types.SimpleNamespace(code=done.exit_code, out=done.stdout, err=done.stderr)


def test_the_exit_code_tells_that_something_was_left_out(tmp_path):
    recording = small_recording()
    recording.info["total_episodes"] = 7
    source = recording.write(tmp_path / "robot")
    done = likert("data", "lerobot", source, tmp_path / "set")
    assert done.code == 1 and "2 episodes" in done.out and "1 problem," in done.err
    assert "7/7 episodes, 5 left out" in done.err
    assert likert("data", "lerobot", source, tmp_path / "first", "max_episodes=1").code == 0


def test_a_refusal_leaves_no_empty_folder(tmp_path):
    source = small_recording().write(tmp_path / "robot")
    assert likert("data", "lerobot", source, tmp_path / "new/set", "camera=none").code == 2
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    assert likert("data", "lerobot", source, tmp_path / "mine", "camera=none").code == 2
    assert (tmp_path / "mine").exists()


def begun(folder, recording, episodes=1, **settings):
    """A set whose import was stopped after its first episodes."""
    source = Recording(recording.write(folder / "robot"), LeRobotSettings(**settings))
    whole = folder / "begun"
    import_lerobot(folder / "robot", whole, LeRobotSettings(**settings))
    info = TrajectoryDataset(whole).info
    writer = DatasetWriter(folder / "set", info, part_bytes=1)
    for one in itertools.islice(source.episodes(), episodes):
        writer.write(one)


def test_an_import_that_was_stopped_goes_on(tmp_path):
    begun(tmp_path, small_recording())
    episodes, num_problems = imported(small_recording(), tmp_path)
    assert num_problems == 0 and [pictures(one) for one in episodes.values()] == [[0, 1, 2], [3, 4, 5, 6]]


@pytest.mark.parametrize(
    "other",
    [
        lambda one: small_recording(colour=100),
        lambda one: small_recording(names=("y", "gripper")),
        lambda one: one.set("tasks", "__index_level_0__", ["another", TASKS[1]]),
        lambda one: one.set("data", "action", [[0.0, 0.0]] * 7),
    ],
)  # fmt: skip
def test_another_recording_is_refused_though_its_episodes_have_the_same_names(tmp_path, other):
    begun(tmp_path, small_recording())
    with pytest.raises(SettingsError, match="from another source, 'robot'"):
        imported(other(small_recording()), tmp_path)


def test_pictures_by_path_count_towards_the_source(tmp_path):
    paths = [f"images/{n}.png" for n in range(7)]
    (tmp_path / "robot/images").mkdir(parents=True)
    for n, path in enumerate(paths):
        (tmp_path / "robot" / path).write_bytes(png(n))
    begun(tmp_path, by_path(small_recording(), paths))
    (tmp_path / "robot" / paths[6]).write_bytes(png(99))
    with pytest.raises(SettingsError, match="from another source"):
        imported(by_path(small_recording(), paths), tmp_path)


def forget_origin(folder):
    """As it was before sets knew their origin."""
    path = folder / METADATA_FILE
    found = json.loads(path.read_text())
    del found["origin"], found["settings"]["action_key"]
    path.write_text(json.dumps(found))


def test_an_old_import_goes_on_where_the_rules_agree_and_is_refused_where_they_do_not(tmp_path, caplog):
    begun(tmp_path, small_recording())
    forget_origin(tmp_path / "set")
    episodes, _ = imported(small_recording(), tmp_path)
    assert len(episodes) == 2 and "begun before sets noted their origin" in caplog.text
    begun(tmp_path / "b", small_recording(colour=9))
    forget_origin(tmp_path / "b/set")
    with pytest.raises(SettingsError, match="its episode episode-000000 is not what the source gives now"):
        imported(small_recording(), tmp_path / "b")
