"""The policy that follows an instruction, shared by the learner that trains it and the workers that act with it."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from algorithms.actor_network import SquashedGaussianActor, load_numpy, numpy_weights
from algorithms.language_networks import Asked, LanguageEncoder, PolicyShape, asked_of
from algorithms.offline_settings import PolicyNetworkSettings


class LanguageActor(nn.Module):
    """pi(action | observations, instruction): categorical for discrete actions, a squashed Gaussian for continuous.

    Where actions are about objects, a second head says which class of them, as SPRINT's does (Zhang et al. 2023): an
    action is then a pair (action, object class), and class 0 is none.
    """

    def __init__(self, shape: PolicyShape, network: PolicyNetworkSettings) -> None:
        super().__init__()
        self.encoder = LanguageEncoder(shape, network)
        self._discrete = shape.num_actions > 0
        if self._discrete:
            self.head: nn.Module = nn.Linear(self.encoder.num_features, shape.num_actions)
        else:
            self.head = SquashedGaussianActor(self.encoder.num_features, shape.action_size, hidden=())
        self.object_head = nn.Linear(self.encoder.num_features, shape.num_objects) if shape.num_objects else None

    def log_prob(self, observation: torch.Tensor, asked: Asked, actions: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [B] of actions: int64 [B], int64 [B, 2] with objects, or float32 [B, action].

        The object counts only where there is one.
        """
        return self.log_prob_of(self.encoder(observation, asked), actions)

    def entropy_of(self, features: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Entropy [B] in nats for `features` [B, ...] of the encoder, of policies without objects: exact of choices,
        of actions that are numbers estimated by one draw each."""
        if not self._discrete:
            return -self.head.sample(features, generator)[1]
        log_probs = torch.log_softmax(self.head(features), dim=-1)
        return -(log_probs.exp() * log_probs).sum(dim=-1)

    def log_prob_of(self, features: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """As `log_prob`, for `features` [B, ...] of the encoder."""
        if not self._discrete:
            return self.head.log_prob(features, actions)
        if self.object_head is None:
            return _log_prob(self.head(features), actions)
        chosen, objects = actions.unbind(dim=1)
        of_object = _log_prob(self.object_head(features), objects)
        return _log_prob(self.head(features), chosen) + torch.where(objects > 0, of_object, 0.0)

    @torch.no_grad()
    def act(
        self,
        observation: torch.Tensor,
        instruction: torch.Tensor,
        generator: torch.Generator | None = None,
        possible: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Actions: int64 [B], int64 [B, 2] with objects, or float32 [B, action]; sampled with `generator`, or the
        likeliest without one.

        `observation` is [B, history, ...], `instruction` [B, ...]. `possible`, bool [B, actions, objects], leaves the
        choice among its true pairs: the action first, then its object, as SPRINT chooses.
        """
        return self.choose(self.encoder(observation, asked_of(instruction)), generator, possible)

    @torch.no_grad()
    def choose(
        self,
        features: torch.Tensor,
        generator: torch.Generator | None = None,
        possible: torch.Tensor | None = None,
        temperature: float = 1.0,
    ) -> torch.Tensor:
        """Actions as `act` gives them, for `features` [B, ...] of the encoder. Sampled ones at a `temperature`: choices
        from softmax(logits / temperature), numbers with so many times their deviation."""
        if not self._discrete:
            return self.head.act(features, generator, temperature)
        if self.object_head is None:
            return _choose(self.head(features) / temperature, generator)
        if possible is None:
            possible = torch.ones(1, dtype=torch.bool, device=features.device)
            possible = possible.expand(len(features), self.head.out_features, self.object_head.out_features)
        chosen = _choose(self.head(features).masked_fill(~possible.any(dim=-1), -torch.inf), generator)
        of_chosen = possible[torch.arange(len(chosen)), chosen]
        objects = _choose(self.object_head(features).masked_fill(~of_chosen, -torch.inf), generator)
        return torch.stack((chosen, objects), dim=1)

    def numpy_weights(self) -> dict[str, np.ndarray]:
        """Copies of all weights and buffers by name, to hand to another process."""
        return numpy_weights(self)

    def load_numpy(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take over weights of `numpy_weights`. Raises RuntimeError if names or shapes differ."""
        load_numpy(self, weights)


def _log_prob(logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits, dim=-1).gather(1, chosen.long().unsqueeze(1)).squeeze(1)


def _choose(logits: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    if generator is None:
        return logits.argmax(dim=-1)
    return torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator).squeeze(1)
