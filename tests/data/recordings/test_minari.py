"""Minari's data sets, in the layouts that Minari 0.5.4 writes: HDF5, Arrow, Parquet."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from typer.testing import CliRunner

from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.exports.exporting import ExportSettings
from orchestrator.data.exports.formats import export_to
from orchestrator.data.recordings import importing
from orchestrator.data.recordings.minari import MinariSettings, import_minari
from orchestrator.errors import LikertError, SettingsError
from tests.data.exports.test_exports import ARM, TURNS, made, same
from tests.data.recordings.test_importing import Killed
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND, fuzzed
from tests.fakes.small_minari import LENGTHS, MISSIONS, SmallMinari, box

h5py = pytest.importorskip("h5py")
KINDS = ("hdf5", "arrow", "parquet")


def imported(source, folder, **settings):
    _, num_problems = import_minari(source, folder, MinariSettings(**settings))
    return {one.episode_id: one for one in TrajectoryDataset(folder).episodes()}, num_problems


def greys(trajectory):
    return [round(float(decode_png(frame).mean())) for frame in trajectory.frames]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("jpegs", [False, True])
def test_each_episode_has_its_frames_actions_and_instruction(tmp_path, kind, jpegs):
    source = SmallMinari(jpegs=jpegs).write(tmp_path / "robot-v0", kind)
    episodes, num_problems = imported(source, tmp_path / "set")
    assert num_problems == 0 and list(episodes) == ["episode-000000", "episode-000001"]
    first, second = episodes.values()
    assert greys(first) == [0, 10, 20, 30] and greys(second) == [100, 110, 120, 130, 140, 150]
    assert first.actions.tolist() == [0, 1, 2] and second.actions.tolist() == [0, 1, 2, 0, 1]
    assert [one.instruction for one in episodes.values()] == list(MISSIONS)
    # It ended with a reward; the other ran out.
    assert first.sparse_rewards.tolist() == [0, 0, 1] and first.terminated[-1] and not first.truncated[-1]
    assert second.sparse_rewards.sum() == 0 and second.truncated[-1] and not second.terminated.any()
    assert first.audits["reward"].tolist() == [0, 0, 1]
    assert not [problem for problem in TrajectoryDataset(tmp_path / "set").problems() if not problem.is_note]


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_every_second_frame_added_up(tmp_path, kind, capsys):
    source = SmallMinari(discrete=False).write(tmp_path / "robot-v0", kind)
    episodes, _ = imported(source, tmp_path / "set", every=2, actions="relative", action_names=["dx", "dy"])
    second = episodes["episode-000001"]
    assert greys(second) == [110, 130, 150]
    np.testing.assert_allclose(second.actions, [[0.1 + 0.2, -0.3], [0.3 + 0.4, -0.7]], rtol=1e-6)
    assert second.action_names[0] == "dx +0.30, dy -0.30"
    assert "have no names" not in capsys.readouterr().err
    bounds = TrajectoryDataset(tmp_path / "set").info.actions.bounds
    assert bounds.sources == ("data", "data")


def test_bounds_are_those_of_the_action_space(tmp_path, capsys):
    recording = SmallMinari(discrete=False)
    recording.spaces["action_space"] = box((2,), "float32", -0.5, 0.5)
    imported(recording.write(tmp_path / "robot-v0"), tmp_path / "set")
    actions = TrajectoryDataset(tmp_path / "set").info.actions
    assert actions.names == ("a0", "a1") and "the 2 entries of its actions have no names" in capsys.readouterr().err
    # Twice as wide as its actions at most, a statement counts; these go from 0 to 0.4.
    assert actions.bounds.high == (pytest.approx(0.4), 0.0)


def test_minigrid_has_names_for_its_choices(tmp_path, capsys):
    recording = SmallMinari()
    recording.metadata["env_spec"] = json.dumps({"id": "BabyAI-GoToDoor-v0"})
    episodes, _ = imported(recording.write(tmp_path / "robot-v0"), tmp_path / "set")
    assert episodes["episode-000000"].action_names == ("turn left", "turn right", "move forward")
    assert "have no names" not in capsys.readouterr().err
    recording.spaces["action_space"]["start"] = 1
    recording.episodes[0]["actions"] = np.array([1, 2, 3])
    recording.episodes[1]["actions"] = np.array([1, 2, 3, 8, 0])
    episodes, num_problems = imported(recording.write(tmp_path / "robot-v0"), tmp_path / "other")
    assert episodes["episode-000000"].actions.tolist() == [0, 1, 2] and num_problems == 1
    assert "episode-000001: action 7 is unknown: there are 0 to 6" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_success_by_every_rule(tmp_path, kind):
    recording = SmallMinari()
    source = recording.write(tmp_path / "robot-v0", kind)

    def won(**settings):
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        return [bool(one.sparse_rewards.sum()) for one in imported(source, tmp_path / "set", **settings)[0].values()]

    assert won(success="all") == [True, True]
    assert won(success="terminated") == won(success="reward") == [True, False]
    with pytest.raises(SettingsError, match="no whole episode"):
        won(success="recorded")
    for number, flags in enumerate(([False] * 4, [False, False, True, False, False, True])):
        recording.episodes[number]["infos/success"] = np.array(flags)
    source = recording.write(tmp_path / "robot-v0", kind)
    assert won() == won(success="recorded") == [False, True]


def test_an_end_without_success_is_a_failure_for_good(tmp_path):
    recording = SmallMinari()
    recording.episodes[0]["rewards"][:] = 0
    episodes, _ = imported(recording.write(tmp_path / "robot-v0"), tmp_path / "set")
    first = episodes["episode-000000"]
    assert first.terminated[-1] and not first.truncated[-1] and first.sparse_rewards.sum() == 0


def test_a_set_without_any_success_is_told(tmp_path, capsys):
    recording = SmallMinari()
    for arrays in recording.episodes:
        arrays["rewards"][:] = 0
    assert imported(recording.write(tmp_path / "robot-v0"), tmp_path / "set")[1] == 0
    assert "note: none of the 2 episodes is a success" in capsys.readouterr().err


def test_pictures_are_chosen_among_those_there_are(tmp_path):
    recording = SmallMinari()
    source = recording.write(tmp_path / "robot-v0")
    with pytest.raises(SettingsError, match="camera = top: must be one of the pictures of the recording: image"):
        imported(source, tmp_path / "set", camera="top")
    codes = SmallMinari(px=(7, 7)).write(tmp_path / "grid-v0")
    with pytest.raises(SettingsError, match="it has none; also there, though smaller than 32 pixels: image"):
        imported(codes, tmp_path / "set")
    assert len(imported(codes, tmp_path / "set", camera="image")[0]) == 2


def test_an_observation_that_is_the_picture_needs_an_instruction(tmp_path):
    recording = SmallMinari()
    recording.spaces["observation_space"] = recording.spaces["observation_space"]["subspaces"]["image"]
    for arrays in recording.episodes:
        arrays["observations"] = arrays.pop("observations/image")
        del arrays["observations/mission"], arrays["observations/state"]
    source = recording.write(tmp_path / "robot-v0")
    with pytest.raises(SettingsError, match=r"says nowhere what was to be achieved: set it .* instruction="):
        imported(source, tmp_path / "set")
    episodes, _ = imported(source, tmp_path / "set", instruction=" press  it ")
    assert [one.instruction for one in episodes.values()] == ["press it"] * 2
    assert greys(episodes["episode-000001"])[0] == 100


def test_an_instruction_that_changes_costs_its_episode(tmp_path, capsys):
    recording = SmallMinari()
    recording.episodes[0]["observations/mission"][2] = "something else"
    episodes, num_problems = imported(recording.write(tmp_path / "robot-v0"), tmp_path / "set")
    assert list(episodes) == ["episode-000001"] and num_problems == 1
    assert "changes within it: 'go to the red key', 'something else'" in capsys.readouterr().err


def test_actions_in_pieces_are_joined_as_told(tmp_path):
    recording = SmallMinari(discrete=False)
    recording.spaces["action_space"] = {
        "type": "Dict", "subspaces": {"arm": box((2,), "float32", -1, 1), "hand": box((1,), "float32", -1, 1)},
    }  # fmt: skip
    for arrays in recording.episodes:
        arrays["actions/arm"] = arrays.pop("actions")
        arrays["actions/hand"] = np.ones((len(arrays["rewards"]), 1), np.float32)
    source = recording.write(tmp_path / "robot-v0")
    with pytest.raises(SettingsError, match=r"set action_keys to those that count, such as '\[arm, hand\]'"):
        imported(source, tmp_path / "set")
    episodes, _ = imported(source, tmp_path / "set", action_keys=["hand", "arm"])
    np.testing.assert_allclose(episodes["episode-000000"].actions[1], [1, 0.1, -0.1], rtol=1e-6)


def fewer_actions(one):
    one["actions"] = one["actions"][:-1]


def fewer_pictures(one):
    one["observations/image"] = one["observations/image"][:-1]


def no_rewards(one):
    del one["rewards"]


def actions_that_are_none(one):
    one["actions"] = one["actions"].astype(float) + np.nan


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("hdf5", fewer_actions, "actions"),
        ("hdf5", fewer_pictures, ""),
        ("hdf5", no_rewards, "rewards"),
        # In a table all columns are equally long.
        *((kind, actions_that_are_none, "unknown") for kind in KINDS),
    ],
)
def test_an_episode_that_is_not_whole_is_named_and_the_other_imported(tmp_path, capsys, kind, change, told):
    recording = SmallMinari()
    change(recording.episodes[1])
    source = recording.write(tmp_path / "robot-v0", kind)
    episodes, num_problems = imported(source, tmp_path / "set")
    assert list(episodes) == ["episode-000000"] and num_problems == 1
    assert "robot-v0: episode-000001: " in (said := capsys.readouterr().err) and told in said


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_episodes_than_promised(tmp_path, capsys, kind):
    recording = SmallMinari()
    recording.metadata["total_episodes"] = 9
    assert imported(recording.write(tmp_path / "robot-v0", kind), tmp_path / "set")[1] == 1
    assert "promises 9 episodes, of which 7 cannot be found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: (s / "data/metadata.json").unlink(), "is no Minari data set: it has no data/metadata.json"),
        (lambda s: (s / "data/main_data.hdf5").unlink(), "there is no file"),
        (lambda s: (s / "data/main_data.hdf5").write_bytes(b"x"), "is no HDF5 file that can be read"),
        (lambda s: (s / "data/metadata.json").write_text("{}"), "it has no observation_space that can be read"),
    ],
)
def test_other_folders_are_refused(tmp_path, change, message):
    source = SmallMinari().write(tmp_path / "robot-v0")
    change(source)
    with pytest.raises(SettingsError, match=message):
        imported(source, tmp_path / "set")


@pytest.mark.parametrize("kind", ["hdf5", "arrow"])
def test_an_import_that_was_stopped_goes_on_from_the_same_source(tmp_path, monkeypatch, kind):
    source = SmallMinari().write(tmp_path / "robot-v0", kind)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(importing, "DatasetWriter", Killed)
        import_minari(source, tmp_path / "set", MinariSettings())
    other = SmallMinari()
    other.episodes[0]["actions"][0] = 2
    other.write(tmp_path / "other-v0", kind)
    with pytest.raises(SettingsError, match="from another source"):
        import_minari(tmp_path / "other-v0", tmp_path / "set", MinariSettings())
    assert len(imported(source, tmp_path / "set")[0]) == 2


@pytest.mark.parametrize("actions", [ARM, TURNS])
def test_an_export_read_back_is_the_same(tmp_path, actions, capsys):
    dataset = made(tmp_path / "set", actions, px=(32, 48))
    export_to(dataset.folder, tmp_path / "out-v0", ExportSettings(format="minari", reward="judge"))
    imported(tmp_path / "out-v0", tmp_path / "back")
    back = TrajectoryDataset(tmp_path / "back")
    same(list(dataset.episodes()), list(back.episodes()))
    assert back.info.actions.names == actions.names and "have no names" not in capsys.readouterr().err
    assert next(back.episodes()).audits["reward"].tolist() == pytest.approx([0, 0.1, 0.2])


def test_names_that_minari_does_not_know_are_refused(tmp_path):
    made(tmp_path / "set")
    with pytest.raises(SettingsError, match="the folder's name is 'out', but Minari wants one such as out-v0"):
        export_to(tmp_path / "set", tmp_path / "out", ExportSettings(format="minari"))
    with pytest.raises(SettingsError, match="pictures = video"):
        export_to(tmp_path / "set", tmp_path / "out-v0", ExportSettings(format="minari", pictures="video"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_the_command(tmp_path):
    recording = SmallMinari()
    source = recording.write(tmp_path / "robot-v0", "arrow")
    done = CliRunner().invoke(app, ["data", "minari", str(source), str(tmp_path / "set")])
    assert done.exit_code == 0 and "2 episodes, 8 actions" in done.output, done.output
    (source / "data/1/part-0.arrow").write_bytes(b"ARROW1")
    done = CliRunner().invoke(app, ["data", "minari", str(source), str(tmp_path / "two")])
    assert done.exit_code == 1 and "left out: " in done.stderr


# ------------------------------------------------------------------------------------------------- damage


def damage(data, source):
    """A file has other bytes, or fewer, or is gone."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    how = data.draw(st.sampled_from(["flipped", "flipped", "torn", "gone", "zeroed"]))
    if how == "gone":
        path.unlink()
        return
    place = data.draw(st.integers(0, len(content) - 1))
    if how == "flipped":
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    elif how == "torn":
        content = content[:place]
    else:
        content[place : place + 64] = bytes(len(content[place : place + 64]))
    path.write_bytes(content)


def change_array(data, recording):
    """An array is gone, of another length or type, or has another value."""
    arrays = data.draw(st.sampled_from(recording.episodes))
    name = data.draw(st.sampled_from(sorted(arrays)))
    values = arrays[name]
    how = data.draw(st.sampled_from(["gone", "shorter", "empty", "type", "value", "swapped"]))
    if how == "gone":
        del arrays[name]
    elif how == "shorter":
        arrays[name] = values[:-1]
    elif how == "empty":
        arrays[name] = values[:0]
    elif how == "type" and isinstance(values, np.ndarray):
        arrays[name] = values.astype(data.draw(st.sampled_from(["f8", "i1", "u8", "S3", "?"])))
    elif how == "value" and isinstance(values, np.ndarray) and values.size:
        values.reshape(-1)[0] = data.draw(st.sampled_from([0, 1, 6, 99]))
    elif how == "swapped":
        other = data.draw(st.sampled_from(sorted(arrays)))
        arrays[name], arrays[other] = arrays[other], arrays[name]


def check_damaged(data, folder):
    """Whatever is damaged, an episode that is imported is whole, and its length fits; never a traceback."""
    recording = SmallMinari(discrete=data.draw(st.booleans()), jpegs=data.draw(st.booleans()))
    kind = data.draw(st.sampled_from(KINDS))
    shutil.rmtree(folder, ignore_errors=True)
    is_array = data.draw(st.booleans())
    if is_array:
        change_array(data, recording)
    try:
        source = recording.write(folder / "robot-v0", kind)
    except Exception:  # noqa: BLE001 - what cannot be written is no case
        assume(False)
    if not is_array:
        damage(data, source)
    try:
        episodes, _ = imported(source, folder / "set")
    except LikertError:
        return 0
    for name, one in episodes.items():
        number = int(name[-1])
        assert len(one) + 1 == len(one.frames) and len(one) in (LENGTHS[number], LENGTHS[number] - 1)
        assert all(decode_png(frame).shape == (32, 48, 3) for frame in one.frames) and one.instruction
        assert np.isfinite(one.actions).all()
    return len(episodes)


def test_a_hundred_recordings_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    assert {0, 1, 2} == fuzzed(A_HUNDRED, lambda data: check_damaged(data, tmp_path / "one"))


@pytest.mark.slow
def test_ten_thousand_recordings_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    fuzzed(TEN_THOUSAND, lambda data: check_damaged(data, tmp_path / "one"))
