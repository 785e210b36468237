"""Soft actor-critic from pictures: one encoder for actor and critics, trained by the critics' loss alone."""

import copy
import math
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from torch import nn

from algorithms.pixel_frames import PixelShape
from algorithms.pixel_networks import FeatureLayer, PixelActor, random_shifts, shifted_stacks
from algorithms.policies.sac_module import (
    LOG_PROB_FRESH,
    LOG_PROB_NEXT,
    Q_FRESH,
    Q_NEXT,
    Q_PREDICTED,
    RatedSACModule,
)
from algorithms.policies.twin_critic import TwinCritic

STATE = "state"
NEXT_STATE = "next_state"
"""Columns of a batch, float32 [B, state], for policies that see the state besides. `obs` holds the windows of frames
of `ColumnarReplay.sample`, uint8 [B, frame_stack + 1, px, px, 3]."""


class PixelCritic(nn.Module):
    """Features of what the encoder gives, and twin critics on them."""

    def __init__(
        self, num_encoded: int, num_features: int, state_size: int, action_size: int, hidden: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.features = FeatureLayer(num_encoded, num_features)
        self.values = TwinCritic(num_features + state_size, action_size, hidden)

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew."""
        self.features.reset(generator)
        self.values.reset(generator)


class PixelSACModule(RatedSACModule):
    """As `RatedSACModule`, but for windows of frames in place of observations.

    `model_config["pixels"]` holds the fields of a `PixelShape`; the observation space is that of the state's numbers,
    which are seen only if the shape says so. An update passes each picture through the encoder once: the stack before
    the action with a gradient, for the critics, and without one for the actor; the stack after it without.
    """

    def _build_networks(self) -> None:
        self._shape = shape_of(self.model_config["pixels"])
        hidden = tuple(self.model_config["hidden"])
        state_size = self.observation_space.shape[0] if self._shape.sees_state else 0
        action_size = self.action_space.shape[0]
        self.noise_generator: torch.Generator | None = None
        self.actor = PixelActor(self._shape, state_size, action_size, hidden)
        if self.inference_only:
            return
        num_encoded, num_features = self.actor.encoder.num_outputs, self._shape.num_features
        self.critic = PixelCritic(num_encoded, num_features, state_size, action_size, hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(self.model_config["initial_alpha"])))

    def parameters_of(self) -> dict[str, list[nn.Parameter]]:
        encoder = list(self.actor.encoder.parameters())
        own = [*self.actor.features.parameters(), *self.actor.gaussian.parameters()]
        return super().parameters_of() | {"actor": own, "encoder": encoder}

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError("whoever acts on pictures does so by PixelActor.act, with the weights of the learner")

    _forward_exploration = _forward_inference

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        windows, actions = batch[Columns.OBS], batch[Columns.ACTIONS]
        state, next_state = self._states(batch, STATE), self._states(batch, NEXT_STATE)
        seen_state, next_seen_state = (self.actor.normalised(one) for one in (state, next_state))
        stacked, next_stacked = self._shifted(windows, 0), self._shifted(windows, 1)
        with torch.no_grad():
            next_encoded = self.actor.encoder(next_stacked)
            next_actions, next_log_prob = self.actor.sample(next_encoded, next_state, self.noise_generator)
            next_seen = self.target_critic.features(next_encoded, next_seen_state)
            next_q = self.target_critic.values(next_seen, next_actions).amin(dim=0)
        encoded = self.actor.encoder(stacked)
        fresh_actions, fresh_log_prob = self.actor.sample(encoded, state, self.noise_generator)
        seen = self.critic.features(encoded, seen_state)
        return {
            Q_PREDICTED: self.critic.values(seen, actions),
            Q_NEXT: next_q,
            LOG_PROB_NEXT: next_log_prob,
            Q_FRESH: self.critic.values(seen.detach(), fresh_actions, frozen=True).amin(dim=0),
            LOG_PROB_FRESH: fresh_log_prob,
        }

    def _shifted(self, windows: torch.Tensor, first: int) -> torch.Tensor:
        largest = self._shape.random_shift_px
        shifts = random_shifts(len(windows), largest, self.noise_generator, windows.device)
        return shifted_stacks(windows, first, self._shape.frame_stack, shifts)

    def _states(self, batch: dict[str, Any], name: str) -> torch.Tensor:
        windows = batch[Columns.OBS]
        return batch[name] if self._shape.sees_state else windows.new_empty((len(windows), 0), dtype=torch.float32)

    @torch.no_grad()
    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See states as (state - shift) * scale from now on, in actor and critics."""
        self.actor.set_normalisation(torch.as_tensor(shift), torch.as_tensor(scale))


def shape_of(fields: dict[str, Any]) -> PixelShape:
    """The `PixelShape` of plain settings, as RLlib hands them on."""
    convolutions = tuple(tuple(layer) for layer in fields["convolutions"])
    return PixelShape(**fields | {"convolutions": convolutions})
