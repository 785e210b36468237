"""What ratings along trajectories say about a scale: how they rise as the task goes on, and how often they fall.

Everything here is of one scale: levels [F] of F frames in time order, for each trajectory.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau

from orchestrator.reports.intervals import NUM_RESAMPLES


def order(levels: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b between levels and what is truly further on; 0 if either does not vary.

    It counts pairs of frames in the right and in the wrong order. A pair that a scale cannot tell apart counts for
    nothing, so that a coarse scale is held back by what it leaves out and a fine one by what it gets wrong.
    """
    if len(np.unique(levels)) < 2 or len(np.unique(truth)) < 2:
        return 0.0
    return float(kendalltau(levels, truth).statistic)


def falls(levels: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Of neighbouring frames between which the truth does not fall, how many fall in level; and of how many."""
    rises = np.diff(truth) >= 0.0
    return int((np.diff(levels)[rises] < 0).sum()), int(rises.sum())


def agreement_of_repeats(repeats: np.ndarray) -> float:
    """Of levels [R, F] of R >= 2 rounds, the share of pairs of rounds that agree on a frame, over all frames."""
    number = len(repeats)
    same = sum(int((repeats[one] == repeats[other]).sum()) for one in range(number) for other in range(one))
    return same / (number * (number - 1) / 2 * repeats.shape[1])


def recommended(orders: dict[int, Sequence[float]], seed: int = 0) -> tuple[int, str]:
    """Which number of levels to take, by `order` of each trajectory under each; and why.

    The scale with the best mean, unless a smaller one is no worse as far as these trajectories can tell: the interval
    of 95 % of their paired difference holds 0.
    """
    means = {number: float(np.mean(found)) for number, found in orders.items()}
    best = max(means, key=lambda number: (means[number], -number))
    rng = np.random.default_rng(seed)
    for number in sorted(orders):
        if number >= best:
            break
        difference = np.array(orders[best]) - np.array(orders[number])
        drawn = difference[rng.integers(len(difference), size=(NUM_RESAMPLES, len(difference)))].mean(axis=1)
        if np.percentile(drawn, 2.5) <= 0.0:
            why = (
                f"{best} levels follow the task best (tau {means[best]:.2f}), but no better than {number} do "
                f"({means[number]:.2f}) as far as {len(difference)} trajectories can tell"
            )
            return number, why
    others = ", ".join(f"{number}: {means[number]:.2f}" for number in sorted(means) if number != best)
    return best, f"{best} levels follow the task best: tau {means[best]:.2f} ({others})"
