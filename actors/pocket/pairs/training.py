"""Training of the pocket rater of pairs: the text model learns every question on the frozen tokens of its pictures.

1. `text`: all questions.
2. `words`: all questions once more, those of two turns three times as often as the other: they take longer to learn.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from actors.pocket.frames.data import TaskFrames
from actors.pocket.frames.evaluation import features_of
from actors.pocket.frames.questions import Question, analyses
from actors.pocket.model import next_token_states
from actors.pocket.pairs.data import PairDraw, nearer
from actors.pocket.pairs.questions import PairQuestions, comparisons, stages_of
from actors.pocket.questions import Conversation
from actors.pocket.together import ALONE, OnStep, Peers
from actors.pocket.training import Trainer, answer_loss, half_precision

Drawn = tuple[int, int, int]
"""A task, and the first and the second frame of it."""


@dataclass(frozen=True)
class PairPlan:
    """How long each phase lasts and how large its steps are."""

    text_steps: int = 260
    text_batch: int = 32
    words_steps: int = 180
    words_batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05


class PairTrainer(Trainer):
    """Trains one model on pairs of the frames of several tasks, in the questions' order of tasks."""

    def __init__(
        self,
        model: Qwen2VLForConditionalGeneration,
        questions: PairQuestions,
        frames: list[TaskFrames],
        plan: PairPlan,
        seed: int,
        on_step: OnStep,
        peers: Peers = ALONE,
    ) -> None:
        """`frames` are this process's own; the plan's batches are shared among `peers`."""
        self._questions, self._frames, self._plan = questions, frames, plan
        # For short texts torch's fused attention is slower in training than the plain one.
        model.set_attn_implementation({"text_config": "eager"})
        self._known: dict[tuple, Question] = {}
        self._pairs = [PairDraw(one.stages) for one in frames]
        super().__init__(model, [], plan.weight_decay, seed, on_step, peers)

    def fit(self) -> None:
        """Both phases."""
        with half_precision():
            known = [features_of(self.model, one.images) for one in self._frames]

        def loss(num_rated: int, num_described: int, num_compared: int) -> Tensor:
            rated, described = self._draw(num_rated), self._draw(num_described)
            seen = self._answer_loss([self._rated(*one) for one in rated], _features(known, rated))
            said = self._answer_loss([self._described(*one) for one in described], _features(known, described))
            return seen + said + self._comparison_loss(num_compared)

        plan, text = self._plan, [self.model.model.language_model]
        half, quarter = plan.text_batch // 2, plan.text_batch // 4
        self._learn("text", text, plan.text_steps, plan.learning_rate, lambda: loss(half, half, quarter))
        half, quarter = plan.words_batch // 2, plan.words_batch // 4
        self._learn("words", text, plan.words_steps, plan.learning_rate, lambda: loss(quarter, 3 * quarter, half))

    def _rated(self, task: int, first: int, second: int) -> Conversation:
        stages = self._frames[task].stages
        question = self._cached("answer_only", task)
        return question.answered(nearer(int(stages[first]), int(stages[second])))

    def _described(self, task: int, first: int, second: int) -> Conversation:
        described, frames = self._questions.tasks[task], self._frames[task]
        said = frames.hand_states * len(described.words.object) + frames.object_states
        place = int(said[first]) * len(analyses(described)) + int(said[second])
        return self._cached("analysis", task).answered(place)

    def _comparison_loss(self, count: int) -> Tensor:
        """Turn two: texts only, every pair of descriptions equally often."""
        rated = []
        for _ in range(self._peers.share(count)):
            task = int(self._rng.integers(len(self._frames)))
            described = self._questions.tasks[task]
            texts = comparisons(described)
            place = int(self._rng.integers(len(texts)))
            question = self._cached("comparison", task, texts[place])
            rated.append(question.answered(nearer(*stages_of(described, place))))
        return self._answer_loss(rated, None)

    def _answer_loss(self, conversations: list[Conversation], features: Tensor | None) -> Tensor:
        batch = self._questions.batch_of(conversations)
        return answer_loss(self.model, next_token_states(self.model, batch.tokens, batch.positions, features), batch)

    def _cached(self, kind: str, task: int, *details: str) -> Question:
        key = (kind, task, *details)
        if key not in self._known:
            self._known[key] = getattr(self._questions, kind)(self._questions.tasks[task], *details)
        return self._known[key]

    def _draw(self, count: int) -> list[Drawn]:
        """This process's share of `count` pairs, every task equally often, and every pair in both orders."""
        drawn: list[Drawn] = []
        for task in np.resize(self._rng.permutation(len(self._frames)), max(1, self._peers.share(count) // 2)):
            first, second = self._pairs[task].one(self._rng)
            drawn += [(int(task), first, second), (int(task), second, first)]
        return drawn


def _features(known: list[Tensor], drawn: list[Drawn]) -> Tensor:
    """Tokens [B, 2 * tokens, width] of both pictures of each pair."""
    return torch.stack([known[task][[first, second]].flatten(0, 1) for task, first, second in drawn]).float()
