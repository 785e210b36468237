"""How likely each preference is under predicted rewards, and the losses that follow.

RL-VLM-F (Wang et al., ICML 2024) learns a reward as preference-based reinforcement learning does (Christiano et al.,
NeurIPS 2017; PEBBLE): by the model of Bradley and Terry, the one of two moments with reward r is preferred to the one
with reward s with probability exp(r) / (exp(r) + exp(s)). Unlike ratings, preferences fix the scale of rewards.
"""

from typing import Literal

import torch

from algorithms.rating_loss import item_losses


def preference_log_probabilities(rewards: torch.Tensor) -> torch.Tensor:
    """Log-probability that each of two moments is the preferred one, float [N, 2], of their rewards [N, 2]."""
    return rewards.log_softmax(dim=1)


def preference_losses(
    log_probabilities: torch.Tensor,
    preferred: torch.Tensor,
    kind: Literal["mae", "cross_entropy"],
    label_smoothing: float = 0.0,
    soft: torch.Tensor | None = None,
) -> torch.Tensor:
    """Loss of each pair, float [N], of which int64 [N] `preferred`, 0 or 1, is nearer to the goal.

    `cross_entropy` as published; `mae`, ERL-VLM's for ratings, bounds what a wrong preference can do. Of each label a
    share `label_smoothing` of its mass is spread evenly over both. `soft` [N, 2], if given, stands in for the labels:
    the probability that each is preferred.
    """
    told = torch.nn.functional.one_hot(preferred, 2).float() if soft is None else soft
    return item_losses(log_probabilities, (1.0 - label_smoothing) * told + label_smoothing / 2.0, kind)
