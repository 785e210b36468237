"""The policy network, shared by the learner that trains it and the rollout workers that act with it."""

import itertools
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

LOG_STD_MIN = -5.0
LOG_STD_MAX = 2.0
LARGEST_ACTION = 0.999
"""Recorded actions beyond are learned as this."""


class SquashedGaussianActor(nn.Module):
    """A Gaussian squashed by tanh into (-1, 1) per action dimension (Haarnoja et al. 2018, appendix C).

    The buffers `obs_shift` and `obs_scale` hold a fixed normalisation of observations; they start as the identity and
    travel with the weights, so that whoever acts sees observations as the learner does.
    """

    obs_shift: torch.Tensor
    obs_scale: torch.Tensor

    def __init__(self, observation_size: int, action_size: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("obs_shift", torch.zeros(observation_size))
        self.register_buffer("obs_scale", torch.ones(observation_size))
        sizes = (observation_size, *hidden)
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], 2 * action_size)

    def distribution_parameters(self, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation before squashing, each [B, action], of observations [B, observation]."""
        normalised = (obs - self.obs_shift) * self.obs_scale
        mean, raw = self.head(self.body(normalised)).chunk(2, dim=-1)
        log_std = LOG_STD_MIN + 0.5 * (LOG_STD_MAX - LOG_STD_MIN) * (torch.tanh(raw) + 1.0)
        return mean, log_std

    def sample(self, obs: torch.Tensor, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Reparametrised actions [B, action] and their log-probabilities [B]."""
        mean, log_std = self.distribution_parameters(obs)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        unsquashed = mean + log_std.exp() * noise
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
        # log(1 - tanh(u)^2) in the form that does not lose all digits for large u.
        squash = 2.0 * (math.log(2.0) - unsquashed - functional.softplus(-2.0 * unsquashed))
        return torch.tanh(unsquashed), (gaussian - squash).sum(dim=-1)

    def log_prob(self, obs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B] of recorded actions [B, action].

        Actions at the ends of their range count as `LARGEST_ACTION`: at 1 the density of a squashed Gaussian, and its
        gradient, are without bound, and scripted controllers sit there most of the time.
        """
        mean, log_std = self.distribution_parameters(obs)
        actions = actions.clamp(-LARGEST_ACTION, LARGEST_ACTION)
        noise = (torch.atanh(actions) - mean) * (-log_std).exp()
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2.0 * math.pi)
        return (gaussian - torch.log1p(-actions.square())).sum(dim=-1)

    @torch.no_grad()
    def act(
        self, obs: torch.Tensor, generator: torch.Generator | None = None, noise_scale: float = 1.0
    ) -> torch.Tensor:
        """Actions [B, action] without gradient: sampled with `generator`, with `noise_scale` times the deviation, or
        tanh(mean) without one."""
        mean, log_std = self.distribution_parameters(obs)
        if generator is None:
            return torch.tanh(mean)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return torch.tanh(mean + noise_scale * log_std.exp() * noise)

    def numpy_weights(self) -> dict[str, np.ndarray]:
        """Copies of all weights and buffers by name, to hand to another process."""
        return numpy_weights(self)

    def load_numpy(self, weights: dict[str, np.ndarray]) -> None:
        """Take over weights of `numpy_weights`. Raises RuntimeError if names or shapes differ."""
        load_numpy(self, weights)

    @classmethod
    def from_numpy(cls, weights: dict[str, np.ndarray]) -> "SquashedGaussianActor":
        """An actor with these weights; the layer sizes are read off their shapes."""
        linear = [array.shape for name, array in weights.items() if name.startswith("body.") and array.ndim == 2]
        hidden = tuple(shape[0] for shape in linear)
        actor = cls(weights["obs_shift"].shape[0], weights["head.weight"].shape[0] // 2, hidden)
        actor.load_numpy(weights)
        return actor


def numpy_weights(network: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all weights and buffers by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}


def load_numpy(network: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Take over weights of `numpy_weights`. Raises RuntimeError if names or shapes differ."""
    # Copied, since arrays out of an object store are read-only and torch warns about those.
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
