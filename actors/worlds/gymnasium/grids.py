"""Observations that are grids of categories: MiniGrid's, and those that the task names."""

import io
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.gymnasium.spaces import (
    Numbers,
    Observations,
    array_of,
    choice_of,
    chosen_entries,
    entry_of,
    is_picture,
    is_text,
)
from actors.worlds.world import WorldError

_MINIGRID = "minigrid.minigrid_env"
_MINIGRID_KEY = "image"


class Grid:
    """Small whole numbers, cell by cell. A choice beside them, such as a direction, is a plane more, the same in each
    cell."""

    def __init__(self, task: GymnasiumTask, space: spaces.Dict, key: str, minigrid: bool) -> None:
        """`minigrid`: the grid is MiniGrid's, column by column, and its space does not say how many categories it has.

        Raises WorldError if the entry is no grid, or if there are numbers beside it.
        """
        self._source, self._key, self._transposed = task.source, key, minigrid
        entries = chosen_entries(space, task.observation_keys, task.source)
        self._box = entries.pop(key, None)
        if self._box is None:
            raise WorldError(f"{task.source}: task.observation_keys leave out the grid {key!r}: name it among them")
        if not isinstance(self._box, spaces.Box) or len(self._box.shape) != 3 or self._box.dtype.kind not in "ui":
            raise WorldError(
                f"{task.source}: task.grid_key {key!r} is {self._box}; a grid is a Box of whole numbers [height, "
                "width, planes]"
            )
        self._choices = {name: part for name, part in entries.items() if isinstance(part, spaces.Discrete)}
        for name, part in entries.items():
            if name not in self._choices and not is_text(part) and not is_picture(part):
                raise WorldError(
                    f"{task.source}: beside the grid {key!r} the observation {name!r} is {part}; beside a grid a "
                    "policy sees choices (Discrete) alone. Name what it is to see in task.observation_keys"
                )
        height, width, planes = self._box.shape
        if minigrid:
            height, width = width, height
        self.grid_shape = (height, width, planes + len(self._choices))
        categories = _minigrid_categories() if minigrid else int(self._box.high.max()) + 1
        self.num_categories = max(categories, *(int(part.n) for part in self._choices.values()), 1)
        self.size = int(np.prod(self.grid_shape))

    def vector(self, observation: Any) -> np.ndarray:
        """[size] float32: the grid, row by row; see `Observations`."""
        found = entry_of(observation, self._key, self._source)
        cells = array_of(self._key, self._box, found, self._source).astype(np.float32)
        if self._transposed:
            cells = cells.transpose(1, 0, 2)
        planes = [cells]
        for name, space in self._choices.items():
            number = choice_of(name, space, entry_of(observation, name, self._source), self._source)
            planes.append(np.full((*cells.shape[:2], 1), number, dtype=np.float32))
        grid = np.concatenate(planes, axis=-1)
        if grid.min() < 0 or grid.max() >= self.num_categories:
            raise WorldError(
                f"{self._source}: the grid {self._key!r} holds {grid.min():g} to {grid.max():g}, and its categories "
                f"are 0 to {self.num_categories - 1}"
            )
        return grid.ravel()


def observations_of(task: GymnasiumTask, env: gymnasium.Env) -> Observations:
    """What a policy sees of such an environment. Raises WorldError."""
    space = env.observation_space
    if task.grid_key is not None:
        if not isinstance(space, spaces.Dict) or task.grid_key not in space.spaces:
            raise WorldError(
                f"{task.source}: task.grid_key {task.grid_key!r} is no entry of its observations, which are {space}"
            )
        return Grid(task, space, task.grid_key, minigrid=_is_minigrid(env, task.grid_key))
    if _is_minigrid(env, _MINIGRID_KEY) and _MINIGRID_KEY in (task.observation_keys or space.spaces):
        return Grid(task, space, _MINIGRID_KEY, minigrid=True)
    if _of_minigrid(env) and isinstance(space, spaces.Box) and space.shape in _grid_shapes(env):
        raise WorldError(
            f"{task.source}: its observations are MiniGrid's grid alone, which looks like a picture and is none: leave "
            "out the wrapper that took it from its Dict; task.observation_keys: [image] shows a policy no more"
        )
    return Numbers(space, task.observation_keys, task.source)


def minigrid_limit(env: gymnasium.Env) -> int | None:
    """Environment steps of MiniGrid's own limit, where all its episodes have one; None elsewhere."""
    # BabyAI's levels draw theirs at each reset, and have 0 before the first.
    limit = getattr(env.unwrapped, "max_steps", None)
    return limit if _of_minigrid(env) and limit else None


def quiet(env: gymnasium.Env) -> AbstractContextManager[Any]:
    """While it lasts, BabyAI does not print each level that it rejects."""
    babyai = type(env.unwrapped).__module__.startswith("minigrid.envs.babyai.")
    return redirect_stdout(io.StringIO()) if babyai else nullcontext()


def picture_note(env: gymnasium.Env) -> str:
    """What MiniGrid adds to its pictures."""
    if not (_of_minigrid(env) and env.unwrapped.highlight):
        return ""
    return "the cells that the agent sees are drawn lighter, which task.kwargs: {highlight: false} leaves out"


def _is_minigrid(env: gymnasium.Env, key: str) -> bool:
    """Whether an entry is MiniGrid's grid of codes, in part or in full, and no picture that a wrapper drew."""
    space = env.observation_space
    if not (_of_minigrid(env) and isinstance(space, spaces.Dict) and key == _MINIGRID_KEY and key in space.spaces):
        return False
    return space[key].shape in _grid_shapes(env)


def _grid_shapes(env: gymnasium.Env) -> tuple[tuple[int, ...], ...]:
    """Of MiniGrid's codes: in part, and in full."""
    inner = env.unwrapped
    return inner.observation_space[_MINIGRID_KEY].shape, (inner.width, inner.height, 3)


def _of_minigrid(env: gymnasium.Env) -> bool:
    return any(base.__module__ == _MINIGRID for base in type(env.unwrapped).__mro__)


def _minigrid_categories() -> int:
    from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX

    return 1 + max(*OBJECT_TO_IDX.values(), *COLOR_TO_IDX.values(), *STATE_TO_IDX.values())
