"""Training of the pocket CLIP: frames and sentences that are true of one another come together, others apart."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from actors.pocket.frames.data import TaskFrames
from actors.pocket.frames.heads import StageHeads
from actors.pocket.similarity.model import pixels_of
from actors.pocket.similarity.sentences import Sentences
from actors.pocket.together import ALONE, OnStep
from actors.pocket.training import Trainer


@dataclass(frozen=True)
class SimilarityPlan:
    """How long it learns, and how large its steps are."""

    steps: int = 700
    batch: int = 64
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    measuring: float = 0.5
    """Weight of measuring stages, distances and travel through linear heads, which are thrown away at the end."""


class SimilarityTrainer(Trainer):
    """Trains one CLIP on the frames of several tasks, in the sentences' order of tasks."""

    model: CLIPModel

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: CLIPTokenizer,
        sentences: Sentences,
        frames: list[TaskFrames],
        plan: SimilarityPlan,
        seed: int,
        on_step: OnStep,
    ) -> None:
        self._frames, self._plan = frames, plan
        self._true = [torch.from_numpy(sentences.true_of(task, one)) for task, one in enumerate(frames)]
        self._words = tokenizer(list(sentences.texts), padding=True, return_tensors="pt")
        self._heads = StageHeads(len(frames))
        super().__init__(model, [self._heads], plan.weight_decay, seed, on_step, ALONE)

    def fit(self) -> None:
        """All steps."""
        self._learn("contrast", [self.model, self._heads], self._plan.steps, self._plan.learning_rate, self._loss)

    def _loss(self) -> Tensor:
        drawn = self._draw(self._plan.batch)
        seen = self.model.vision_model(self._see(drawn))
        frames = F.normalize(self.model.visual_projection(seen.pooler_output), dim=-1)
        texts = F.normalize(self.model.get_text_features(**self._words).pooler_output, dim=-1)
        true = torch.stack([self._true[task][index] for task, index in drawn])
        # As in CLIP, the scale is learnt, and has an end.
        scale = self.model.logit_scale.clamp(max=np.log(100.0)).exp()
        tasks, stages, measures = self._truth(drawn)
        measured = self._heads.loss(seen.last_hidden_state, tasks, stages, measures)
        return contrast(scale * frames @ texts.T, true) + self._plan.measuring * measured

    def _see(self, drawn: list[tuple[int, int]]) -> Tensor:
        """Pixels of drawn frames, their brightness and contrast slightly changed."""
        pixels = pixels_of(torch.from_numpy(np.stack([self._frames[task].images[index] for task, index in drawn])))
        gain = self._rng.uniform(0.9, 1.1, size=(len(drawn), 1, 1, 1)).astype(np.float32)
        shift = self._rng.uniform(-0.15, 0.15, size=(len(drawn), 1, 1, 1)).astype(np.float32)
        return pixels * torch.from_numpy(gain) + torch.from_numpy(shift)

    def _truth(self, drawn: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        tasks = torch.tensor([task for task, _ in drawn])
        stages = torch.tensor([int(self._frames[task].stages[index]) for task, index in drawn])
        measures = np.stack([self._frames[task].measures[index] for task, index in drawn])
        return tasks, stages, torch.from_numpy(measures)

    def _draw(self, count: int) -> list[tuple[int, int]]:
        """Pairs of task and frame: every task equally often."""
        tasks = np.resize(self._rng.permutation(len(self._frames)), count)
        return [(int(task), int(self._rng.integers(len(self._frames[task])))) for task in tasks]


def contrast(logits: Tensor, true: Tensor) -> Tensor:
    """CLIP's loss where several sentences are true of a frame: half of it among sentences, half among frames.

    `logits` [N, texts] and bool `true` of the same shape. In each row the softmax should be shared evenly by what is
    true of the frame, and in each column by the frames that the sentence is true of; a column without any is left out.
    """
    return 0.5 * (_shared(logits, true) + _shared(logits.T, true.T))


def _shared(logits: Tensor, true: Tensor) -> Tensor:
    """Mean cross-entropy of rows that have something true."""
    some = true.any(dim=1)
    wanted = true[some] / true[some].sum(dim=1, keepdim=True)
    return F.cross_entropy(logits[some], wanted)
