"""The few numbers from which a frame can be rebuilt: what moves, and what a reset places."""

import mujoco
import numpy as np

from algorithms.episodes import Scene

SCENE_ARRAYS = ("body_pos", "site_pos")
"""The arrays of the MuJoCo model that MetaWorld's resets write to, in any of its tasks."""


def read(data: mujoco.MjData) -> np.ndarray:
    """[2 * nq] float32: the joint positions, then what rounding them to float32 lost.

    The rounded positions alone would shift some pixels by one level. The hand's target is never drawn, and all else
    follows from the scene.
    """
    rounded = data.qpos.astype(np.float32)
    return np.concatenate([rounded, (data.qpos - rounded).astype(np.float32)])


def restore(model: mujoco.MjModel, data: mujoco.MjData, state: np.ndarray) -> None:
    """Put things where `state` [2 * nq] says, and compute what drawing needs."""
    rounded, remainder = np.split(state.astype(np.float64), 2)
    data.qpos[:] = rounded + remainder
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)


def read_scene(model: mujoco.MjModel) -> Scene:
    """Copies of the arrays that resets write to, each [items, 3] float64."""
    return Scene({name: getattr(model, name).copy() for name in SCENE_ARRAYS})


def restore_scene(model: mujoco.MjModel, scene: Scene) -> None:
    """Place things as the scene says."""
    for name in SCENE_ARRAYS:
        getattr(model, name)[:] = scene.arrays[name]
