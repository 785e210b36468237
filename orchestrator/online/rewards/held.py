"""Rewards that are found for some of the steps, and hold for those before."""

import numpy as np


def last_of_each(num_steps: int, every: int) -> np.ndarray:
    """Places int64 [N] of the last of each `every` of so many steps, and of the last of all."""
    return np.unique(np.append(np.arange(every - 1, num_steps, every), num_steps - 1))


def held(rewards: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of rewards [N] of the steps at rising `places` [N], the last of which is the last step: one for each step."""
    return np.repeat(rewards, np.diff(places, prepend=-1))
