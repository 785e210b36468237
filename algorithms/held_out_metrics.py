"""How recorded episodes that were not learned from judge a policy: numbers from arrays alone."""

from typing import NamedTuple

import numpy as np

from algorithms.actor_network import LARGEST_ACTION, LOG_STD_MAX, LOG_STD_MIN

RESAMPLES = 2_000
"""Draws of a bootstrap."""
CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean with its interval."""

    mean: float
    low: float
    high: float


def auroc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Chance that one of `positive` [P] is above one of `negative` [N], equal ones counted half; None if one is empty.

    0.5 tells nothing apart, 1 tells all.
    """
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).mean() / 2 / len(negative))


def balanced_share(right: np.ndarray, classes: np.ndarray) -> float:
    """Mean over the classes that occur of the share of `right` (bool [N]) among each class's rows (int [N])."""
    _, which = np.unique(classes, return_inverse=True)
    return float((np.bincount(which, weights=right) / np.bincount(which)).mean())


def discounted_return(rewards: np.ndarray, discount: float) -> float:
    """Sum of discount^t r_t over rewards [T] of one episode."""
    return float((np.asarray(rewards, dtype=np.float64) * discount ** np.arange(len(rewards))).sum())


def mean_over_groups(values: np.ndarray, groups: np.ndarray, seed: int = 0) -> Estimate:
    """Mean of values [N] with a percentile bootstrap that draws whole groups (int [N]) anew, since values of one group
    depend on one another. Raises ValueError if there is none."""
    if not len(values):
        raise ValueError("there is no value to take a mean of")
    _, which = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(which, weights=values), np.bincount(which)
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        drawn = rng.integers(0, len(sums), len(sums))
        means[number] = sums[drawn].sum() / counts[drawn].sum()
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return Estimate(float(np.mean(values)), float(low), float(high))


def constant_action(actions: np.ndarray) -> np.ndarray:
    """The one action that comes closest to all of `actions` [N, ...]: each entry's median of vectors float32 [A], the
    most frequent of whole numbers, or of pairs of them."""
    if actions.dtype.kind == "f":
        return np.median(actions, axis=0).astype(np.float32)
    values, counts = np.unique(actions, axis=0, return_counts=True)
    return values[np.argmax(counts)]


def marginal_log_prob(learned: np.ndarray, asked: np.ndarray, num_actions: int = 0, num_objects: int = 0) -> np.ndarray:
    """Log-probabilities [N] of actions `asked` by who knows only how often each was among `learned`.

    Discrete actions have their frequencies, each seen once more than it was so that none is impossible; where actions
    are about objects, both have theirs. Vectors have a Gaussian for each entry, squashed and bounded as a policy's is.
    """
    if learned.dtype.kind == "f":
        edge = LARGEST_ACTION
        before = np.arctanh(np.clip(learned.astype(np.float64), -edge, edge))
        mean = before.mean(axis=0)
        std = np.clip(before.std(axis=0), np.exp(LOG_STD_MIN), np.exp(LOG_STD_MAX))
        values = np.clip(asked.astype(np.float64), -edge, edge)
        noise = (np.arctanh(values) - mean) / std
        gaussian = -0.5 * noise**2 - np.log(std) - 0.5 * np.log(2.0 * np.pi)
        return (gaussian - np.log1p(-(values**2))).sum(axis=-1)
    if learned.ndim == 1:
        return _log_frequency(learned, num_actions)[asked]
    about = learned[:, 1] > 0
    of_object = _log_frequency(learned[about, 1], num_objects)[asked[:, 1]]
    return _log_frequency(learned[:, 0], num_actions)[asked[:, 0]] + np.where(asked[:, 1] > 0, of_object, 0.0)


def _log_frequency(chosen: np.ndarray, number: int) -> np.ndarray:
    counts = np.bincount(chosen, minlength=number) + 1.0
    return np.log(counts / counts.sum())
