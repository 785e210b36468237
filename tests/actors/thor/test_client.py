"""ai2thor 2.1.0 itself between the environment and a toy in place of Unity; skipped without the extra `thor`."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from actors.thor.controller import start_thor
from actors.thor.environment import ThorEnvironment
from actors.thor.scene import Scene
from actors.thor.settings import ThorSettings
from tests.actors.thor.test_environment import OBJECTS, TAKE, pair, task
from tests.fakes.toy_thor import MUG, SCENE

pytest.importorskip("ai2thor", reason="needs the extra `thor`")


@pytest.fixture
def settings(tmp_path, monkeypatch):
    build = tmp_path / "unity"
    build.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).parents[2] / 'fakes' / 'toy_unity.py'}\n")
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
