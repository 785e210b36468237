"""ai2thor 2.1.0 itself between the environment and a toy in place of Unity; skipped without the extra `thor`."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from actors.thor.controller import start_thor
from actors.thor.environment import ThorEnvironment
from actors.thor.scene import Scene
from actors.thor.settings import ThorSettings
from orchestrator.cli import app
from orchestrator.run_files import read_json_lines
from orchestrator.run_layout import METRICS_FILE
from tests.test_thor_environment import OBJECTS, TAKE, pair, task
from tests.toy_thor import MUG, SCENE, write_demonstration

pytest.importorskip("ai2thor", reason="needs the extra `thor`")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    build = tmp_path / "unity"
    build.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).parent / 'toy_unity.py'}\n")
    build.chmod(0o755)
    monkeypatch.setenv("DISPLAY", ":99")
    # ai2thor asks `xdpyinfo`, if `which` finds one, whether the display answers; nothing is drawn here.
    (tmp_path / "which").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "which").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return ThorSettings(source=tmp_path, build=build, timeout_s=60)


def test_the_pinned_client_carries_commands_and_pictures(settings):
    env = ThorEnvironment(settings, OBJECTS)
    for start_seed in (None, 5):
        observation, info = env.reset(options={"task": task(TAKE), "start_seed": start_seed})
        assert env.observation_space.contains(observation) and info["num_completed"] == 0
    left = env.reset(options={"task": task(TAKE)})[0]["frame"]
    right = env.step(pair("MoveAhead_25"))[0]["frame"]
    # The bright bar stands for the agent's place; upper rows of green say that something is held.
    assert np.flatnonzero(right[150, :, 0] > 200)[0] > np.flatnonzero(left[150, :, 0] > 200)[0]
    observation, reward, terminated, _, _ = env.step(pair("PickupObject", "Mug"))
    assert (reward, terminated) == (1.0, True)
    assert (observation["frame"][:100, :, 1] == 200).all() and not (observation["frame"][150:, 100:, 1] == 200).any()
    env.close()


def test_what_unity_refuses_is_a_failed_action(settings):
    controller = start_thor(settings)
    scene = Scene(controller)
    scene.load(SCENE)
    assert not scene.act("SliceObject", MUG)
    assert scene.act("LookUp_15") and scene.metadata["agent"]["cameraHorizon"] == 15.0
    controller.stop()


@pytest.mark.slow
def test_the_command_trains_on_alfred_and_judges_in_thor(settings, tmp_path):
    source = tmp_path / "train"
    for trial in "ab":
        write_demonstration(source / trial, px=30)
    file = tmp_path / "run.yaml"
    tree = {
        "kind": "offline", "name": "thor", "total_updates": 20, "runs_folder": str(tmp_path / "runs"),
        "data": {"path": str(tmp_path / "set"), "observation": "frame"},
        "policy": {"batch_size": 8, "network": {"channels": 4, "hidden": [16], "instruction_size": 8}},
        "evaluation": {
            "num_tasks": 4, "chain_lengths": [1, 3], "num_workers": 2, "environment": "thor",
            "thor": {"source": str(source), "build": str(settings.build)},
        },
        "tracking": {"enabled": False},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(tree))
    for command in (["data", "alfred", source, tmp_path / "set"], ["run", file]):
        done = CliRunner().invoke(app, [*map(str, command)])
        assert done.exit_code == 0, done.output
    rows = read_json_lines(tmp_path / "runs" / "thor-seed0" / METRICS_FILE)
    names = {name for row in rows for name in row}
    assert names >= {f"eval/{start}_proportion_of_{n}" for start in ("fixed", "randomised") for n in (1, 3)}
    done = CliRunner().invoke(app, ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0 and "| thor | sparse | 1 |" in (tmp_path / "out" / "chains.md").read_text()
