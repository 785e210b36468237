"""Means over seeds and how sure they are."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, trim_mean

LAST_EVALUATIONS = 3
"""A run's result is its mean over this many last evaluations: a single one is noise."""
NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, of the middle half or of all, or another statistic, with its interval of 95 % confidence."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def interval_columns(intervals: Mapping[str, Interval | None]) -> dict[str, float | None]:
    """Of each interval its mean, `..._low` and `..._high`, for a table that programs read; None where it is missing."""
    return {
        name + ending: interval and getattr(interval, end)
        for name, interval in intervals.items()
        for ending, end in (("", "mean"), ("_low", "low"), ("_high", "high"))
    }


def last_mean(values: np.ndarray, num_last: int = LAST_EVALUATIONS) -> float:
    """Mean of the last values; of all if there are fewer. Raises ValueError for none."""
    if not len(values):
        raise ValueError("there is no evaluation to take a mean of")
    return float(np.mean(values[-num_last:]))


Statistic = Callable[[np.ndarray], np.ndarray]
"""[samples, N] scores -> [samples]."""


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean of each row."""
    return scores.mean(axis=1)


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Mean of the middle half of each row (Agarwal et al. 2021): with three scores or fewer that is all of them."""
    return trim_mean(scores, 0.25, axis=1)


def bootstrap_interval(strata: Sequence[np.ndarray], seed: int = 0, statistic: Statistic = mean) -> Interval:
    """Mean, or another statistic, over all scores, with a percentile interval from a stratified bootstrap.

    `strata` holds one array of scores for each task, a score per seed; seeds are drawn anew within each task (Agarwal
    et al. 2021). With three seeds the interval is about their range: it tells seeds apart, and not evaluations. Raises
    ValueError if a stratum is empty.
    """
    if not strata or any(not len(scores) for scores in strata):
        raise ValueError("every task needs at least one score")
    rng = np.random.default_rng(seed)
    drawn = np.concatenate(
        [scores[rng.integers(0, len(scores), (NUM_RESAMPLES, len(scores)))] for scores in strata], axis=1
    )
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(statistic(drawn), [tail, 100.0 - tail])
    centre = statistic(np.concatenate(list(strata))[None])[0]
    return Interval(float(centre), float(low), float(high))


def ratio_interval(over: np.ndarray, under: np.ndarray, paired: bool, seed: int = 0) -> Interval:
    """Ratio of two means over seeds, with a percentile bootstrap interval.

    `paired`: both hold one score for each of the same seeds, which are drawn together. Draws whose lower mean is 0 have
    no ratio and are left out. Raises ValueError if there is no score, or the mean below is 0.
    """
    if not len(over) or not len(under) or (paired and len(over) != len(under)):
        raise ValueError("a ratio needs scores on both sides, and as many of both where they are paired")
    if not under.mean():
        raise ValueError("a ratio to a mean of 0 is not defined")
    rng = np.random.default_rng(seed)
    above = rng.integers(0, len(over), (NUM_RESAMPLES, len(over)))
    below = above if paired else rng.integers(0, len(under), (NUM_RESAMPLES, len(under)))
    upper, lower = over[above].mean(axis=1), under[below].mean(axis=1)
    ratios = upper[lower > 0] / lower[lower > 0]
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(ratios, [tail, 100.0 - tail])
    return Interval(float(over.mean() / under.mean()), float(low), float(high))


def sums_interval(
    per_item: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], centre: float, seed: int = 0
) -> Interval:
    """A statistic of sums over items, that came to `centre`, with a percentile interval of a bootstrap over the items.

    `per_item` [N, ...] holds what each item adds to the sums; `statistic` takes sums [samples, ...] to [samples]. Draws
    of which it is not defined, NaN, are left out. Of few items the interval is too narrow, as every bootstrap's. Raises
    ValueError if there is no item, or no draw is left.
    """
    if not len(per_item):
        raise ValueError("an interval needs at least one item")
    # Items that add the same are drawn together, so that a draw takes no longer where there are many.
    kinds, number = np.unique(per_item.reshape(len(per_item), -1), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(per_item), number / len(per_item), NUM_RESAMPLES)
    values = statistic((drawn @ kinds).reshape(NUM_RESAMPLES, *per_item.shape[1:]))
    values = values[~np.isnan(values)]
    if not len(values):
        raise ValueError("the statistic is defined of no draw")
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Interval(centre, float(low), float(high))


def wilson_interval(successes: int, number: int) -> Interval:
    """A share with Wilson's score interval of 95 % confidence (Wilson 1927): sound also where the share is 0 or 1.

    Raises ValueError if there is nothing to take a share of.
    """
    if number < 1 or not 0 <= successes <= number:
        raise ValueError(f"{successes} of {number} is no share")
    z = float(norm.ppf(0.5 + CONFIDENCE / 2))
    share = successes / number
    centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mean_share_interval(counts: Sequence[tuple[int, int]]) -> Interval:
    """Mean of several independent shares (successes, number), by their Wilson intervals (Zou and Donner 2008).

    The distances to the shares' own bounds add up as squares. Sound also where shares are 0 or 1, of which a bootstrap
    would draw nothing else. Raises ValueError if a share is of nothing.
    """
    if not counts:
        raise ValueError("a mean needs at least one share")
    shares = [wilson_interval(*one) for one in counts]
    centre = float(np.mean([share.mean for share in shares]))
    below = math.hypot(*(share.mean - share.low for share in shares)) / len(shares)
    above = math.hypot(*(share.high - share.mean for share in shares)) / len(shares)
    return Interval(centre, max(0.0, centre - below), min(1.0, centre + above))
