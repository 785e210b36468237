"""State-entropy exploration before the first ratings (PEBBLE, Lee et al. 2021, section 4.1)."""

import numpy as np
import torch

MOST_COMPARED = 5_000
"""Stored states that all states are compared with when their rewards are written anew, spread evenly over them."""
CHUNK_ROWS = 1024
"""States compared with all stored ones at a time; bounds the memory of the distance matrix."""


def neighbour_distances(states: np.ndarray, stored: np.ndarray, k: int) -> np.ndarray:
    """Euclidean distance [N] float32 from each of `states` [N, O] to its k-th nearest of `stored` [M, O], k from 1.

    With fewer than k stored states the farthest one counts.
    """
    rank = min(k, len(stored))
    points = torch.as_tensor(np.asarray(stored, dtype=np.float32))
    distances = []
    for chunk in torch.as_tensor(np.asarray(states, dtype=np.float32)).split(CHUNK_ROWS):
        # The faster form by matrix products cancels digits exactly where neighbours are near.
        matrix = torch.cdist(chunk, points, compute_mode="donot_use_mm_for_euclid_dist")
        distances.append(torch.kthvalue(matrix, rank, dim=1).values)
    return torch.cat(distances).numpy()


class RunningDeviation:
    """Standard deviation of all numbers seen so far, merged batch by batch (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = 0.0
        self._squares = 0.0

    def update(self, values: np.ndarray) -> None:
        """Add a batch [N], N >= 1."""
        values = np.asarray(values, dtype=np.float64)
        count = self._count + len(values)
        delta = float(values.mean()) - self._mean
        self._squares += float(((values - values.mean()) ** 2).sum()) + delta**2 * self._count * len(values) / count
        self._mean += delta * len(values) / count
        self._count = count

    @property
    def count(self) -> int:
        """How many numbers were seen."""
        return self._count

    @property
    def deviation(self) -> float:
        """Population standard deviation; 0 before the first number."""
        return (self._squares / self._count) ** 0.5 if self._count else 0.0

    def state(self) -> dict[str, float]:
        """All that a resumed statistic needs."""
        return {"count": self._count, "mean": self._mean, "squares": self._squares}

    def set_state(self, state: dict[str, float]) -> None:
        """Go on from what `state` returned."""
        self._count, self._mean, self._squares = int(state["count"]), state["mean"], state["squares"]


class StateEntropy:
    """Intrinsic reward log(1 + distance to the k-th nearest visited state), over its running standard deviation."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._deviation = RunningDeviation()

    def reward(self, states: np.ndarray, stored: np.ndarray) -> np.ndarray:
        """Rewards [N] float32, >= 0, of new `states` [N, O] against `stored` [M, O], which must not contain them.

        Zeros if nothing is stored yet, or if all distances so far were equal.
        """
        if not len(states) or not len(stored):
            return np.zeros(len(states), dtype=np.float32)
        rewards = np.log1p(neighbour_distances(states, stored, self._k))
        self._deviation.update(rewards)
        return self._scaled(rewards)

    def anew(self, stored: np.ndarray) -> np.ndarray:
        """Rewards [M] float32 of states [M, O] against each other: what was new when it was seen may be so no more."""
        step = -(-len(stored) // MOST_COMPARED)
        # As a rule a state is its own nearest.
        rewards = np.log1p(neighbour_distances(stored, stored[::step], self._k + 1))
        if not self._deviation.count:
            self._deviation.update(rewards)
        return self._scaled(rewards)

    def state(self) -> dict[str, float]:
        """All that a resumed run needs."""
        return self._deviation.state()

    def set_state(self, state: dict[str, float]) -> None:
        """Go on from what `state` returned."""
        self._deviation.set_state(state)

    def _scaled(self, rewards: np.ndarray) -> np.ndarray:
        deviation = self._deviation.deviation
        return (rewards / deviation).astype(np.float32) if deviation > 0.0 else np.zeros_like(rewards)
