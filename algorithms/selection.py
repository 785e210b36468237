"""Which of many candidates are worth a question, and what each answer then counts.

Candidates are drawn as questions are that nobody selects. Those that are worth most are picked, and the rest of the
session is drawn at random from the others, so that every candidate can be asked about, and how probable that was is
known. With weights of one over that probability, a weighted sum over what was asked is on average what it would have
been over all candidates (Horvitz and Thompson, 1952), whatever picked them.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class Selection:
    """What is asked about."""

    places: np.ndarray
    """int64 [N]: places among the candidates, those picked first."""
    weights: np.ndarray
    """float32 [N]: what each counts, N in all."""
    num_picked: int


def doubt(opinions: np.ndarray) -> np.ndarray:
    """float [N]: entropy in nats of the answer that an ensemble expects, from `opinions` [members, N, answers], each
    member's probability of each answer."""
    return _entropy(opinions.astype(np.float64).mean(axis=0))


def disagreement(opinions: np.ndarray) -> np.ndarray:
    """float [N]: how much of `doubt` is members contradicting each other, not each of them being unsure: the mutual
    information of answer and member, in nats (BALD, Houlsby et al. 2011). At most 0 but for rounding if all agree."""
    return doubt(opinions) - _entropy(opinions.astype(np.float64)).mean(axis=0)


def distances(candidates: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float [N, K] between rows of [N, D] and of [K, D], each column in deviations of all of them; what never varies
    counts nothing."""
    deviation = np.concatenate([candidates, known]).astype(np.float64).std(axis=0)
    scale = np.where(deviation > 1e-6, 1.0 / deviation.clip(min=1e-6), 0.0)
    return cdist(candidates * scale, known * scale)


def farthest_first(nearest: np.ndarray, between: np.ndarray, number: int) -> np.ndarray:
    """Places int64 [number] of candidates, each the farthest from what is known and from those before it.

    `nearest` [N] are distances to what is known, infinite if nothing is; `between` [N, N] those of candidates (the
    greedy k-centre of Sener and Savarese, 2018).
    """
    left, order = nearest.astype(np.float64), []
    for _ in range(number):
        place = int(left.argmax())
        order.append(place)
        left = np.minimum(left, between[place])
        left[order] = -np.inf
    return np.array(order, dtype=np.int64)


def most_first(scores: np.ndarray, number: int) -> np.ndarray:
    """Places int64 [number] of the highest scores [N]; of equal ones the first."""
    return np.argsort(-scores, kind="stable")[:number]


def num_at_random(number: int, uniform_share: float) -> int:
    """How many of a session's questions are drawn at random: one at least."""
    return math.ceil(round(uniform_share * number, 6))


def with_others(picked: np.ndarray, number: int, num_candidates: int, rng: np.random.Generator) -> Selection:
    """`picked` places among `num_candidates`, and so many others at random that there are `number`; at least one.

    Raises ValueError if there are not that many, or none is left to chance.
    """
    at_random = number - len(picked)
    others = np.setdiff1d(np.arange(num_candidates), picked)
    if not 1 <= at_random <= len(others):
        raise ValueError(f"{number} of {num_candidates} candidates, {len(picked)} of them picked, leave none to chance")
    drawn = rng.choice(others, at_random, replace=False)
    # Those picked were sure to be asked about, and each other by at_random / len(others).
    weights = np.repeat([1.0, len(others) / at_random], [len(picked), at_random]) * number / num_candidates
    return Selection(np.concatenate([picked, drawn]), weights.astype(np.float32), len(picked))


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """In nats, along the last axis."""
    return -(probabilities * np.log(probabilities.clip(min=1e-12))).sum(axis=-1)
