"""The networks of language-conditioned implicit Q-learning as one RLlib module."""

import copy
from typing import Any

import gymnasium
import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from torch import nn

from algorithms.language_actor import LanguageActor
from algorithms.language_networks import Asked, LanguageEncoder, PolicyShape, asked_of, critic_actions
from algorithms.offline_settings import PolicyNetworkSettings
from algorithms.policies.seeded_module import SeededModule
from algorithms.policies.twin_critic import TwinCritic

OBSERVATION = "observation"
"""Part of an observation: what is seen, [history, ...]."""
INSTRUCTION = "instruction"
"""Part of an observation: what is asked, [...]."""

Q_PREDICTED = "q_predicted"
"""[2, B]: both critics' values of the recorded actions."""
Q_TARGET = "q_target"
"""[B]: the lower of the target critics' values of the recorded actions; without gradient."""
VALUE = "value"
"""[B]: V of the state."""
NEXT_VALUE = "next_value"
"""[B]: V of the next state; without gradient."""
LOG_PROB = "log_prob"
"""[B]: log-probability of the recorded actions."""
ENTROPY = "entropy"
"""[B]: entropy of the policy in the state, where the actor's loss asks for it."""


class LanguageCritic(nn.Module):
    """Q1, Q2 and V on a common trunk, as SPRINT has them."""

    def __init__(self, shape: PolicyShape, network: PolicyNetworkSettings) -> None:
        super().__init__()
        self.encoder = LanguageEncoder(shape, network)
        width = self.encoder.num_features
        self.q = TwinCritic(width, shape.action_size, (width,))
        self.value_head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(
        self, observation: torch.Tensor, next_observation: torch.Tensor, asked: Asked, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Q1 and Q2 [2, B] of actions [B, action], V [B], and V of the next state [B] without gradient."""
        read = self.encoder.instruction(asked)
        features = self.encoder.see(observation, read)
        with torch.no_grad():
            next_value = self.value_head(self.encoder.see(next_observation, read))
        return self.q(features, actions), self.value_head(features).squeeze(-1), next_value.squeeze(-1)

    @torch.no_grad()
    def value(self, observation: torch.Tensor, asked: Asked) -> torch.Tensor:
        """V [B], without gradient."""
        return self.value_head(self.encoder(observation, asked)).squeeze(-1)

    @torch.no_grad()
    def lower_q(self, observation: torch.Tensor, asked: Asked, actions: torch.Tensor) -> torch.Tensor:
        """min(Q1, Q2) [B], without gradient."""
        return self.q(self.encoder(observation, asked), actions).amin(dim=0)


class LanguageIQLModule(SeededModule, InferenceOnlyAPI):
    """Actor, critics with value, and the critics' target.

    `model_config` holds `network` (a `PolicyNetworkSettings`), `cloning`, `tells_entropy` and `seed`, which may be
    None.
    """

    def _build_networks(self) -> None:
        network = self.model_config["network"]
        self.shape = shape_of(self.observation_space, self.action_space, network.history)
        self.actor = LanguageActor(self.shape, network)
        self._cloning = self.model_config["cloning"]
        self._tells_entropy = self.model_config.get("tells_entropy", False)
        self.noise_generator: torch.Generator | None = None
        """Of draws that the entropy of continuous actions is estimated by; torch's global one if None."""
        if self.inference_only or self._cloning:
            return
        self.critic = LanguageCritic(self.shape, network)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)

    def get_non_inference_attributes(self) -> list[str]:
        return [] if self._cloning else ["critic", "target_critic"]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        obs = batch[Columns.OBS]
        return {Columns.ACTIONS: self.actor.act(obs[OBSERVATION], obs[INSTRUCTION])}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        obs = batch[Columns.OBS]
        generator = torch.default_generator
        return {Columns.ACTIONS: self.actor.act(obs[OBSERVATION], obs[INSTRUCTION], generator)}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        observation, actions = batch[Columns.OBS][OBSERVATION], batch[Columns.ACTIONS]
        asked = asked_of(batch[Columns.OBS][INSTRUCTION])
        features = self.actor.encoder(observation, asked)
        result = {LOG_PROB: self.actor.log_prob_of(features, actions)}
        if self._tells_entropy:
            result[ENTROPY] = self.actor.entropy_of(features, self.noise_generator)
        if self._cloning:
            return result
        seen_actions = critic_actions(self.shape, actions)
        result[Q_PREDICTED], result[VALUE], result[NEXT_VALUE] = self.critic(
            observation, batch[Columns.NEXT_OBS][OBSERVATION], asked, seen_actions
        )
        result[Q_TARGET] = self.target_critic.lower_q(observation, asked, seen_actions)
        return result

    @torch.no_grad()
    def predict(
        self, observation: torch.Tensor, instruction: torch.Tensor, actions: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The `likeliest` actions, `log_prob` [B] of these ones and, unless it is cloning, the states' `value` [B]."""
        asked = asked_of(instruction)
        found = {
            "likeliest": self.actor.act(observation, instruction),
            "log_prob": self.actor.log_prob(observation, asked, actions),
        }
        return found if self._cloning else found | {"value": self.critic.value(observation, asked)}

    @torch.no_grad()
    def reset_critic(self, seed: int) -> list[nn.Parameter]:
        """Draw the critics and the value anew from `seed`, the target alike, and return what was drawn.

        How observations are normalised stays.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            drawn = LanguageCritic(self.shape, self.model_config["network"])
        for parameter, fresh in zip(self.critic.parameters(), drawn.parameters(), strict=True):
            parameter.copy_(fresh)
        self.target_critic.load_state_dict(self.critic.state_dict())
        return list(self.critic.parameters())

    @torch.no_grad()
    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See flat observations as (observation - shift) * scale from now on, in actor and critics."""
        networks = [self.actor] if self._cloning else [self.actor, self.critic, self.target_critic]
        for network in networks:
            network.encoder.observation.shift.copy_(torch.as_tensor(shift))
            network.encoder.observation.scale.copy_(torch.as_tensor(scale))


def shape_of(observation_space: gymnasium.Space, action_space: gymnasium.Space, history: int) -> PolicyShape:
    """What the networks must fit. Raises ValueError, saying what is needed, for spaces that they cannot."""
    parts = observation_space.spaces if isinstance(observation_space, gymnasium.spaces.Dict) else {}
    if set(parts) != {OBSERVATION, INSTRUCTION} or not all(isinstance(p, gymnasium.spaces.Box) for p in parts.values()):
        raise ValueError(
            f"observation_space {observation_space}: a Dict of the Boxes {OBSERVATION!r} and {INSTRUCTION!r} is needed"
        )
    seen, asked = parts[OBSERVATION], parts[INSTRUCTION]
    if seen.shape[0] != history:
        raise ValueError(f"{OBSERVATION} {seen}: its first axis must be network.history, {history}")
    if len(asked.shape) != 1:
        raise ValueError(f"{INSTRUCTION} {asked}: word ids or an embedding, of one dimension, are needed")
    kind = _kind_of(seen)
    words = np.issubdtype(asked.dtype, np.integer)
    num_objects = 0
    if isinstance(action_space, gymnasium.spaces.Discrete):
        num_actions = action_size = int(action_space.n)
    elif isinstance(action_space, gymnasium.spaces.MultiDiscrete) and action_space.shape == (2,):
        num_actions, num_objects = action_space.nvec.tolist()
        action_size = num_actions + num_objects
    elif isinstance(action_space, gymnasium.spaces.Box) and len(action_space.shape) == 1:
        num_actions, action_size = 0, action_space.shape[0]
    else:
        raise ValueError(
            f"action_space {action_space}: Discrete, a MultiDiscrete of action and object, or a Box of one "
            "dimension is needed"
        )
    return PolicyShape(
        kind=kind,
        observation_shape=tuple(seen.shape[1:]),
        num_categories=int(seen.high.max()) + 1 if kind == "grid" else 0,
        num_words=int(asked.high.max()) + 1 if words else 0,
        instruction_length=asked.shape[0],
        num_actions=num_actions,
        action_size=action_size,
        num_objects=num_objects,
    )


def spaces_of(shape: PolicyShape, history: int) -> tuple[gymnasium.spaces.Dict, gymnasium.Space]:
    """Observation and action space of a shape: the inverse of `shape_of`."""
    box = gymnasium.spaces.Box
    full = (history, *shape.observation_shape)
    seen = {
        "grid": lambda: box(0, shape.num_categories - 1, full, np.uint8),
        "image": lambda: box(0, 255, full, np.uint8),
        "vector": lambda: box(-np.inf, np.inf, full, np.float32),
    }[shape.kind]()
    length = (shape.instruction_length,)
    asked = box(0, shape.num_words - 1, length, np.int32) if shape.num_words else box(-np.inf, np.inf, length)
    if shape.num_objects:
        actions: gymnasium.Space = gymnasium.spaces.MultiDiscrete([shape.num_actions, shape.num_objects])
    elif shape.num_actions:
        actions = gymnasium.spaces.Discrete(shape.num_actions)
    else:
        actions = box(-1.0, 1.0, (shape.action_size,))
    return gymnasium.spaces.Dict({OBSERVATION: seen, INSTRUCTION: asked}), actions


def _kind_of(seen: gymnasium.spaces.Box) -> Any:
    integers = np.issubdtype(seen.dtype, np.integer)
    if integers and len(seen.shape) == 4:
        return "image" if seen.high.max() == 255 else "grid"
    if not integers and len(seen.shape) == 2:
        return "vector"
    raise ValueError(
        f"{OBSERVATION} {seen}: [history, height, width, channels] of whole numbers (a picture if they reach 255, a "
        "grid of categories else), or [history, size] of real numbers, is needed"
    )
