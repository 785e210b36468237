"""Between the units of a recording, such as degrees or metres, and the [-1, 1] that policies act within."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EDGE = 0.9
"""What the bounds become. At 1 a policy, whose means are squashed by tanh, can never be, and it learns slowly what lies
near: a toy arm's worst errors were 9 to 26 % of its range with 1, and 0 to 2 % with 0.9, after as many updates."""


@dataclass(frozen=True)
class ActionScale:
    """An affine map for each entry of a continuous action: low becomes -`edge`, high becomes `edge`.

    An entry whose low is its high is constant. A policy has no such entry: it would become as sure of it as it can be,
    and that outweighs in its loss all that is to be learned of the others. It comes out again exactly as it was.
    """

    low: tuple[float, ...]
    """[A]: lowest value of each entry, in the recording's units."""
    high: tuple[float, ...]
    """[A]: highest value."""
    edge: float = EDGE
    """In (0, 1]."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise ValueError(f"{len(self.low)} lowest and {len(self.high)} highest values; there must be as many")
        for index, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not (np.isfinite([low, high]).all() and low <= high):
                raise ValueError(f"entry {index} is bounded by {low} and {high}; they must be finite, and in order")

    @classmethod
    def identity(cls, size: int) -> "ActionScale":
        """For `size` entries that are in [-1, 1] already, and stay as they are."""
        return cls((-1.0,) * size, (1.0,) * size, edge=1.0)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing within [-1, 1]."""
        return self == self.identity(len(self.low))

    @property
    def varies(self) -> np.ndarray:
        """bool [A]: entries that are not constant, which are those that a policy has."""
        return np.array(self.low) < np.array(self.high)

    @property
    def size(self) -> int:
        """V: number of entries that a policy has."""
        return int(self.varies.sum())

    def scale(self, actions: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """Actions [..., A] in the recording's units as a policy's, float32 [..., V] in [-edge, edge].

        Those beyond their bounds become the nearest bound; what is not finite stays so.
        """
        varies = self.varies
        actions = np.asarray(actions, dtype=np.float64)[..., varies]
        low, high = np.array(self.low)[varies], np.array(self.high)[varies]
        # What is in a policy's units already is not rounded by arithmetic.
        scaled = actions if self.is_identity else self.edge * (2.0 * (actions - low) / (high - low) - 1.0)
        return np.where(np.isfinite(actions), np.clip(scaled, -self.edge, self.edge), actions).astype(np.float32)

    def unscale(self, actions: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """A policy's actions [..., V] in [-1, 1] as float32 [..., A] in the recording's units, within their bounds."""
        actions, varies = np.asarray(actions, dtype=np.float64), self.varies
        low, high = np.array(self.low), np.array(self.high)
        whole = np.broadcast_to(low, (*actions.shape[:-1], len(low))).copy()
        whole[..., varies] += (np.clip(actions / self.edge, -1.0, 1.0) + 1.0) * 0.5 * (high - low)[varies]
        return whole.astype(np.float32)

    def beyond(self, actions: np.ndarray) -> np.ndarray:
        """bool [..., A]: which entries of actions [..., A] lie outside their bounds, by more than rounding."""
        low, high = np.array(self.low), np.array(self.high)
        room = 1e-5 * np.maximum(high - low, np.maximum(np.abs(low), np.abs(high)))
        actions = np.asarray(actions, dtype=np.float64)
        return (actions < low - room) | (actions > high + room)
