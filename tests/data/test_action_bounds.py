"""Bounds of continuous actions: from the actions, from what a recording says, or by hand."""

import json

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.data.action_bounds import KnownBounds, range_without_faults, recorded_actions, with_bounds
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.metadata import METADATA_FILE, read_info
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.data.recordings.lerobot_statistics import stated_bounds
from orchestrator.data.schema import ActionSpace
from orchestrator.errors import SettingsError
from tests.data.test_datasets import write
from tests.data.test_learning_check import JOINTS, joints, reaching
from tests.fakes.small_recording import small_recording

ARM = ActionSpace(kind="continuous", names=("lift", "turn"))


def column(values):
    return np.array(values, dtype=np.float32)[:, None]


@pytest.mark.parametrize(
    ("values", "low", "high", "faults"),
    [
        ([3, -1, 2], -1, 3, 0),
        ([7] * 9, 7, 7, 0),
        # One bad value of a sensor among a thousand, at either end.
        ([*np.linspace(-60, 80, 999), 65535], -60, 80, 1),
        ([*np.linspace(-60, 80, 999), -9e9], -60, 80, 1),
        # Two in a thousand are no fault; nor is one that is not far; nor one of a few.
        ([*np.linspace(-60, 80, 998), 65535, 65535], -60, 65535, 0),
        ([*np.linspace(-60, 80, 999), 500], -60, 500, 0),
        ([*np.linspace(-60, 80, 98), 65535], -60, 65535, 0),
        # A gripper that closes once, and is else quite still.
        ([0] * 999 + [1], 0, 1, 0),
    ],
)
def test_the_range_is_exact_but_for_faults(values, low, high, faults):
    found = range_without_faults(np.hstack([column(values), column(values) * 0]))
    np.testing.assert_allclose([one[0] for one in found], [low, high, faults], rtol=1e-6)
    assert [one[1] for one in found] == [0, 0, 0]


def test_faults_are_told_with_what_to_do():
    recorded = np.hstack([column([*np.linspace(-60, 80, 999), 65535]), column([1] * 1000)])
    space, (note,) = with_bounds(ARM, recorded, KnownBounds())
    assert (space.bounds.low, space.bounds.high) == ((-60.0, 1.0), (80.0, 1.0))
    assert "lift: 1 of 1,000 values lie far beyond all others, as 65535. They are taken for faults" in note
    assert "likert data bounds FOLDER lift=LOW,HIGH" in note


def test_who_counts_for_bounds():
    recorded = np.float32([[0.1, 5], [0.5, 5]])
    for stated, low, high, sources in [
        (((0.0, 0.0), (0.7, 9.0)), (0.0, 5.0), (0.7, 5.0), ("recording", "data")),  # constant entries stay so
        (((0.2, 0.0), (0.8, 9.0)), (0.1, 5.0), (0.5, 5.0), ("data", "data")),  # it contradicts the actions
        (((-9.0, 5.0), (9.0, 5.0)), (0.1, 5.0), (0.5, 5.0), ("data", "data")),  # far wider than anything that was done
    ]:
        space, notes = with_bounds(ARM, recorded, KnownBounds(stated=stated))
        assert (space.bounds.low, space.bounds.high, space.bounds.sources) == (low, high, sources) and not notes
    space, _ = with_bounds(ARM, recorded, KnownBounds({"turn": (0.0, 10.0)}, ((0.0, 0.0), (0.7, 9.0))))
    assert space.bounds.sources == ("recording", "given") and space.bounds.high == (0.7, 10.0)


def imported(recording, folder, **settings):
    import_lerobot(recording.write(folder / "recording"), folder / "set", LeRobotSettings(**settings))
    return read_info(folder / "set").actions.bounds


def test_an_import_notes_bounds_from_the_actions_that_it_keeps(tmp_path):
    bounds = imported(small_recording(), tmp_path)
    # Of the seven rows the last of each episode leads to nothing that was seen.
    assert (bounds.low, bounds.high, bounds.sources) == ((0.0, -0.5), (0.5, 0.0), ("data", "data"))


def test_what_the_recording_says_counts_whole_or_by_episode(tmp_path):
    recording = small_recording()
    for name, stats in (("min", [[0, -0.2], [0.3, -0.7]]), ("max", [[0.2, 0.0], [0.7, 0.0]])):
        recording.set("episodes", f"stats/action/{name}", pa.array(stats))
    assert imported(recording, tmp_path / "by_episode").low == (0.0, -0.7)
    folder = recording.write(tmp_path / "whole")
    (folder / "meta/stats.json").write_text(json.dumps({"action": {"min": [[0.0], [-0.6]], "max": [[0.6], [0.0]]}}))
    assert stated_bounds(folder, "action", 2) == ((0.0, -0.6), (0.6, 0.0))
    # What is not well said is not said.
    pairs = ("0", "1"), ("[0]", "[1]"), ("[9, NaN]", "[1, 2]"), ("[9, 9]", "[1, 2]"), ('"x"', "{}"), ("null", "null")
    for text in ("{", '{"action": 3}', *(f'{{"action": {{"min": {low}, "max": {high}}}}}' for low, high in pairs)):
        (folder / "meta/stats.json").write_text(text)
        assert stated_bounds(folder, "action", 2) in (None, ((0.0, -0.7), (0.7, 0.0))), text
    lines = [{"episode_index": i, "stats": {"action": {"min": [i, 0], "max": [i + 1, 0]}}} for i in range(2)]
    old = tmp_path / "old"
    (old / "meta").mkdir(parents=True)
    (old / "meta/episodes_stats.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert stated_bounds(old, "action", 2) == ((0.0, 0.0), (2.0, 0.0))
    (old / "meta/episodes_stats.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{}")
    assert stated_bounds(old, "action", 2) is None


def test_bounds_by_hand_and_what_is_no_entry(tmp_path):
    bounds = imported(small_recording(), tmp_path / "a", action_bounds={"gripper": (-1, 1)})
    assert (bounds.low, bounds.high, bounds.sources) == ((0.0, -1.0), (0.5, 1.0), ("data", "given"))
    for given, text in [
        ({"grip": (0, 1)}, "'grip' is no entry of the actions; there are x, gripper"),
        ({"x": (1, 0)}, "x = 1, 0: give two numbers, the lower one first"),
    ]:
        with pytest.raises(SettingsError, match=text):
            imported(small_recording(), tmp_path / "b", action_bounds=given)
        assert not (tmp_path / "b/set").exists()


def likert(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.output


def test_the_command_sets_bounds_and_check_tells_them(tmp_path):
    episodes = [joints(number, reaching(number), number > 0) for number in range(6)]
    dataset = write(tmp_path / "set", episodes, JOINTS)
    text = json.loads((tmp_path / "set" / METADATA_FILE).read_text())
    text["actions"].pop("bounds")
    (tmp_path / "set" / METADATA_FILE).write_text(json.dumps(text))
    code, output = likert("data", "check", tmp_path / "set")
    assert code == 0 and "note: its actions are scaled by what they show" in output and "nothing is wrong" in output
    code, output = likert("data", "bounds", tmp_path / "set", "wrist=-90,90")
    assert code == 0 and "wrist -90 to 90, grip 0 to 1" in output
    code, output = likert("data", "check", tmp_path / "set")
    assert code == 0 and "actions: elbow " in output and "wrist -90 to 90" in output and "scaled by" not in output
    bounds = TrajectoryDataset(tmp_path / "set").info.actions.bounds
    assert bounds.sources == ("data", "given", "data") and bounds.low[1] == -90.0
    assert np.isclose(bounds.high[0], max(one.actions[:, 0].max() for one in dataset.episodes()))
    for wrong, said in [
        ("wrist=5", "must be ENTRY=LOW,HIGH"),
        ("hand=0,1", "'hand' is no entry"),
        ("5,6", "must be ENTRY"),
    ]:
        assert likert("data", "bounds", tmp_path / "set", wrong)[0] == 2
        assert said in likert("data", "bounds", tmp_path / "set", wrong)[1]


def test_actions_are_read_back_without_those_that_are_no_whole_vectors(tmp_path):
    dataset = write(tmp_path / "set", [joints(0, [[1, 2, 3], [4, np.nan, 6], [7, 8, 9]])], JOINTS)
    (tmp_path / "set/part-00001.parquet").write_bytes(b"PAR1")
    found = recorded_actions([tmp_path / "set/part-00001.parquet", dataset.folder / dataset.parts[0]], 3)
    assert found.tolist() == [[1, 2, 3], [7, 8, 9]] and found.dtype == np.float32
    assert recorded_actions([], 3).shape == (0, 3)
