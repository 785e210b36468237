"""From settings to an environment of Gymnasium, or to one message that says why there is none."""

import inspect
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import gymnasium

from actors.worlds import opengl
from actors.worlds.foreign import described, imported, told, where, where_to_look
from actors.worlds.gymnasium.grids import minigrid_limit
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.gymnasium.viewers import renderers_of
from actors.worlds.world import WorldError

RENDER_MODE = "rgb_array"
_HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}


def make_env(task: GymnasiumTask) -> gymnasium.Env:
    """The environment with its wrappers. Raises WorldError."""
    prepare_headless()
    env = _made(task, task.kwargs)
    if renderers_of(env) and not task.kwargs.keys() & {"width", "height"}:
        env = _drawn_at_size(task, env)
    for path in task.wrappers:
        wrapper = imported(path, "task.wrappers")
        with told(f"task.wrappers: {path}"):
            env = wrapper(env)
        if not isinstance(env, gymnasium.Env):
            raise WorldError(f"task.wrappers: {path} gives {type(env).__name__}, which is no environment of Gymnasium")
    if env.render_mode != RENDER_MODE or RENDER_MODE not in env.metadata.get("render_modes", ()):
        raise WorldError(
            f"{task.source} draws no pictures: its render mode is {env.render_mode!r}, and it has "
            f"{env.metadata.get('render_modes', [])}. Frames are rated, so it must have the render mode 'rgb_array'"
        )
    return env


def time_limit(task: GymnasiumTask, env: gymnasium.Env) -> int:
    """Environment steps after which an episode ends at the latest. Raises WorldError if there is no such limit."""
    own = _own_limit(env) or minigrid_limit(env)
    limits = [limit for limit in (task.episode_env_steps, own) if limit]
    if not limits:
        raise WorldError(
            f"{task.source} has no time limit of its own, and an episode that never ends teaches nothing: set "
            "task.episode_env_steps, such as 200"
        )
    return min(limits)


def prepare_headless() -> None:
    """Let this process draw where there is no screen; before the first environment is made."""
    # Pygame draws into memory, and looks for a screen and a sound card all the same.
    for name, value in _HEADLESS.items():
        os.environ.setdefault(name, value)
    # Gymnasium's viewers take an OpenGL that needs a screen if nobody chooses.
    if "MUJOCO_GL" not in os.environ and find_spec("mujoco"):
        try:
            os.environ["MUJOCO_GL"] = opengl.chosen_backend()
        except RuntimeError:
            # An environment that draws without OpenGL is none the worse for it; another says itself what it lacks.
            pass


def _made(task: GymnasiumTask, kwargs: dict[str, Any]) -> gymnasium.Env:
    if task.factory:
        factory = imported(task.factory, "task.factory")
        with told(task.source):
            env = factory(**kwargs, **_render_mode_if_taken(factory))
    else:
        env = _made_by_id(task, kwargs)
    if not isinstance(env, gymnasium.Env):
        raise WorldError(
            f"{task.source} gives {type(env).__name__}, which is no environment of Gymnasium (gymnasium.Env)"
        )
    return env


def _made_by_id(task: GymnasiumTask, kwargs: dict[str, Any]) -> gymnasium.Env:
    try:
        return gymnasium.make(task.env_id, render_mode=RENDER_MODE, disable_env_checker=True, **kwargs)
    except Exception as error:
        hint = where(error)
        if isinstance(error, gymnasium.error.UnregisteredEnv):
            hint = ". If a package of its own brings it, write package:Id, such as gymnasium_robotics:FetchPush-v4"
        elif isinstance(error, ImportError):
            hint = where_to_look(error)
        elif isinstance(error, TypeError) and kwargs:
            hint = f". Look at task.kwargs: {', '.join(kwargs)}"
        raise WorldError(f"{task.source} cannot be made: {described(error)}{hint}") from error


def _render_mode_if_taken(factory: Callable[..., Any]) -> dict[str, str]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    takes_it = any(parameter.name == "render_mode" for parameter in parameters)
    return {"render_mode": RENDER_MODE} if takes_it or takes_all else {}


def _drawn_at_size(task: GymnasiumTask, env: gymnasium.Env) -> gymnasium.Env:
    """The environment anew, drawing at `image_px` where it takes that: so pictures need not be reduced."""
    try:
        sized = _made(task, {**task.kwargs, "width": task.image_px, "height": task.image_px})
    except WorldError:
        return env
    env.close()
    return sized


def _own_limit(env: gymnasium.Env) -> int | None:
    """Of the innermost wrapper or the registry that has one."""
    limits = []
    while True:
        limits.append(getattr(env, "_max_episode_steps", None))
        if not isinstance(env, gymnasium.Wrapper):
            break
        env = env.env
    limits.append(env.spec.max_episode_steps if env.spec else None)
    found = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min(found) if found else None
