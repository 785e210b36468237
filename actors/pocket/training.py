"""Training of the pocket rater in three phases: see, then speak, then both together.

1. The vision tower alone learns to measure (distance of the hand, travel of the object, stage) through linear heads on
   the mean of the picture's tokens. The heads are thrown away. A picture costs least here, so most are seen here.
2. The text model learns all questions and answers on the tower's frozen tokens.
3. Both learn together, heads included.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2VLForConditionalGeneration

from actors.pocket.model import TEXT_WIDTH, features_of_patches, image_features, next_token_states, patches
from actors.pocket.questions import Question, Questions, TokenBatch, analyses, token_batch
from actors.pocket.together import ALONE, OnStep, Peers
from actors.rating.precision import has_bfloat16
from algorithms.scales import SCALE_WORDS

NUM_STAGES = 5
NUM_MEASURES = 5
"""Hand relative to object (3), their distance, and the object's travel."""


@dataclass(frozen=True)
class TaskFrames:
    """Labelled frames of one task."""

    images: np.ndarray
    """[N, 112, 112, 3] uint8."""
    stages: np.ndarray
    """[N] int64 in [0, 5)."""
    hand_states: np.ndarray
    """[N] int64: index into the task's sentences on the hand."""
    object_states: np.ndarray
    """[N] int64: index into the task's sentences on the object."""
    measures: np.ndarray
    """[N, 5] float32, each about -1 to 1."""

    def __len__(self) -> int:
        return len(self.images)

    def every(self, step: int, first: int) -> "TaskFrames":
        """One frame of `step`, from the first-th on."""
        return TaskFrames(*(getattr(self, field.name)[first::step] for field in fields(self)))


@dataclass(frozen=True)
class TrainingPlan:
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


class Heads(nn.Module):
    """Linear heads on the mean of a picture's tokens, a set for each task."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.all = nn.Linear(TEXT_WIDTH, num_tasks * (NUM_STAGES + NUM_MEASURES))

    def loss(self, features: Tensor, tasks: Tensor, stages: Tensor, measures: Tensor) -> Tensor:
        """Cross-entropy of the stage plus absolute error of the measures, of features [B, tokens, width]."""
        every = self.all(self.norm(features.mean(dim=1).float()))
        own = every.view(len(features), -1, NUM_STAGES + NUM_MEASURES)[torch.arange(len(features)), tasks]
        stage_loss = F.cross_entropy(own[:, :NUM_STAGES], stages)
        return stage_loss + 3.0 * F.smooth_l1_loss(own[:, NUM_STAGES:], measures, beta=0.1)


class Trainer:
    """Trains one model on the frames of several tasks, in the questions' order of tasks."""

    def __init__(
        self,
        model: Qwen2VLForConditionalGeneration,
        questions: Questions,
        frames: list[TaskFrames],
        plan: TrainingPlan,
        seed: int,
        on_step: OnStep,
        peers: Peers = ALONE,
    ) -> None:
        """`frames` are this process's own; the plan's batches are shared among `peers`."""
        self._model, self._questions, self._frames, self._plan = model, questions, frames, plan
        self._on_step, self._peers = on_step, peers
        # For short texts torch's fused attention is slower in training than the plain one.
        model.set_attn_implementation({"text_config": "eager"})
        self._known: dict[tuple, Question] = {}
        self._rng = np.random.default_rng([seed, peers.rank])
        self._heads = Heads(len(frames))
        peers.start_equal([model, self._heads])
        self._features: list[Tensor] = []

    def fit(self) -> None:
        """All three phases."""
        self.fit_vision()
        self.fit_text()
        self.fit_jointly()

    def fit_vision(self) -> None:
        """Phase 1."""
        parameters = [*self._model.model.visual.parameters(), *self._heads.parameters()]
        for step in self._steps("vision", parameters, self._plan.vision_steps, self._plan.learning_rate):
            step(self._vision_loss(self._draw(self._plan.vision_batch)))

    def fit_text(self) -> None:
        """Phase 2."""
        with torch.no_grad(), half_precision():
            self._features = [
                torch.cat([image_features(self._model, torch.from_numpy(part)) for part in _parts(frames.images)])
                for frames in self._frames
            ]
        parameters = list(self._model.model.language_model.parameters())
        for step in self._steps("text", parameters, self._plan.text_steps, self._plan.learning_rate):
            drawn = self._draw(self._plan.text_batch)
            features = torch.stack([self._features[task][index] for task, index in drawn]).float()
            step(self._text_loss(drawn, features) + self._rating_loss(len(drawn) // 2))
        self._features = []

    def fit_jointly(self) -> None:
        """Phase 3."""
        parameters = [*self._model.parameters(), *self._heads.parameters()]
        for step in self._steps("joint", parameters, self._plan.joint_steps, self._plan.joint_learning_rate):
            drawn = self._draw(self._plan.joint_batch)
            features = self._see(drawn)
            seen = self._heads.loss(features, *self._truth(drawn))
            step(0.5 * seen + self._text_loss(drawn, features) + self._rating_loss(len(drawn) // 2))

    def _vision_loss(self, drawn: list[tuple[int, int]]) -> Tensor:
        return self._heads.loss(self._see(drawn), *self._truth(drawn))

    def _see(self, drawn: list[tuple[int, int]]) -> Tensor:
        """Features of drawn frames, their brightness and contrast slightly changed."""
        images = torch.from_numpy(np.stack([self._frames[task].images[index] for task, index in drawn]))
        cut = patches(images)
        gain = self._rng.uniform(0.9, 1.1, size=(len(drawn), 1, 1)).astype(np.float32)
        shift = self._rng.uniform(-0.15, 0.15, size=(len(drawn), 1, 1)).astype(np.float32)
        return features_of_patches(self._model, cut * torch.from_numpy(gain) + torch.from_numpy(shift))

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
        rated = [self._level_row(task, index, num_ratings) for task, index in drawn[:half]]
        described = [self._analysis_row(task, index) for task, index in drawn[half:]]
        return self._answer_loss(rated, features[:half]) + self._answer_loss(described, features[half:])

    def _level_row(self, task: int, index: int, num_ratings: int):
        described = self._questions.tasks[task]
        question = self._cached("answer_only", described, num_ratings, bool(self._rng.random() < 0.6))
        level = described.levels[num_ratings][int(self._frames[task].stages[index])]
        return question.prompt, question.answers[level]

    def _analysis_row(self, task: int, index: int):
        described = self._questions.tasks[task]
        question = self._cached("analysis", described)
        frames = self._frames[task]
        said = int(frames.hand_states[index]) * len(described.words.object) + int(frames.object_states[index])
        return question.prompt, question.answers[said]

    def _rating_loss(self, count: int) -> Tensor:
        """Turn two: texts only, every description equally often."""
        num_ratings = int(self._rng.choice(list(SCALE_WORDS)))
        rows = []
        for _ in range(count):
            described = self._questions.tasks[int(self._rng.integers(len(self._questions.tasks)))]
            said = int(self._rng.integers(len(analyses(described))))
            stage = described.stage(*divmod(said, len(described.words.object)))
            with_rubric = bool(self._rng.random() < 0.6)
            question = self._cached("rating", described, num_ratings, with_rubric, analyses(described)[said])
            rows.append((question.prompt, question.answers[described.levels[num_ratings][stage]]))
        return self._answer_loss(rows, None)

    def _answer_loss(self, rows, features: Tensor | None) -> Tensor:
        batch = token_batch(rows, self._model.config.image_token_id)
        return answer_loss(self._model, batch, features)

    def _cached(self, kind: str, task, *details):
        key = (kind, task.name, *details)
        if key not in self._known:
            self._known[key] = getattr(self._questions, kind)(task, *details)
        return self._known[key]

    def _draw(self, count: int) -> list[tuple[int, int]]:
        """Pairs of task and frame, as this process's share of `count`: every task equally often."""
        tasks = np.resize(self._rng.permutation(len(self._frames)), self._peers.share(count))
        return [(int(task), int(self._rng.integers(len(self._frames[task])))) for task in tasks]

    def _steps(
        self, phase: str, parameters: list[Tensor], num_steps: int, peak: float
    ) -> Iterator[Callable[[Tensor], None]]:
        decay, on_step = self._plan.weight_decay, lambda *done: self._on_step(phase, *done)
        return steps(parameters, num_steps, peak, decay, on_step, self._peers)


def steps(
    parameters: list[Tensor],
    num_steps: int,
    peak: float,
    weight_decay: float,
    on_step: Callable[[int, int, float], None],
    peers: Peers = ALONE,
) -> Iterator[Callable[[Tensor], None]]:
    """Yield a function for each step that takes the step's loss; learning rate warms up, then falls as a cosine.

    `on_step` is told the step done, the steps in all, and this process's loss.
    """
    optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=weight_decay, betas=(0.9, 0.98))
    warm_up = max(1, min(100, num_steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / warm_up) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / num_steps))),
    )
    for number in range(num_steps):

        def take(loss: Tensor, number: int = number) -> None:
            optimizer.zero_grad()
            loss.backward()
            peers.average_gradients(parameters)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            on_step(number + 1, num_steps, float(loss.detach()))

        with half_precision():
            yield take


def answer_loss(model: Qwen2VLForConditionalGeneration, batch: TokenBatch, features: Tensor | None) -> Tensor:
    """Mean cross-entropy over all answer tokens of a batch."""
    states = next_token_states(model, batch.tokens, batch.positions, features)
    learnt = batch.targets != -100
    return F.cross_entropy(model.lm_head(states[learnt]).float(), batch.targets[learnt])


def half_precision() -> torch.autocast:
    """bfloat16 where the processor multiplies it; elsewhere float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16())


def _parts(images: np.ndarray, size: int = 256) -> Iterator[np.ndarray]:
    return (images[first : first + size] for first in range(0, len(images), size))
