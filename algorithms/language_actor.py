"""The policy that follows an instruction, shared by the learner that trains it and the workers that act with it."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from algorithms.actor_network import SquashedGaussianActor
from algorithms.language_networks import Asked, LanguageEncoder, PolicyShape, asked_of
from algorithms.offline_settings import PolicyNetworkSettings


class LanguageActor(nn.Module):
    """pi(action | observations, instruction): categorical for discrete actions, a squashed Gaussian for continuous."""

    def __init__(self, shape: PolicyShape, network: PolicyNetworkSettings) -> None:
        super().__init__()
        self.encoder = LanguageEncoder(shape, network)
        self._discrete = shape.num_actions > 0
        if self._discrete:
            self.head: nn.Module = nn.Linear(self.encoder.num_features, shape.num_actions)
        else:
            self.head = SquashedGaussianActor(self.encoder.num_features, shape.action_size, hidden=())

    def log_prob(self, observation: torch.Tensor, asked: Asked, actions: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B] of actions, int64 [B] or float32 [B, action]."""
        features = self.encoder(observation, asked)
        if self._discrete:
            return torch.log_softmax(self.head(features), dim=-1).gather(1, actions.long().unsqueeze(1)).squeeze(1)
        return self.head.log_prob(features, actions)

    @torch.no_grad()
    def act(
        self, observation: torch.Tensor, instruction: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Actions, int64 [B] or float32 [B, action]: sampled with `generator`, or the likeliest without one.

        `observation` is [B, history, ...], `instruction` [B, ...].
        """
        features = self.encoder(observation, asked_of(instruction))
        if not self._discrete:
            return self.head.act(features, generator)
        logits = self.head(features)
        if generator is None:
            return logits.argmax(dim=-1)
        return torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator).squeeze(1)

    def numpy_weights(self) -> dict[str, np.ndarray]:
        """Copies of all weights and buffers by name, to hand to another process."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}

    def load_numpy(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take over weights of `numpy_weights`. Raises RuntimeError if names or shapes differ."""
        # Copied, since arrays out of an object store are read-only and torch warns about those.
        self.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
