"""What the trainings of both pocket raters share: the loop of a phase's steps, and the loss of an answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actors.pocket.model import PocketModel
from actors.pocket.questions import Batch
from actors.pocket.together import OnStep, Peers
from actors.rating.precision import has_bfloat16


class Trainer(ABC):
    """Trains one model, phase by phase, alone or as one of `peers`."""

    def __init__(
        self,
        model: PocketModel,
        heads: Iterable[nn.Module],
        weight_decay: float,
        seed: int,
        on_step: OnStep,
        peers: Peers,
    ) -> None:
        """`heads` learn together with the model, and are thrown away when it is trained."""
        self.model = model
        self._rng = np.random.default_rng([seed, peers.rank])
        self._weight_decay, self._on_step, self._peers = weight_decay, on_step, peers
        peers.start_equal([model, *heads])

    @abstractmethod
    def fit(self) -> None:
        """All phases."""

    def _learn(
        self, phase: str, modules: Iterable[nn.Module], num_steps: int, peak: float, loss: Callable[[], Tensor]
    ) -> None:
        """Take a phase's steps, each down the gradient of `loss`, which draws a batch and says what is wrong with it.

        The learning rate warms up to `peak`, then falls as a cosine. `on_step` is told this process's own loss.
        """
        parameters = [weight for module in modules for weight in module.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=self._weight_decay, betas=(0.9, 0.98))
        warm_up = max(1, min(100, num_steps // 10))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min(1.0, (step + 1) / warm_up) * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / num_steps))),
        )
        for step in range(1, num_steps + 1):
            with half_precision():
                wrong = loss()
                optimizer.zero_grad()
                wrong.backward()
                self._peers.average_gradients(parameters)
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
            self._on_step(phase, step, num_steps, float(wrong.detach()))


def answer_loss(model: PocketModel, states: Tensor, batch: Batch) -> Tensor:
    """Weighted mean cross-entropy over all answer tokens of a batch, of last hidden states [B, L, width]."""
    learnt = batch.weights > 0
    weights = batch.weights[learnt]
    errors = F.cross_entropy(model.lm_head(states[learnt]).float(), batch.targets[learnt], reduction="none")
    return (weights * errors).sum() / weights.sum()


def half_precision() -> torch.autocast:
    """bfloat16 where the processor multiplies it; elsewhere float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16())
