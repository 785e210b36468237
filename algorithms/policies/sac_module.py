"""The networks of soft actor-critic as one RLlib module."""

import copy
import math
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from torch import nn

from algorithms.actor_network import SquashedGaussianActor
from algorithms.policies.seeded_module import SeededModule
from algorithms.policies.twin_critic import TwinCritic

Q_PREDICTED = "q_predicted"
"""[2, B]: both critics' values of the replayed actions."""
Q_NEXT = "q_next"
"""[B]: lower target critic's value of a fresh action in the next state; without gradient."""
LOG_PROB_NEXT = "log_prob_next"
"""[B]: log-probability of that action; without gradient."""
Q_FRESH = "q_fresh"
"""[B]: lower critic's value of a fresh action in the replayed state; its gradient reaches the actor only."""
LOG_PROB_FRESH = "log_prob_fresh"
"""[B]: log-probability of that action."""


class RatedSACModule(SeededModule, InferenceOnlyAPI):
    """Actor, twin critics, their targets, and the logarithm of the entropy temperature.

    `model_config` holds `hidden`, the layer sizes of actor and critics, `initial_alpha`, and `seed`, which may be
    None. The temperature is a parameter like any other, so it is saved and restored with the rest.
    """

    def _build_networks(self) -> None:
        check_space("observation_space", self.observation_space)
        check_space("action_space", self.action_space)
        observation_size, action_size = self.observation_space.shape[0], self.action_space.shape[0]
        hidden = tuple(self.model_config["hidden"])
        self.noise_generator: torch.Generator | None = None
        """Source of the noise in training actions; torch's global one if None."""
        self.actor = SquashedGaussianActor(observation_size, action_size, hidden)
        if self.inference_only:
            return
        self.critic = TwinCritic(observation_size, action_size, hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(self.model_config["initial_alpha"])))

    def parameters_of(self) -> dict[str, list[nn.Parameter]]:
        """What each optimiser moves, by its name."""
        return {
            "actor": list(self.actor.parameters()),
            "critic": list(self.critic.parameters()),
            "alpha": [self.log_alpha],
        }

    def get_non_inference_attributes(self) -> list[str]:
        return ["critic", "target_critic", "log_alpha"]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            mean, _ = self.actor.distribution_parameters(batch[Columns.OBS])
        return {Columns.ACTIONS: torch.tanh(mean)}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            actions, log_prob = self.actor.sample(batch[Columns.OBS])
        return {Columns.ACTIONS: actions, Columns.ACTION_LOGP: log_prob}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        obs, next_obs, actions = batch[Columns.OBS], batch[Columns.NEXT_OBS], batch[Columns.ACTIONS]
        seen, next_seen = self._normalised(obs), self._normalised(next_obs)
        with torch.no_grad():
            next_actions, next_log_prob = self.actor.sample(next_obs, self.noise_generator)
            next_q = self.target_critic(next_seen, next_actions).amin(dim=0)
        fresh_actions, fresh_log_prob = self.actor.sample(obs, self.noise_generator)
        return {
            Q_PREDICTED: self.critic(seen, actions),
            Q_NEXT: next_q,
            LOG_PROB_NEXT: next_log_prob,
            Q_FRESH: self.critic(seen, fresh_actions, frozen=True).amin(dim=0),
            LOG_PROB_FRESH: fresh_log_prob,
        }

    @torch.no_grad()
    def reset_critic(self) -> None:
        """Draw the critics anew, the targets alike."""
        self.critic.reset(self.noise_generator)
        self.target_critic.load_state_dict(self.critic.state_dict())

    @torch.no_grad()
    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See observations as (observation - shift) * scale from now on, in actor and critics."""
        self.actor.obs_shift.copy_(torch.as_tensor(shift))
        self.actor.obs_scale.copy_(torch.as_tensor(scale))

    def _normalised(self, obs: torch.Tensor) -> torch.Tensor:
        return (obs - self.actor.obs_shift) * self.actor.obs_scale


def check_space(name: str, space: gymnasium.Space) -> None:
    """Raise ValueError unless the space is that of a flat vector of real numbers."""
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"{name} {space}: RatedSAC needs a gymnasium.spaces.Box of one dimension; flatten it")
