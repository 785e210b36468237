"""How well the pocket rater's levels agree with the true ones."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from actors.pocket.answering import label_logits, spoken
from actors.pocket.episodes.data import Case, Episodes, images
from actors.pocket.episodes.model import features_of
from actors.pocket.episodes.questions import EpisodeQuestions
from algorithms.scales import SCALE_WORDS

MAX_ANALYSIS_TOKENS = 96
BATCH = 64


@dataclass(frozen=True)
class EpisodeJudgement:
    """How cases were rated on one scale in one mode."""

    mode: str
    num_ratings: int
    true: np.ndarray
    """int64 [N]: true levels."""
    chosen: np.ndarray
    """int64 [N]: levels that were chosen."""


def judge(
    model: Qwen2_5_VLForConditionalGeneration,
    questions: EpisodeQuestions,
    cases: list[Case],
    episodes: Episodes,
    on_part: Callable[[], None] = lambda: None,
    scales: Iterable[int] = tuple(SCALE_WORDS),
) -> list[EpisodeJudgement]:
    """Scales of so many levels, each in both modes, on the same cases. Analyses are the most likely tokens."""
    shown = (
        torch.from_numpy(images(np.stack([case.codes for case in cases[at]]), episodes.pixels)) for at in _parts(cases)
    )
    seen = torch.cat([features_of(model, part) for part in shown])
    said = analyses_of(model, questions, cases, seen)
    found = []
    for num_ratings in scales:
        true = np.array([questions.level(num_ratings, case.chain.num_subtasks, case.num_done) for case in cases])
        at_once = [questions.answer_only(case.chain.instruction, num_ratings) for case in cases]
        second = [
            questions.rating(case.chain.instruction, num_ratings, text) for case, text in zip(cases, said, strict=True)
        ]
        labels = [answer[0] for answer in questions.labels[:num_ratings]]
        for mode, asked, features in (("answer_only", at_once, seen), ("two_turn", second, None)):
            chosen = _choose(model, questions, asked, features, labels)
            found.append(EpisodeJudgement(mode, num_ratings, true, chosen))
        on_part()
    return found


def analyses_of(
    model: Qwen2_5_VLForConditionalGeneration, questions: EpisodeQuestions, cases: list[Case], seen: Tensor
) -> list[str]:
    """What turn one says of cases whose pictures have these tokens."""
    texts: list[str] = []
    for part in _parts(cases):
        asked = [questions.analysis(case.chain.instruction) for case in cases[part]]
        texts += [questions.text(one) for one in spoken(model, questions, asked, seen[part], MAX_ANALYSIS_TOKENS)]
    return texts


def _choose(
    model: Qwen2_5_VLForConditionalGeneration,
    questions: EpisodeQuestions,
    asked: list[list[int]],
    seen: Tensor | None,
    labels: list[int],
) -> np.ndarray:
    logits = [
        label_logits(model, questions, asked[part], None if seen is None else seen[part], labels)
        for part in _parts(asked)
    ]
    return torch.cat(logits).argmax(dim=-1).numpy()


def _parts(rows: list) -> Iterator[slice]:
    return (slice(first, first + BATCH) for first in range(0, len(rows), BATCH))
