"""Episodes that were held out, as a policy sees them."""

from dataclasses import dataclass

import numpy as np

from algorithms.transitions import Transitions


@dataclass(frozen=True)
class HeldOutEpisodes:
    """E episodes, which stand one after another in `transitions`."""

    transitions: Transitions
    """N of them; their rewards are those that are learned from."""
    sparse: np.ndarray
    """[N] float32: the sparse rewards."""
    lengths: np.ndarray
    """[E] int64: actions of each episode."""
    succeeded: np.ndarray
    """[E] bool."""
    recording: np.ndarray
    """[E] int64: equal for pieces of one recording."""

    @property
    def starts(self) -> np.ndarray:
        """[E] int64: row of each episode's first action."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def of_success(self) -> np.ndarray:
        """[N] bool: which actions are of episodes that succeeded."""
        return np.repeat(self.succeeded, self.lengths)
