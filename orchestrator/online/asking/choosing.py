"""Choosing what a session asks about, among candidates drawn as questions are that nobody selects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from algorithms.selection import (
    disagreement,
    distances,
    doubt,
    farthest_first,
    most_first,
    num_at_random,
    with_others,
)
from algorithms.settings import SelectionSettings

Opinions = Callable[[np.ndarray, Sequence[str]], np.ndarray]
"""Given what the reward model sees of N segments or pairs, and their instructions: how probable each of its members
finds each answer, float32 [members, N, answers]."""


@dataclass(frozen=True)
class Seen:
    """What is known of segments, or pairs, before they are asked about."""

    observations: np.ndarray
    """[N, F, observation] float32."""
    instructions: Sequence[str]

    def __len__(self) -> int:
        return len(self.observations)


@dataclass(frozen=True)
class Choice:
    """What of the candidates is asked about."""

    places: np.ndarray
    """int64 [N]."""
    weights: np.ndarray
    """float32 [N]: what each answer counts in the rating loss; N in all."""
    metrics: dict[str, float] = field(default_factory=dict)


def choose(
    settings: SelectionSettings,
    number: int,
    candidates: Seen,
    rated: Seen,
    opinions: Callable[[], np.ndarray],
    rng: np.random.Generator,
) -> Choice:
    """`number` of the candidates, or all if there are no more.

    `rated` is what the run has had rated; `opinions()` are those of the reward model on the candidates, which novelty
    does without.
    """
    if number >= len(candidates):
        counts = {"selection/picked": 0.0, "selection/at_random": float(len(candidates))}
        return Choice(np.arange(len(candidates)), np.ones(len(candidates), dtype=np.float32), counts)
    num_picked = number - num_at_random(number, settings.uniform_share)
    if settings.strategy == "novelty":
        worth, between = _nearest(candidates, rated), _apart(candidates, candidates)
        picked = farthest_first(worth, between, num_picked)
    else:
        told = opinions()
        worth = disagreement(told) if settings.strategy == "disagreement" else doubt(told)
        picked = most_first(worth, num_picked)
    selection = with_others(picked, number, len(candidates), rng)
    metrics = {"selection/picked": float(num_picked), "selection/at_random": float(number - num_picked)}
    if num_picked and np.isfinite(worth).all():
        metrics[f"selection/{settings.strategy}_picked"] = float(worth[picked].mean())
        metrics[f"selection/{settings.strategy}_candidates"] = float(worth.mean())
    weights = selection.weights if settings.weights == "importance" else np.ones(number, dtype=np.float32)
    return Choice(selection.places, weights, metrics)


def _nearest(candidates: Seen, rated: Seen) -> np.ndarray:
    """float [N]: distance to the nearest that was rated; infinite where there is none."""
    if not len(rated):
        return np.full(len(candidates), np.inf)
    return _apart(candidates, rated).min(axis=1)


def _apart(one: Seen, other: Seen) -> np.ndarray:
    """float [N, M]: distances of observations; infinite between segments of different instructions."""
    apart = distances(*(seen.observations.reshape(len(seen), -1) for seen in (one, other)))
    if len({*one.instructions, *other.instructions}) > 1:
        apart[np.array(one.instructions)[:, None] != np.array(other.instructions)] = np.inf
    return apart
