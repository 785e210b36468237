"""Observations as numbers, and actions from those of a policy, by an environment's spaces."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces

from actors.worlds.world import WorldError


class Observations(Protocol):
    """What a policy sees of an environment's observations."""

    size: int
    """Numbers in the vector."""
    grid_shape: tuple[int, int, int] | None
    """Height, width and planes, if the vector is a grid of categories."""
    num_categories: int
    """Of a grid."""

    def vector(self, observation: Any) -> np.ndarray:
        """[size] float32. Raises WorldError if something is not what its space says, or is not finite."""
        ...


class Numbers:
    """Observations as one vector of numbers; a choice of n is n of them, of which one is 1."""

    grid_shape = None
    num_categories = 0

    def __init__(self, space: spaces.Space, keys: tuple[str, ...] | None, source: str) -> None:
        """`keys` are entries of a Dict. Raises WorldError if the space has no numbers, or none at a key."""
        self._source = source
        self._entries = _entries(space, keys, source)
        """Space by key; without a key, the whole observation."""
        self.size = sum(_size(entry) for entry in self._entries.values())

    def vector(self, observation: Any) -> np.ndarray:
        """[size] float32; see `Observations`."""
        parts = [_numbers(key, space, observation, self._source) for key, space in self._entries.items()]
        vector = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])
        if not np.isfinite(vector).all():
            raise WorldError(f"{self._source}: an observation holds NaN or infinity, from which nothing can be learned")
        return vector


class Actions:
    """From a policy's actions to an environment's own."""

    def __init__(self, space: spaces.Space, source: str) -> None:
        """Raises WorldError if the space is neither a box with ends nor one of choices."""
        fits = "a policy acts by numbers in a Box with finite bounds, or by one choice (Discrete)"
        self.num_actions = int(space.n) if isinstance(space, spaces.Discrete) else 0
        """Choices; 0 where actions are numbers."""
        self.low: tuple[float, ...] = ()
        """Bounds of each number; empty for choices."""
        self.high: tuple[float, ...] = ()
        if self.num_actions:
            self.size, self._first = 1, int(space.start)
            return
        if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
            raise WorldError(
                f"{source}: the action space {space} is one of several choices at once; {fits}. A wrapper can number "
                "the combinations, or turn numbers into choices"
            )
        if not isinstance(space, spaces.Box) or space.dtype.kind != "f":
            raise WorldError(f"{source}: the action space is {space}; {fits}")
        if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise WorldError(f"{source}: the action space {space} has no finite bounds; {fits}. Wrap it into one")
        self._shape, self._dtype = space.shape, space.dtype
        self._middle = (space.low.astype(np.float64) + space.high) / 2.0
        self._half = (space.high.astype(np.float64) - space.low) / 2.0
        self.size = int(np.prod(space.shape))
        """Numbers of an action."""
        self.low, self.high = (tuple(map(float, bound.ravel())) for bound in (space.low, space.high))

    def own(self, action: np.ndarray) -> Any:
        """The environment's action, of an action [action]; what lies outside [-1, 1] is clipped.

        Where actions are choices it holds the number of one, from 0 on. Raises ValueError if there is no such choice.
        """
        if self.num_actions:
            (number,) = np.asarray(action).tolist()
            if number not in range(self.num_actions):
                raise ValueError(f"action {number}: there are the actions 0 to {self.num_actions - 1}")
            return np.int64(self._first + int(number))
        clipped = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0).reshape(self._shape)
        return (self._middle + self._half * clipped).astype(self._dtype)


def is_picture(space: spaces.Space) -> bool:
    """Whether a space is one of pictures: three-dimensional, of bytes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def is_text(space: spaces.Space) -> bool:
    """Whether a space is one of texts, as Gymnasium's Text and MiniGrid's missions are."""
    return space.dtype is not None and space.dtype.kind == "U"


def entry_of(observation: Any, key: str, source: str) -> Any:
    """An entry of a Dict observation. Raises WorldError if it is not there."""
    if not isinstance(observation, Mapping) or key not in observation:
        raise WorldError(f"{source}: an observation has no entry {key!r}, which its space promises")
    return observation[key]


def array_of(key: str | None, box: spaces.Box, found: Any, source: str) -> np.ndarray:
    """What was observed, as an array of the shape that its space says. Raises WorldError if it is none."""
    array = np.asarray(found)
    if array.shape != box.shape or array.dtype.kind not in "fiub":
        raise WorldError(
            f"{source}: an observation{'' if key is None else f' {key!r}'} is {array.dtype} "
            f"{list(array.shape)}, and its space says {list(box.shape)}"
        )
    return array


def choice_of(key: str, space: spaces.Discrete, found: Any, source: str) -> int:
    """The number of an observed choice, from 0 on. Raises WorldError if its space has no such choice."""
    if not space.contains(found):
        raise WorldError(f"{source}: an observation {key!r} is {found!r}, and its space says {space}")
    return int(found) - int(space.start)


def chosen_entries(space: spaces.Dict, keys: tuple[str, ...] | None, source: str) -> dict[str, spaces.Space]:
    """The entries that are named, in that order, or all. Raises WorldError if one is not there."""
    unknown = [key for key in keys or () if key not in space.spaces]
    if unknown:
        raise WorldError(f"{source}: observation_keys: there is no {unknown[0]!r}; there are {', '.join(space.spaces)}")
    return {key: space.spaces[key] for key in (keys if keys is not None else space.spaces)}


def _size(space: spaces.Box | spaces.Discrete) -> int:
    return int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape))


def _numbers(key: str | None, space: spaces.Box | spaces.Discrete, observation: Any, source: str) -> np.ndarray:
    found = observation if key is None else entry_of(observation, key, source)
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[choice_of(key, space, found, source)]
    # A copy, because an environment may go on writing into what it gave.
    return np.array(array_of(key, space, found, source), dtype=np.float32).ravel()


def _entries(space: spaces.Space, keys: tuple[str, ...] | None, source: str) -> dict[str | None, spaces.Space]:
    if not isinstance(space, spaces.Dict):
        if keys is not None:
            raise WorldError(f"{source}: observation_keys name entries of a Dict, and its observations are {space}")
        if not isinstance(space, spaces.Box):
            raise WorldError(f"{source}: its observations are {space}, and a policy sees a Box of numbers. {_FLATTEN}")
        return {} if is_picture(space) else {None: space}
    chosen = chosen_entries(space, keys, source)
    for key, part in chosen.items():
        if isinstance(part, spaces.Dict | spaces.Tuple):
            raise WorldError(
                f"{source}: the observation {key!r} holds others within it ({part}); only one floor is read. Name what "
                f"the policy is to see in task.observation_keys. {_FLATTEN}"
            )
        # Texts are for those who read; nobody needs to leave them out.
        if not isinstance(part, spaces.Box | spaces.Discrete) and (keys is not None or not is_text(part)):
            raise WorldError(
                f"{source}: the observation {key!r} is {part}, and no Box of numbers. Leave it out by "
                f"task.observation_keys. {_FLATTEN}"
            )
    return {
        key: part
        for key, part in chosen.items()
        if isinstance(part, spaces.Box | spaces.Discrete) and not is_picture(part)
    }


_FLATTEN = "Or flatten it: task.wrappers: [gymnasium.wrappers:FlattenObservation]"
