"""The losses of implicit Q-learning (Kostrikov et al. 2021, arXiv 2110.06169), as functions of tensors.

They know nothing of how an action is represented: a categorical and a Gaussian actor share them.
"""

import math

import torch


def expectile_loss(q: torch.Tensor, value: torch.Tensor, expectile: float) -> torch.Tensor:
    """Mean of |expectile - 1(q < value)| (q - value)^2, a scalar (equation 5); both [B].

    `q` is the lower of the target critics' values of the recorded actions, without gradient. An expectile of 0.5 is
    the mean of q; towards 1 the value becomes that of the best recorded action.
    """
    error = q - value
    weight = torch.where(error < 0.0, 1.0 - expectile, expectile)
    return (weight * error.square()).mean()


def bellman_target(
    rewards: torch.Tensor, terminated: torch.Tensor, next_value: torch.Tensor, discount: float
) -> torch.Tensor:
    """What Q(s, a) should be, [B] (equation 6); all inputs [B]. Termination ends the value, a time limit does not."""
    return rewards + discount * (1.0 - terminated) * next_value


def twin_critic_loss(q: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Sum over both critics of the mean squared error over the rows whose reward is known; 0 if there is none.

    `q` [2, B], `target` [B] and `known` [B], which is 1.0 for a row with a reward and 0.0 for one without.
    """
    squared = (q - target).square() * known
    return squared.sum() / known.sum().clamp(min=1.0)


def advantage_weights(advantage: torch.Tensor, beta: float, largest: float) -> torch.Tensor:
    """min(exp(beta * advantage), largest), [B], without gradient: how much each recorded action is imitated."""
    # The exponent is cut, not its result: exp() of a large one is infinite, and infinite is no weight.
    return torch.exp((beta * advantage.detach()).clamp(max=math.log(largest)))


def weighted_imitation_loss(log_prob: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean of -weight * log pi(a | s), a scalar (equation 7); both [B]. With weights of 1 this is behaviour cloning."""
    return -(weights * log_prob).mean()
