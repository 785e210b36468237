"""What a labelling will ask, and about how many tokens, how long and how much that is, before anything is asked."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from actors.rating.settings import RaterSettings
from algorithms.label_settings import WindowSettings
from algorithms.ratings import RaterIdentity
from algorithms.scores import ScoreRequest
from algorithms.scoring_prompts import (
    SCORING_PROMPT_VERSION,
    one_score_prompt,
    scores_prompt,
    single_turn_prompt,
    window_analysis_prompt,
)
from algorithms.windows import grid_of, windows_of
from orchestrator.data.check import PartError, structure_problems
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.labelling.settings import LabelSettings, PriceSettings
from orchestrator.ratings.score_store import ScoreStore

CHARACTERS_PER_TOKEN = 4
"""Of English text, about."""
CELL_PX = 28
"""A Qwen2-VL has a token for every so many pixels squared."""
ENOUGH_ANSWERS = 20
"""Stored answers before their mean says more than a calculation."""
PAUSE_S = 60.0
"""A longer time between two stored answers is a pause in asking."""


@dataclass(frozen=True)
class Estimate:
    """What is to be done. Where the store has answers of this rater it is their mean, else the most it can be."""

    num_parts: int
    num_parts_done: int
    num_windows: int
    num_actions: int
    prompt_tokens: int
    completion_tokens: int
    num_measured: int
    """Stored answers that the tokens are the mean of; 0 where they were calculated."""
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


def count_windows(dataset: TrajectoryDataset, parts: Iterable[str], window: WindowSettings) -> Counter[int]:
    """Windows of `parts` by their number of actions, from their rows without pictures."""
    counts: Counter[int] = Counter()
    for part in parts:
        try:
            for first_row, rows in dataset.episode_rows(part, frames=False, symbolic=False):
                if not structure_problems(part, first_row, rows, dataset.info):
                    counts.update(len(one.actions) for one in windows_of(rows.num_rows - 1, window))
        except PartError:
            continue
    return counts


def estimate(
    settings: LabelSettings,
    dataset: TrajectoryDataset,
    parts_to_do: list[str],
    identity: RaterIdentity,
    store: ScoreStore,
) -> Estimate:
    """What `settings` will ask about `parts_to_do`."""
    windows = count_windows(dataset, parts_to_do, settings.window)
    history = _history(store, settings, identity)
    number = windows.total()
    if len(history) >= ENOUGH_ANSWERS:
        tokens = [round(number * float(np.mean([row[name] for row in history]))) for name in _TOKENS]
    else:
        each = [(count, *_tokens_at_most(settings, dataset, length)) for length, count in windows.items()]
        tokens = [sum(row[0] * row[place] for row in each) for place in (1, 2)]
    return Estimate(
        num_parts=len(dataset.parts),
        num_parts_done=len(dataset.parts) - len(parts_to_do),
        num_windows=number,
        num_actions=sum(length * count for length, count in windows.items()),
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        num_measured=len(history) if len(history) >= ENOUGH_ANSWERS else 0,
        windows_per_s=rate_of([row["asked_at"] for row in history]),
    )


_TOKENS = ("prompt_tokens", "completion_tokens")


def _history(store: ScoreStore, settings: LabelSettings, identity: RaterIdentity) -> list[dict[str, Any]]:
    """Stored answers of the same weights to questions of the same kind."""
    columns = [*_TOKENS, "asked_at", "mode", "model", "revision", "prompt_version", "max_pixels"]
    wanted = {
        "mode": settings.mode,
        "model": identity.model,
        "revision": identity.revision,
        "prompt_version": SCORING_PROMPT_VERSION,
        "max_pixels": settings.rater.max_pixels,
    }
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


def _tokens_at_most(settings: LabelSettings, dataset: TrajectoryDataset, num_actions: int) -> tuple[int, int]:
    """Tokens read and written for one window, the analysis as long as it may be."""
    longest = max(dataset.info.actions.names, key=len)
    request = ScoreRequest((b"",), "x" * 80, (longest,) * num_actions, settings.mode, "9 numbered frames in rows of 3")
    image = image_tokens(dataset, settings.window, settings.rater)
    answer = 3 * num_actions + 2
    if settings.mode == "logits":
        return sum(image + _words(one_score_prompt(request, i).text) for i in range(num_actions)), num_actions
    if settings.mode == "single_turn":
        return image + _words(single_turn_prompt(request).text), answer
    analysis = settings.rater.max_analysis_tokens
    first = image + _words(window_analysis_prompt(request).text)
    return 2 * first + analysis + _words(scores_prompt(request, "").text), analysis + answer


def image_tokens(dataset: TrajectoryDataset, window: WindowSettings, rater: RaterSettings) -> int:
    """Tokens of a joined picture of a Qwen2-VL; where frames differ in size, that of the largest picture allowed."""
    pixels = rater.max_pixels
    if dataset.info.frame_px is not None:
        height, width = dataset.info.frame_px
        scale = (window.frame_px or height) / height
        columns, rows = grid_of(window)
        pixels = min(pixels, max(rater.min_pixels, round(scale * height) * rows * round(scale * width) * columns))
    return round(pixels / CELL_PX**2)


def _words(text: str) -> int:
    return round(len(text) / CHARACTERS_PER_TOKEN)
