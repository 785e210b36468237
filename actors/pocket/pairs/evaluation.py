"""How well a pocket rater's comparisons agree with the true stages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from actors.pocket.answering import label_logits, spoken
from actors.pocket.frames.questions import PocketTask
from actors.pocket.pairs.data import FIRST, SECOND, PairDraw
from actors.pocket.pairs.questions import PairQuestions
from algorithms.scales import CANNOT_TELL

MAX_ANALYSIS_TOKENS = 96
BATCH = 128


@dataclass(frozen=True)
class PairJudgement:
    """How pairs of one task were compared in one mode, each in both orders."""

    task: str
    mode: str
    gaps: np.ndarray
    """[N] int64: stage of the second picture minus that of the first."""
    answers: np.ndarray
    """[N, 2] int64: what was said of (first, second), and of (second, first)."""

    @property
    def right(self) -> np.ndarray:
        """Whether each was the right answer, bool [N, 2]."""
        named = np.where(self.gaps > 0, SECOND, FIRST)
        true = np.where(self.gaps == 0, CANNOT_TELL, named)
        return self.answers == np.stack([true, swapped(true)], axis=1)

    @property
    def untold(self) -> np.ndarray:
        """Whether it was said that one cannot tell, bool [N, 2]."""
        return self.answers == CANNOT_TELL

    @property
    def consistent(self) -> np.ndarray:
        """Whether both orders name the same picture, or neither names one, bool [N]."""
        return self.answers[:, 1] == swapped(self.answers[:, 0])


def swapped(answers: np.ndarray) -> np.ndarray:
    """The same answers where the two pictures have changed places."""
    return np.array([SECOND, FIRST, CANNOT_TELL])[answers]


def pairs_to_judge(stages: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Indices [count, 2] of frames of these stages, drawn as those that it learns from."""
    draw, rng = PairDraw(stages), np.random.default_rng(seed)
    return np.array([draw.one(rng) for _ in range(count)])


def answers_at_once(
    model: Qwen2VLForConditionalGeneration,
    questions: PairQuestions,
    task: PocketTask,
    features: Tensor,
    pairs: np.ndarray,
) -> np.ndarray:
    """What is said of pairs [N, 2] of pictures with `features` in one pass, int64 [N]."""
    question = questions.answer_only(task)
    labels = [answer[0] for answer in question.answers]
    chosen = [
        label_logits(model, questions, [question.prompt] * len(seen), seen, labels).argmax(dim=-1)
        for seen in _both(features, pairs).split(BATCH)
    ]
    return torch.cat(chosen).numpy()


def analyses_of(
    model: Qwen2VLForConditionalGeneration,
    questions: PairQuestions,
    task: PocketTask,
    features: Tensor,
    pairs: np.ndarray,
) -> list[str]:
    """What turn one says of pairs [N, 2] of pictures with `features`."""
    prompt = questions.analysis(task).prompt
    texts: list[str] = []
    for seen in _both(features, pairs).split(BATCH):
        said = spoken(model, questions, [prompt] * len(seen), seen, MAX_ANALYSIS_TOKENS)
        texts.extend(questions.text(tokens) for tokens in said)
    return texts


def answers_from(
    model: Qwen2VLForConditionalGeneration, questions: PairQuestions, task: PocketTask, said: Sequence[str]
) -> np.ndarray:
    """What turn two answers, int64 [N], given the analyses `said`."""
    texts = sorted(set(said))
    asked = [questions.comparison(task, text) for text in texts]
    answer_of: dict[str, int] = {}
    for first in range(0, len(texts), BATCH):
        part = slice(first, first + BATCH)
        labels = [answer[0] for answer in asked[first].answers]
        chosen = label_logits(model, questions, [one.prompt for one in asked[part]], None, labels).argmax(dim=-1)
        answer_of |= dict(zip(texts[part], chosen.tolist(), strict=True))
    return np.array([answer_of[text] for text in said], dtype=np.int64)


def judge(
    model: Qwen2VLForConditionalGeneration,
    questions: PairQuestions,
    task: PocketTask,
    features: Tensor,
    stages: np.ndarray,
    pairs: np.ndarray,
    num_two_turn: int,
) -> list[PairJudgement]:
    """Both modes on pairs [N, 2] of pictures with `features` and `stages`; the first `num_two_turn` in two turns."""
    gaps = stages[pairs[:, 1]] - stages[pairs[:, 0]]
    orders = (pairs, pairs[:, ::-1])
    at_once = [answers_at_once(model, questions, task, features, order) for order in orders]
    in_turns = [
        answers_from(model, questions, task, analyses_of(model, questions, task, features, order[:num_two_turn]))
        for order in orders
    ]
    return [
        PairJudgement(task.name, "answer_only", gaps, np.stack(at_once, axis=1)),
        PairJudgement(task.name, "two_turn", gaps[:num_two_turn], np.stack(in_turns, axis=1)),
    ]


def _both(features: Tensor, pairs: np.ndarray) -> Tensor:
    """Tokens [N, 2 * tokens, width] of both pictures of pairs [N, 2]."""
    return features[torch.from_numpy(pairs.copy())].flatten(1, 2)
