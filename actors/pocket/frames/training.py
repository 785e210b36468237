"""Training of the pocket rater of frames in three phases: see, then speak, then both together.

1. `vision`: the vision tower alone learns to measure (distance of the hand, travel of the object, stage) through linear
   heads on the mean of the picture's tokens. The heads are thrown away. A picture costs least here, so most are seen
   here.
2. `text`: the text model learns all questions and answers on the tower's frozen tokens.
3. `joint`: both learn together, heads included.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from actors.pocket.frames.data import TaskFrames
from actors.pocket.frames.heads import StageHeads
from actors.pocket.frames.model import LAYOUT, features_of_patches, image_features
from actors.pocket.frames.questions import FrameQuestions, Question, analyses
from actors.pocket.model import next_token_states
from actors.pocket.questions import Conversation
from actors.pocket.together import ALONE, OnStep, Peers
from actors.pocket.training import Trainer, answer_loss, half_precision
from algorithms.scales import SCALE_WORDS

PART = 256
"""Pictures that are looked at together where nothing is learnt."""


@dataclass(frozen=True)
class FramePlan:
    """How long each phase lasts and how large its steps are."""

    vision_steps: int = 1500
    vision_batch: int = 64
    text_steps: int = 900
    text_batch: int = 48
    joint_steps: int = 160
    joint_batch: int = 48
    learning_rate: float = 1.5e-3
    joint_learning_rate: float = 5e-4
    weight_decay: float = 0.05


class FrameTrainer(Trainer):
    """Trains one model on the frames of several tasks, in the questions' order of tasks."""

    def __init__(
        self,
        model: Qwen2VLForConditionalGeneration,
        questions: FrameQuestions,
        frames: list[TaskFrames],
        plan: FramePlan,
        seed: int,
        on_step: OnStep,
        peers: Peers = ALONE,
    ) -> None:
        """`frames` are this process's own; the plan's batches are shared among `peers`."""
        self._questions, self._frames, self._plan = questions, frames, plan
        # For short texts torch's fused attention is slower in training than the plain one.
        model.set_attn_implementation({"text_config": "eager"})
        self._known: dict[tuple, Question] = {}
        self._heads = StageHeads(len(frames))
        super().__init__(model, [self._heads], plan.weight_decay, seed, on_step, peers)

    def fit(self) -> None:
        """All three phases."""
        self.fit_vision()
        self.fit_text()
        self.fit_jointly()

    def fit_vision(self) -> None:
        """Phase 1."""

        def loss() -> Tensor:
            drawn = self._draw(self._plan.vision_batch)
            return self._heads.loss(self._see(drawn), *self._truth(drawn))

        modules = [self.model.model.visual, self._heads]
        self._learn("vision", modules, self._plan.vision_steps, self._plan.learning_rate, loss)

    def fit_text(self) -> None:
        """Phase 2."""
        with torch.no_grad(), half_precision():
            known = [self._features(frames.images) for frames in self._frames]

        def loss() -> Tensor:
            drawn = self._draw(self._plan.text_batch)
            features = torch.stack([known[task][index] for task, index in drawn]).float()
            return self._text_loss(drawn, features) + self._rating_loss(len(drawn) // 2)

        modules = [self.model.model.language_model]
        self._learn("text", modules, self._plan.text_steps, self._plan.learning_rate, loss)

    def fit_jointly(self) -> None:
        """Phase 3."""

        def loss() -> Tensor:
            drawn = self._draw(self._plan.joint_batch)
            features = self._see(drawn)
            seen = self._heads.loss(features, *self._truth(drawn))
            return 0.5 * seen + self._text_loss(drawn, features) + self._rating_loss(len(drawn) // 2)

        modules = [self.model, self._heads]
        self._learn("joint", modules, self._plan.joint_steps, self._plan.joint_learning_rate, loss)

    def _features(self, images: np.ndarray) -> Tensor:
        parts = (torch.from_numpy(images[first : first + PART]) for first in range(0, len(images), PART))
        return torch.cat([image_features(self.model, part) for part in parts])

    def _see(self, drawn: list[tuple[int, int]]) -> Tensor:
        """Features of drawn frames, their brightness and contrast slightly changed."""
        images = torch.from_numpy(np.stack([self._frames[task].images[index] for task, index in drawn]))
        cut = LAYOUT.patches(images)
        gain = self._rng.uniform(0.9, 1.1, size=(len(drawn), 1, 1)).astype(np.float32)
        shift = self._rng.uniform(-0.15, 0.15, size=(len(drawn), 1, 1)).astype(np.float32)
        return features_of_patches(self.model, cut * torch.from_numpy(gain) + torch.from_numpy(shift))

    def _truth(self, drawn: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        tasks = torch.tensor([task for task, _ in drawn])
        stages = torch.tensor([int(self._frames[task].stages[index]) for task, index in drawn])
        measures = np.stack([self._frames[task].measures[index] for task, index in drawn])
        return tasks, stages, torch.from_numpy(measures)

    def _text_loss(self, drawn: list[tuple[int, int]], features: Tensor) -> Tensor:
        """Half of the pictures are rated on one scale, the others described: rows of one kind have about one length,
        so little is padded."""
        half = len(drawn) // 2
        num_ratings = int(self._rng.choice(list(SCALE_WORDS)))
        rated = [self._rated(task, index, num_ratings) for task, index in drawn[:half]]
        described = [self._described(task, index) for task, index in drawn[half:]]
        return self._answer_loss(rated, features[:half]) + self._answer_loss(described, features[half:])

    def _rated(self, task: int, index: int, num_ratings: int) -> Conversation:
        described = self._questions.tasks[task]
        question = self._cached("answer_only", described, num_ratings, bool(self._rng.random() < 0.6))
        return question.answered(described.levels[num_ratings][int(self._frames[task].stages[index])])

    def _described(self, task: int, index: int) -> Conversation:
        described = self._questions.tasks[task]
        frames = self._frames[task]
        said = int(frames.hand_states[index]) * len(described.words.object) + int(frames.object_states[index])
        return self._cached("analysis", described).answered(said)

    def _rating_loss(self, count: int) -> Tensor:
        """Turn two: texts only, every description equally often."""
        num_ratings = int(self._rng.choice(list(SCALE_WORDS)))
        rated = []
        for _ in range(count):
            described = self._questions.tasks[int(self._rng.integers(len(self._questions.tasks)))]
            said = int(self._rng.integers(len(analyses(described))))
            stage = described.stage(*divmod(said, len(described.words.object)))
            with_rubric = bool(self._rng.random() < 0.6)
            question = self._cached("rating", described, num_ratings, with_rubric, analyses(described)[said])
            rated.append(question.answered(described.levels[num_ratings][stage]))
        return self._answer_loss(rated, None)

    def _answer_loss(self, conversations: list[Conversation], features: Tensor | None) -> Tensor:
        batch = self._questions.batch_of(conversations)
        return answer_loss(self.model, next_token_states(self.model, batch.tokens, batch.positions, features), batch)

    def _cached(self, kind: str, task, *details) -> Question:
        key = (kind, task.name, *details)
        if key not in self._known:
            self._known[key] = getattr(self._questions, kind)(task, *details)
        return self._known[key]

    def _draw(self, count: int) -> list[tuple[int, int]]:
        """Pairs of task and frame, as this process's share of `count`: every task equally often."""
        tasks = np.resize(self._rng.permutation(len(self._frames)), self._peers.share(count))
        return [(int(task), int(self._rng.integers(len(self._frames[task])))) for task in tasks]
