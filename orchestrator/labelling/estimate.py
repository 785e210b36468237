"""What a labelling will ask, and about how many tokens, how long and how much that is, before anything is asked."""

import itertools
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from actors.rating.tokens import TokenCounter
from algorithms.ratings import RaterIdentity
from algorithms.scoring_prompts import SCORING_PROMPT_VERSION
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.labelling.seen_windows import WindowsSeen
from orchestrator.labelling.settings import LabelSettings, PriceSettings
from orchestrator.ratings.score_store import ScoreStore

ENOUGH_ANSWERS = 20
"""Stored answers before their mean says more than a calculation."""
PAUSE_S = 60.0
"""A longer time between two stored answers is a pause in asking."""


@dataclass(frozen=True)
class Estimate:
    """What is to be done. Where the store has answers of this rater about this set it is their mean, else the most
    that windows drawn from the set can need."""

    num_parts: int
    num_parts_done: int
    num_windows: int
    num_actions: int
    prompt_tokens: int
    completion_tokens: int
    num_measured: int
    """Stored answers that the tokens are the mean of; 0 where windows were drawn."""
    num_drawn: int
    is_exact: bool
    """Words were counted by the model's own tokenizer."""
    windows_per_s: float | None
    """As measured by the store; None where it has too few answers."""

    @property
    def duration_s(self) -> float | None:
        """Seconds of asking, or None where nothing tells."""
        return self.num_windows / self.windows_per_s if self.windows_per_s else None

    def cost(self, price: PriceSettings) -> float:
        """Price of all that."""
        return cost_of(price, self.prompt_tokens, self.completion_tokens, self.duration_s or 0.0)


def cost_of(price: PriceSettings, prompt_tokens: int, completion_tokens: int, duration_s: float) -> float:
    """What so many tokens and seconds cost."""
    read, written = prompt_tokens / 1e6, completion_tokens / 1e6
    hours = duration_s / 3600
    return (
        read * price.per_million_prompt_tokens + written * price.per_million_completion_tokens + hours * price.per_hour
    )


def estimate(
    settings: LabelSettings,
    dataset: TrajectoryDataset,
    seen: WindowsSeen,
    num_parts: int,
    identity: RaterIdentity,
    store: ScoreStore,
) -> Estimate:
    """What `settings` will ask about `num_parts` of the set's parts, whose windows are those `seen`."""
    history = _history(store, settings, dataset, identity)
    number, num_measured, num_drawn, is_exact = seen.counts.total(), len(history), 0, True
    if num_measured >= ENOUGH_ANSWERS:
        tokens = [round(number * float(np.mean([row[name] for row in history]))) for name in _TOKENS]
    else:
        counter = TokenCounter(settings.rater)
        needed = [counter.needed(request) for request in seen.drawn]
        num_measured, num_drawn, is_exact = 0, len(needed), counter.is_exact
        scale = number / max(1, num_drawn)
        tokens = [round(scale * sum(one.read for one in needed)), round(scale * sum(one.written for one in needed))]
    return Estimate(
        num_parts=len(dataset.parts),
        num_parts_done=len(dataset.parts) - num_parts,
        num_windows=number,
        num_actions=sum(length * count for length, count in seen.counts.items()),
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        num_measured=num_measured,
        num_drawn=num_drawn,
        is_exact=is_exact,
        windows_per_s=rate_of([row["asked_at"] for row in history]),
    )


_TOKENS = ("prompt_tokens", "completion_tokens")


def _history(
    store: ScoreStore, settings: LabelSettings, dataset: TrajectoryDataset, identity: RaterIdentity
) -> list[dict[str, Any]]:
    """Stored answers of the same weights to questions of the same kind about this set."""
    wanted = {
        "dataset": dataset.info.name,
        "mode": settings.mode,
        "model": identity.model,
        "revision": identity.revision,
        "prompt_version": SCORING_PROMPT_VERSION,
        "max_pixels": settings.rater.max_pixels,
    }
    columns = [*_TOKENS, "asked_at", *wanted]
    return [row for row in store.rows(columns) if all(row[name] == value for name, value in wanted.items())]


def rate_of(times: list[datetime]) -> float | None:
    """Answers a second, pauses left out; None of too few.

    Answers that were stored together share a time, and took as long as passed since the time before.
    """
    stored = sorted(Counter(times).items())
    asked = [
        ((later - earlier).total_seconds(), number)
        for (earlier, _), (later, number) in itertools.pairwise(stored)
        if (later - earlier).total_seconds() <= PAUSE_S
    ]
    number, seconds = sum(number for _, number in asked), sum(seconds for seconds, _ in asked)
    return number / seconds if number >= ENOUGH_ANSWERS and seconds else None
