"""Observations as numbers, and actions from [-1, 1], by an environment's spaces."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from actors.worlds.world import WorldError


class Observations:
    """What a policy sees of an environment's observations: one vector of numbers."""

    def __init__(self, space: spaces.Space, keys: tuple[str, ...] | None, source: str) -> None:
        """`keys` are entries of a Dict. Raises WorldError if the space has no numbers, or none at a key."""
        self._source = source
        self._entries = _entries(space, keys, source)
        """Box by key; without a key, the whole observation."""
        self.size = sum(int(np.prod(box.shape)) for box in self._entries.values())
        """Numbers in the vector."""

    def vector(self, observation: Any) -> np.ndarray:
        """[observation] float32. Raises WorldError if something has another shape than its space, or is not finite."""
        parts = [self._part(key, box, observation) for key, box in self._entries.items()]
        vector = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])
        if not np.isfinite(vector).all():
            raise WorldError(f"{self._source}: an observation holds NaN or infinity, from which nothing can be learned")
        return vector

    def _part(self, key: str | None, box: spaces.Box, observation: Any) -> np.ndarray:
        if key is not None:
            if not isinstance(observation, Mapping) or key not in observation:
                raise WorldError(f"{self._source}: an observation has no entry {key!r}, which its space promises")
            observation = observation[key]
        found = np.asarray(observation)
        if found.shape != box.shape or found.dtype.kind not in "fiub":
            raise WorldError(
                f"{self._source}: an observation{'' if key is None else f' {key!r}'} is {found.dtype} "
                f"{list(found.shape)}, and its space says {list(box.shape)}"
            )
        # A copy, because an environment may go on writing into what it gave.
        return np.array(found, dtype=np.float32).ravel()


class Actions:
    """From actions in [-1, 1] to an environment's own."""

    def __init__(self, space: spaces.Space, source: str) -> None:
        """Raises WorldError if the space is no box with ends."""
        fits = "a policy acts by numbers in a Box with finite bounds"
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise WorldError(
                f"{source}: the action space {space} is one of choices; {fits}. Many environments have such a version "
                "(task.kwargs: {continuous: true}); else a wrapper can turn numbers into choices"
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
        """Bounds of each."""

    def scaled(self, action: np.ndarray) -> np.ndarray:
        """The environment's action, of an action [action]; what lies outside [-1, 1] is clipped."""
        clipped = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0).reshape(self._shape)
        return (self._middle + self._half * clipped).astype(self._dtype)


def is_picture(space: spaces.Space) -> bool:
    """Whether a space is one of pictures: three-dimensional, of bytes."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def _entries(space: spaces.Space, keys: tuple[str, ...] | None, source: str) -> dict[str | None, spaces.Box]:
    if not isinstance(space, spaces.Dict):
        if keys is not None:
            raise WorldError(f"{source}: observation_keys name entries of a Dict, and its observations are {space}")
        if not isinstance(space, spaces.Box):
            raise WorldError(f"{source}: its observations are {space}, and a policy sees a Box of numbers. {_FLATTEN}")
        return {} if is_picture(space) else {None: space}
    unknown = [key for key in keys or () if key not in space.spaces]
    if unknown:
        raise WorldError(f"{source}: observation_keys: there is no {unknown[0]!r}; there are {', '.join(space.spaces)}")
    chosen = {key: space.spaces[key] for key in (keys if keys is not None else space.spaces)}
    for key, part in chosen.items():
        if isinstance(part, spaces.Dict | spaces.Tuple):
            raise WorldError(
                f"{source}: the observation {key!r} holds others within it ({part}); only one floor is read. Name what "
                f"the policy is to see in task.observation_keys. {_FLATTEN}"
            )
        if not isinstance(part, spaces.Box):
            raise WorldError(
                f"{source}: the observation {key!r} is {part}, and no Box of numbers. Leave it out by "
                f"task.observation_keys. {_FLATTEN}"
            )
    return {key: box for key, box in chosen.items() if not is_picture(box)}


_FLATTEN = "Or flatten it: task.wrappers: [gymnasium.wrappers:FlattenObservation]"
