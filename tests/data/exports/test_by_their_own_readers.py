"""Exports are read by the libraries that they are for, and Minari's own files by us. Each library gets a folder of its
own, by pip: they want other versions of things than we do."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from algorithms.images import decode_png
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.exports.exporting import ExportSettings
from orchestrator.data.exports.formats import export_to
from orchestrator.data.recordings.minari import MinariSettings, import_minari
from tests.data.exports.test_exports import ARM, TURNS, made

pytestmark = pytest.mark.slow
PX = (64, 96)

READ_MINARI = """
import json, minari
found = minari.load_dataset("out-v0")
print(json.dumps([{
    "pictures": episode.observations["image"][:, 5, 5].tolist(), "missions": list(episode.observations["mission"]),
    "actions": episode.actions.tolist(), "rewards": episode.rewards.tolist(),
    "terminated": episode.terminations.tolist(), "truncated": episode.truncations.tolist(),
    "fits": [found.observation_space["image"].contains(one) for one in episode.observations["image"]],
} for episode in found.iterate_episodes()]))
"""
WRITE_MINARI = """
import sys, string, numpy as np, minari
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer
mission = spaces.Text(99, charset=string.printable)
space = spaces.Dict({"image": spaces.Box(0, 255, (64, 96, 3), np.uint8), "mission": mission})
def episode(number, length):
    pictures = np.stack([np.full((64, 96, 3), 100 * number + 10 * step, np.uint8) for step in range(length + 1)])
    last = np.arange(length) == length - 1
    return EpisodeBuffer(
        id=number, observations={"image": pictures, "mission": ["go"] * (length + 1)}, actions=np.arange(length) % 3,
        rewards=last.astype(float).tolist(), terminations=last.tolist(), truncations=[False] * length)
minari.create_dataset_from_buffers("made-v0", [episode(0, 3), episode(1, 5)], observation_space=space,
    action_space=spaces.Discrete(3), data_format=sys.argv[1], algorithm_name="x", author="x", author_email="x@y.z",
    code_permalink="x")
"""
READ_LEROBOT = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
found = LeRobotDataset("any/name", root=sys.argv[1], video_backend="pyav")
rows = [found[index] for index in range(len(found))]
print("FOUND" + json.dumps({
    "length": len(found), "episodes": found.num_episodes, "tasks": [row["task"] for row in rows],
    "actions": [row["action"].tolist() for row in rows], "rewards": [float(row["next.reward"]) for row in rows],
    "judge": [float(row["reward.judge"]) for row in rows],
    "greys": [float(row["observation.images.main"][:, 5, 5].mean() * 255) for row in rows],
    "mean": found.meta.stats["action"]["mean"].tolist(),
}))
"""


def installed(folder, python, *packages):
    """An interpreter that has these packages."""
    subprocess.run([python, "-m", "venv", folder], check=True)
    python = str(folder / "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def answer(python, program, *arguments, **environment):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run([python, "-c", program, *arguments], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def minari_python(tmp_path_factory):
    named = os.environ.get("LIKERT_MINARI_PYTHON")
    return named or installed(tmp_path_factory.mktemp("minari") / "venv", sys.executable, "minari[hdf5,arrow]==0.5.4")


@pytest.fixture(scope="module")
def lerobot_python(tmp_path_factory):
    """Of Python 3.12, which lerobot asks for."""
    named = os.environ.get("LIKERT_LEROBOT_PYTHON")
    if named:
        return named
    if shutil.which("python3.12") is None:
        pytest.skip("lerobot 0.6.1 needs Python 3.12, and there is no python3.12")
    # torch 2.12 and above is refused by it.
    packages = ("lerobot[dataset]==0.6.1", "torch<2.12")
    return installed(tmp_path_factory.mktemp("lerobot") / "venv", "python3.12", *packages)


@pytest.mark.parametrize("actions", [ARM, TURNS])
def test_minari_reads_what_was_exported(tmp_path, minari_python, actions):
    dataset = made(tmp_path / "set", actions, px=PX)
    export_to(dataset.folder, tmp_path / "out-v0", ExportSettings(format="minari", reward="judge"))
    found = json.loads(answer(minari_python, READ_MINARI, MINARI_DATASETS_PATH=str(tmp_path)).splitlines()[-1])
    for number, (ours, theirs) in enumerate(zip(dataset.episodes(), found, strict=True)):
        greys = [50 * number + 3 * step for step in range(len(ours) + 1)]
        assert theirs["pictures"] == [[grey] * 3 for grey in greys] and all(theirs["fits"])
        assert theirs["missions"] == [ours.instruction] * (len(ours) + 1)
        np.testing.assert_allclose(theirs["actions"], ours.actions)
        np.testing.assert_allclose(theirs["rewards"], ours.rewards["judge"])
        assert theirs["terminated"] == ours.terminated.tolist() and theirs["truncated"] == ours.truncated.tolist()


@pytest.mark.parametrize("kind", ["hdf5", "arrow", "parquet"])
def test_what_minari_wrote_is_imported(tmp_path, minari_python, kind):
    answer(minari_python, WRITE_MINARI, kind, MINARI_DATASETS_PATH=str(tmp_path))
    _, num_problems = import_minari(tmp_path / "made-v0", tmp_path / "set", MinariSettings())
    first, second = TrajectoryDataset(tmp_path / "set").episodes()
    assert num_problems == 0 and second.actions.tolist() == [0, 1, 2, 0, 1] and second.instruction == "go"
    # Minari packs pictures as JPEG.
    greys = [decode_png(frame).mean() for frame in (*first.frames, *second.frames)]
    np.testing.assert_allclose(greys, [0, 10, 20, 30, 100, 110, 120, 130, 140, 150], atol=2)
    assert first.sparse_rewards.tolist() == [0, 0, 1]


@pytest.mark.parametrize("pictures", ["png", "video"])
def test_lerobot_reads_what_was_exported(tmp_path, lerobot_python, pictures):
    dataset = made(tmp_path / "set", px=PX)
    export_to(dataset.folder, tmp_path / "out", ExportSettings(format="lerobot", pictures=pictures, reward="judge"))
    told = answer(lerobot_python, READ_LEROBOT, str(tmp_path / "out"), HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    found = json.loads(told.partition("FOUND")[2].splitlines()[0])
    episodes = list(dataset.episodes())
    actions = [action for one in episodes for action in (*one.actions.tolist(), one.actions[-1].tolist())]
    assert (found["length"], found["episodes"]) == (11, 3)
    np.testing.assert_allclose(found["actions"], actions, rtol=1e-6)
    np.testing.assert_allclose(found["mean"], np.mean(actions, axis=0), rtol=1e-5)
    assert found["tasks"] == [one.instruction for one in episodes for _ in one.frames]
    rewards = [reward for one in episodes for reward in (*one.rewards["judge"].tolist(), 0)]
    np.testing.assert_allclose(found["rewards"], rewards)
    assert np.flatnonzero(np.isnan(found["judge"])).tolist() == [3, 5, 10]
    greys = [50 * number + 3 * step for number, one in enumerate(episodes) for step in range(len(one) + 1)]
    np.testing.assert_allclose(found["greys"], greys, atol=0.01 if pictures == "png" else 8)
