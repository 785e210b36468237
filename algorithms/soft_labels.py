"""What a rater's probabilities say beyond its answer: as targets of a loss, on a coarser scale, less or more sure."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from algorithms.ratings import Rating
from algorithms.scales import CANNOT_TELL, PREFERENCES

_LEAST = 1e-6
"""Probabilities below count as this: a level that was never thought of has no logarithm."""
_TEMPERATURES = (0.05, 20.0)


def distributions(ratings: Sequence[Rating], num_levels: int) -> np.ndarray:
    """Probabilities float32 [N, num_levels] of each answer; 1 for its level where the rater told none."""
    rows = np.zeros((len(ratings), num_levels), dtype=np.float32)
    for row, rating in zip(rows, ratings, strict=True):
        if rating.probabilities:
            row[:] = rating.probabilities
        else:
            row[rating.rating] = 1.0
    return rows


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities [..., n] as if logits were divided by `temperature`: above 1 less sure, below 1 surer.

    What is certain, as an answer without probabilities, stays so (Guo et al., ICML 2017, temperature scaling).
    """
    if temperature == 1.0:
        return probabilities
    logits = np.log(probabilities.clip(min=_LEAST).astype(np.float64)) / temperature
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softened = (raised / raised.sum(axis=-1, keepdims=True)).astype(probabilities.dtype)
    return np.where(probabilities.max(axis=-1, keepdims=True) == 1.0, probabilities, softened)


def merged(probabilities: np.ndarray, num_ratings: int) -> np.ndarray:
    """Probabilities [..., n] of a coarser scale of `num_ratings` levels, from those [..., m] of a finer one.

    Both cut the same stretch from worst to best into equal parts; a part that lies across a cut is shared by length.
    """
    finer = probabilities.shape[-1]
    edges, cuts = np.linspace(0.0, 1.0, finer + 1), np.linspace(0.0, 1.0, num_ratings + 1)
    overlap = np.minimum(edges[1:, None], cuts[1:]) - np.maximum(edges[:-1, None], cuts[:-1])
    return probabilities @ (overlap.clip(min=0.0) * finer)


def learned_levels(
    ratings: Sequence[Rating], num_asked: int, num_learned: int, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ratings int64 [N] on a scale of `num_learned` levels and the probability of each, float32 [N, num_learned], from
    answers on one of `num_asked`: as they are if both are the same, else the likeliest of what is made of them."""
    told = tempered(distributions(ratings, num_asked), temperature)
    if num_learned == num_asked:
        return np.array([rating.rating for rating in ratings], dtype=np.int64), told
    made = merged(told, num_learned).astype(np.float32)
    return likeliest(made), made


def learned_preferences(ratings: Sequence[Rating], temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Which of each pair was preferred, int64 [N], 0 or 1, and the probability of either, float32 [N, 2], from answers
    that name one: what fell on "Cannot tell" is shared out in proportion."""
    preferred = np.array([rating.rating for rating in ratings], dtype=np.int64)
    either = tempered(distributions(ratings, len(PREFERENCES)), temperature)[:, :CANNOT_TELL]
    total = either.sum(axis=1, keepdims=True)
    # A rater that answers by chance may name one although it held either for impossible.
    certain = np.eye(CANNOT_TELL, dtype=np.float32)[preferred]
    return preferred, np.where(total > 0.0, either / np.where(total > 0.0, total, 1.0), certain)


def with_people(own: np.ndarray, votes: np.ndarray, weight: float | None) -> np.ndarray:
    """Probabilities float32 [N, n] of levels by a rater, whose `own` they are, and by people.

    `votes` [N, n] are sums over people, of which each gives 1 in all. Each person counts `weight` where the rater
    counts 1; with None the rater counts nothing where a person said anything.
    """
    number = votes.sum(axis=1, keepdims=True)
    if weight is None:
        mixed = np.where(number > 0.0, votes / np.where(number > 0.0, number, 1.0), own)
    else:
        mixed = (own + weight * votes) / (1.0 + weight * number)
    return mixed.astype(np.float32)


def likeliest(probabilities: np.ndarray) -> np.ndarray:
    """The likeliest level int64 [...] of [..., n]; of equally likely ones the lowest, whatever the last bits say."""
    return probabilities.round(6).argmax(axis=-1)


def fitted_temperature(probabilities: np.ndarray, levels: np.ndarray) -> float:
    """The temperature under which `probabilities` [N, n] make the true `levels` int64 [N] likeliest (Guo et al.).

    Between 0.05 and 20. Raises ValueError if there is nothing to fit to.
    """
    if not len(levels):
        raise ValueError("no true level is known, and a temperature is fitted to those")
    rows = np.arange(len(levels))

    def surprise(log_temperature: float) -> float:
        softened = tempered(probabilities.astype(np.float64), float(np.exp(log_temperature)))
        return float(-np.log(softened[rows, levels].clip(min=_LEAST)).mean())

    low, high = np.log(_TEMPERATURES)
    return float(np.exp(minimize_scalar(surprise, bounds=(low, high), method="bounded").x))
