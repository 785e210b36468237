"""The few numbers from which a frame can be rebuilt: what moves, and what a reset places."""

import mujoco
import numpy as np

from algorithms.episodes import Scene

SCENE_ARRAYS = ("body_pos", "site_pos")
"""The arrays of the MuJoCo model that MetaWorld's resets write to, in any of its tasks."""


def read(data: mujoco.MjData) -> np.ndarray:
    """[F] float32: the joint positions. The hand's target is never drawn, and all else follows from the scene."""
    return data.qpos.astype(np.float32)


def restore(model: mujoco.MjModel, data: mujoco.MjData, state: np.ndarray) -> None:
    """Put things where `state` [F] says, and compute what drawing needs."""
    data.qpos[:] = state
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_camlight(model, data)


def read_scene(model: mujoco.MjModel) -> Scene:
    """Copies of the arrays that resets write to."""
    return Scene({name: getattr(model, name).astype(np.float32) for name in SCENE_ARRAYS})


def restore_scene(model: mujoco.MjModel, scene: Scene) -> None:
    """Place things as the scene says."""
    for name in SCENE_ARRAYS:
        getattr(model, name)[:] = scene.arrays[name]
