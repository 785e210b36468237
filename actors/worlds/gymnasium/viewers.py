"""Keeping several MuJoCo renderers of Gymnasium in one process from spoiling each other's pictures.

Gymnasium makes a viewer's OpenGL context current when it makes the viewer, and never again: what is drawn later comes
from whichever context is current then, without an error (black pictures, or another scene's textures). And a viewer
that is collected after its environment was closed frees names in a stranger's context.
"""

import atexit
import weakref
from typing import Any

import gymnasium

_FIXED = 2
"""MuJoCo's mjCAMERA_FIXED, written out: MuJoCo is imported where an environment needs it, and not before."""


def renderers_of(env: gymnasium.Env) -> list[Any]:
    """The MuJoCo renderers in an environment: its own, or those of environments that it holds, as mazes do."""
    inner = env.unwrapped
    holders = [inner, *(one for one in vars(inner).values() if hasattr(one, "mujoco_renderer"))]
    found = [getattr(holder, "mujoco_renderer", None) for holder in holders]
    return [one for number, one in enumerate(found) if one is not None and one not in found[:number]]


def make_current(env: gymnasium.Env) -> None:
    """Let the environment's next picture come from its own context."""
    for viewer in _viewers(env):
        viewer.make_context_current()


def upright(env: gymnasium.Env) -> bool | None:
    """Whether MuJoCo's camera has the world's up in the picture's upper half; None where MuJoCo does not draw.

    Only cameras of the model can lie otherwise: free ones and those that follow a body stand upright.
    """
    found = None
    for viewer in _viewers(env):
        camera = viewer.cam
        found = camera.type != _FIXED or bool(viewer.data.cam_xmat[camera.fixedcamid].reshape(3, 3)[2, 1] > -1e-6)
    return found


def close(env: gymnasium.Env) -> None:
    """Close an environment; what its viewers hold is freed in their own contexts."""
    for viewer in _viewers(env):
        viewer.make_context_current()
        viewer.con.free()
    env.close()


def close_at_exit(holder: Any) -> None:
    """Call `holder.close()`, if it still lives then, before Python takes its modules apart at its end."""
    atexit.register(_close_if_alive, weakref.ref(holder))


def _close_if_alive(reference: "weakref.ref[Any]") -> None:
    holder = reference()
    if holder is not None:
        holder.close()


def _viewers(env: gymnasium.Env) -> list[Any]:
    return [viewer for renderer in renderers_of(env) for viewer in getattr(renderer, "_viewers", {}).values()]
