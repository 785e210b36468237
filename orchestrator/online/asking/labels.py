"""Ratings, or preferences, as a reward model learns from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Labels:
    """Ratings of one or more sessions, ready for the reward model. Failed questions are not among them, nor pairs of
    which the rater cannot tell which is nearer to the goal."""

    keys: list[str]
    ratings: np.ndarray
    """[N] int64 in [0, num_ratings); of pairs 0 or 1, the place of the preferred one."""
    probabilities: np.ndarray
    """[N, num_ratings] float32: of each level, or either of a pair; 1 for the rating where the rater told none."""
    observations: np.ndarray
    """[N, F, observation] float32."""
    instructions: list[str]
    """Of each one's episode; empty where that has none of its own."""
    weights: np.ndarray
    """[N] float32: what each counts in the loss."""

    def __len__(self) -> int:
        return len(self.keys)

    def only(self, kept: Sequence[int]) -> "Labels":
        """Those at these places."""
        keys, instructions = ([column[index] for index in kept] for column in (self.keys, self.instructions))
        places = np.array(kept, dtype=np.int64)
        arrays = (self.ratings, self.probabilities, self.observations, self.weights)
        ratings, probabilities, observations, weights = (array[places] for array in arrays)
        return Labels(keys, ratings, probabilities, observations, instructions, weights)


def no_labels(num_learned: int) -> Labels:
    """Of nothing, where there are so many levels to learn."""
    nothing = np.zeros((0, num_learned), dtype=np.float32)
    observations, weights = np.zeros((0, 1, 0), dtype=np.float32), np.zeros(0, dtype=np.float32)
    return Labels([], np.zeros(0, dtype=np.int64), nothing, observations, [], weights)


def joined(old: Labels, new: Labels) -> Labels:
    """Those of earlier sessions, and of a new one."""
    if not len(old):
        return new
    return Labels(
        old.keys + new.keys,
        np.concatenate([old.ratings, new.ratings]),
        np.concatenate([old.probabilities, new.probabilities]),
        np.concatenate([old.observations, new.observations]),
        old.instructions + new.instructions,
        np.concatenate([old.weights, new.weights]),
    )
