"""The three losses of soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905), as functions of tensors."""

from typing import Literal

import torch
from torch.nn import functional

CriticLoss = Literal["mse", "huber"]


def soft_target(
    rewards: torch.Tensor,
    terminated: torch.Tensor,
    next_q: torch.Tensor,
    next_log_prob: torch.Tensor,
    temperature: torch.Tensor,
    discount: float,
) -> torch.Tensor:
    """What Q(s, a) should be, [B] (equations 3 and 5); all inputs [B] but the temperature, a scalar.

    `next_q` is the lower of the target critics' values. Termination ends the value, a time limit does not.
    """
    return rewards + discount * (1.0 - terminated) * (next_q - temperature * next_log_prob)


def critic_loss(q: torch.Tensor, target: torch.Tensor, kind: CriticLoss) -> torch.Tensor:
    """Sum over both critics of the batch's mean loss; `q` [2, B], `target` [B].

    `mse` is the mean squared error without the paper's factor 1/2, as SAC's reference code has it; `huber` is what
    RLlib's own SAC minimises.
    """
    target = target.expand_as(q)
    if kind == "huber":
        return functional.huber_loss(q, target, reduction="none").mean(dim=1).sum()
    return (q - target).square().mean(dim=1).sum()


def actor_loss(q: torch.Tensor, log_prob: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Mean of temperature * log pi - Q (equation 7); `q` [B] is the lower critic's value of the sampled actions."""
    return (temperature * log_prob - q).mean()


def temperature_loss(log_alpha: torch.Tensor, log_prob: torch.Tensor, target_entropy: float) -> torch.Tensor:
    """Raises the temperature while the entropy is below its target (equation 18, for the logarithm of alpha)."""
    return -log_alpha * (log_prob.mean() + target_entropy)
