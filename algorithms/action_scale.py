"""Between the units of a recording, such as degrees or metres, and the [-1, 1] that policies act within."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ActionScale:
    """An affine map for each entry of a continuous action: low becomes -1, high becomes 1.

    An entry whose low is its high is constant: 0 to a policy, and exactly that value again whatever a policy says.
    """

    low: tuple[float, ...]
    """[A]: lowest value of each entry, in the recording's units."""
    high: tuple[float, ...]
    """[A]: highest value."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not self.low:
            raise ValueError(f"{len(self.low)} lowest and {len(self.high)} highest values; there must be as many")
        for index, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not (np.isfinite([low, high]).all() and low <= high):
                raise ValueError(f"entry {index} is bounded by {low} and {high}; they must be finite, and in order")

    @classmethod
    def identity(cls, size: int) -> "ActionScale":
        """For `size` entries that are in [-1, 1] already, and stay as they are."""
        return cls((-1.0,) * size, (1.0,) * size)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing within [-1, 1]."""
        return self == self.identity(len(self.low))

    def scale(self, actions: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """Actions [..., A] in the recording's units as float32 [..., A] in [-1, 1]; those beyond as the nearest bound.

        What is not finite stays so.
        """
        low, width = self._bounds()
        actions = np.asarray(actions, dtype=np.float64)
        if self.is_identity:
            # Without arithmetic, so that nothing is rounded.
            scaled = actions
        else:
            scaled = np.where(width > 0.0, 2.0 * (actions - low) / np.where(width > 0.0, width, 1.0) - 1.0, 0.0)
        return np.where(np.isfinite(actions), np.clip(scaled, -1.0, 1.0), actions).astype(np.float32)

    def unscale(self, actions: np.ndarray | Sequence[Sequence[float]]) -> np.ndarray:
        """A policy's actions [..., A] in [-1, 1] as float32 [..., A] in the recording's units."""
        low, width = self._bounds()
        return (low + (np.asarray(actions, dtype=np.float64) + 1.0) * 0.5 * width).astype(np.float32)

    def beyond(self, actions: np.ndarray) -> np.ndarray:
        """bool [..., A]: which entries of actions [..., A] lie outside their bounds, by more than rounding."""
        low, width = self._bounds()
        room = 1e-5 * np.maximum(width, np.maximum(np.abs(low), np.abs(low + width)))
        actions = np.asarray(actions, dtype=np.float64)
        return (actions < low - room) | (actions > low + width + room)

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low = np.array(self.low, dtype=np.float64)
        return low, np.array(self.high, dtype=np.float64) - low
