"""Scaling of rewards and observations, where their own scale is an accident."""

from dataclasses import dataclass

import numpy as np

SMALLEST_REWARD_DEVIATION = 0.05
"""A reward model that tells nothing apart yet is not blown up to look as if it did."""
SMALLEST_OBSERVATION_DEVIATION = 0.05
"""What stands still in the seed steps, an object that nothing has touched, may move later: metres, as MetaWorld's."""


@dataclass(frozen=True)
class RewardScale:
    """r -> (r - shift) / deviation."""

    shift: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, rewards: np.ndarray) -> "RewardScale":
        """The scale that gives these rewards [N] mean 0 and deviation 1, unless they hardly differ."""
        return cls(float(rewards.mean()), max(float(rewards.std()), SMALLEST_REWARD_DEVIATION))

    def apply(self, rewards: np.ndarray) -> np.ndarray:
        """Scaled rewards [N] float32."""
        return ((rewards - self.shift) / self.deviation).astype(np.float32)


def observation_scale(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale, float32 [O] each, so that (observation - shift) * scale has mean 0 and deviation 1 at most.

    `observations` is [N, O].
    """
    deviation = np.maximum(observations.std(axis=0), SMALLEST_OBSERVATION_DEVIATION)
    return observations.mean(axis=0).astype(np.float32), (1.0 / deviation).astype(np.float32)
