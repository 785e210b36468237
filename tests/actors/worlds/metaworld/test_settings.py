"""Settings of tasks: what a user may write, and what a mistake is answered with."""

import subprocess
import sys

import metaworld
import pytest
from pydantic import ValidationError

from actors.worlds.metaworld.settings import META_WORLD_ENVS, STOCK_CAMERAS, CameraSettings, MetaWorldTask

TASK = {"name": "task", "env_id": "drawer-close-v3", "instruction": "close the drawer", "focus": "the drawer"}


def test_environment_names_are_metaworlds_own():
    assert sorted(META_WORLD_ENVS) == sorted(metaworld.ALL_V3_ENVIRONMENTS)


def test_camera_names_are_metaworlds_own():
    env = metaworld.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE["reach-v3-goal-observable"](seed=0)
    assert set(STOCK_CAMERAS) == {env.model.camera(index).name for index in range(env.model.ncam)}


def test_unknown_environment_names_the_nearest():
    with pytest.raises(ValidationError, match=r"no environment 'drawer-shut-v3'; did you mean drawer-"):
        MetaWorldTask(**{**TASK, "env_id": "drawer-shut-v3"})


def test_unknown_camera_is_refused():
    with pytest.raises(ValidationError, match="corner2"):
        MetaWorldTask(**TASK, camera="corner9")


def test_camera_must_look_somewhere():
    with pytest.raises(ValidationError, match="they must differ"):
        CameraSettings(position=(0.0, 0.5, 0.3), look_at=(0.0, 0.5, 0.3))


def test_colours_are_fractions():
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        MetaWorldTask(**TASK, object_colours={"drawer": (255, 0, 0, 1)})


def test_settings_load_neither_simulator_nor_torch():
    code = "import sys, actors.worlds.families; print({'mujoco', 'metaworld', 'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
