"""robomimic's HDF5, in the layout that its own script writes, and without what that script adds."""

import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from algorithms.images import decode_png
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.arrays import ArraySettings
from orchestrator.data.recordings.robomimic import import_robomimic
from orchestrator.errors import LikertError, SettingsError
from tests.data.recordings.test_minari import damage
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND, fuzzed

h5py = pytest.importorskip("h5py")
LENGTHS = (3, 5)
TASK = "lift the cube"


def write(path, change=None, lengths=LENGTHS):
    """Demonstrations in the order 10, 2, whose pictures are as grey as their number and step say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = '{"env_name": "Lift"}'
        for number, length in zip((10, 2), lengths, strict=True):
            pictures = np.stack([np.full((32, 48, 3), 10 * number + 3 * step, np.uint8) for step in range(length + 1)])
            last = np.arange(length) == length - 1
            arrays = {
                "actions": np.stack([np.arange(length) / 10, -np.arange(length) / 10], axis=1),
                "states": np.zeros((length, 32)), "obs/robot0_eef_pos": np.zeros((length, 3)),
                "obs/front_image": pictures[:-1], "next_obs/front_image": pictures[1:],
                "rewards": (last & (number == 2)).astype(float), "dones": last.astype(int),
            }  # fmt: skip
            if change is not None:
                change(number, arrays)
            for name, values in arrays.items():
                file[f"data/demo_{number}/{name}"] = values
    return path


def imported(source, folder, **settings):
    _, num_problems = import_robomimic(source, folder, ArraySettings(**{"instruction": TASK, **settings}))
    return {one.episode_id: one for one in TrajectoryDataset(folder).episodes()}, num_problems


def greys(trajectory):
    return [round(float(decode_png(frame).mean())) for frame in trajectory.frames]


def test_each_demonstration_has_its_frames_actions_and_end(tmp_path):
    episodes, num_problems = imported(write(tmp_path / "image.hdf5"), tmp_path / "set", action_names=["x", "grip"])
    assert num_problems == 0 and list(episodes) == ["demo_2", "demo_10"]
    second, tenth = episodes.values()
    # What the last action led to stands in next_obs.
    assert greys(second) == [20, 23, 26, 29, 32, 35] and greys(tenth) == [100, 103, 106, 109]
    np.testing.assert_allclose(second.actions[:, 0], np.arange(5) / 10, rtol=1e-6)
    assert second.action_names[1] == "x +0.10, grip -0.10" and second.instruction == TASK
    assert second.sparse_rewards.tolist() == [0, 0, 0, 0, 1] and second.terminated[-1]
    assert tenth.sparse_rewards.sum() == 0 and tenth.truncated[-1]
    assert second.audits["reward"].tolist() == [0, 0, 0, 0, 1]


def without(*names):
    def change(_, arrays):
        for name in names:
            del arrays[name]

    return change


def test_without_the_pictures_behind_the_last_action_is_left_out(tmp_path):
    source = write(tmp_path / "image.hdf5", without("next_obs/front_image"))
    episodes, _ = imported(source, tmp_path / "set", every=2)
    assert (
        greys(episodes["demo_2"]) == [20, 26, 32]
        and episodes["demo_2"].actions[:, 0].tolist() == np.float32([0.1, 0.3]).tolist()
    )


@pytest.mark.parametrize(
    ("missing", "settings", "wanted"),
    [
        ((), {}, [True, False]),
        ((), {"success": "terminated"}, [True, True]),
        (("rewards",), {}, [True, True]),
        (("rewards", "dones"), {}, [True, True]),
        ((), {"success": "all"}, [True, True]),
    ],
)
def test_success(tmp_path, missing, settings, wanted):
    episodes, _ = imported(write(tmp_path / "image.hdf5", without(*missing)), tmp_path / "set", **settings)
    assert [bool(one.sparse_rewards.sum()) for one in episodes.values()] == wanted


def test_a_file_of_states_alone_names_the_command_that_renders_it(tmp_path):
    source = write(tmp_path / "demo.hdf5", without("obs/front_image", "next_obs/front_image", "obs/robot0_eef_pos",
                                                   "rewards", "dones"))  # fmt: skip
    with pytest.raises(SettingsError, match=r"states only.*dataset_states_to_obs --dataset demo.hdf5 .*--done_mode 2"):
        imported(source, tmp_path / "set")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instruction": None}, "robomimic has no instructions; .* instruction='lift the cube'"),
        ({"camera": "top"}, "must be one of the pictures of the recording: front_image"),
        ({"action_keys": ["x"]}, "leave out action_keys"),
        ({"action_names": ["x"]}, "must be 2 different names"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        imported(write(tmp_path / "image.hdf5"), tmp_path / "set", **settings)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.hdf5").write_bytes(b"no")
    for source, message in ((tmp_path / "x.hdf5", "is no HDF5 file"), (tmp_path / "none", "there is no file")):
        with pytest.raises(SettingsError, match=message):
            imported(source, tmp_path / "set")
    with h5py.File(tmp_path / "y.hdf5", "w") as file:
        file["other"] = [1]
    with pytest.raises(SettingsError, match="is no robomimic file"):
        imported(tmp_path / "y.hdf5", tmp_path / "set")


def test_a_demonstration_that_is_not_whole_is_named_and_the_other_imported(tmp_path):
    def change(number, arrays):
        if number == 10:
            arrays["rewards"] = arrays["rewards"][:-1]

    source = write(tmp_path / "image.hdf5", change)
    done = CliRunner().invoke(app, ["data", "robomimic", str(source), str(tmp_path / "set"), f"instruction='{TASK}'"])
    assert done.exit_code == 1 and "demo_10: it has 2 rewards for 3 actions" in done.stderr, done.output
    assert "1 episode, 5 actions" in done.stdout


def check_damaged(data, folder):
    """Whatever is damaged, a demonstration that is imported is whole; never a traceback."""
    shutil.rmtree(folder, ignore_errors=True)
    write(folder / "robot/image.hdf5")
    damage(data, folder / "robot")
    try:
        episodes, _ = imported(folder / "robot/image.hdf5", folder / "set")
    except LikertError:
        return 0
    for name, one in episodes.items():
        assert len(one) == dict(zip(("demo_10", "demo_2"), LENGTHS, strict=True))[name]
        assert all(decode_png(frame).shape == (32, 48, 3) for frame in one.frames) and np.isfinite(one.actions).all()
    return len(episodes)


def test_a_hundred_files_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    assert {0, 2} <= fuzzed(A_HUNDRED, lambda data: check_damaged(data, tmp_path / "one"))


@pytest.mark.slow
def test_ten_thousand_files_with_something_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)
    fuzzed(TEN_THOUSAND, lambda data: check_damaged(data, tmp_path / "one"))
