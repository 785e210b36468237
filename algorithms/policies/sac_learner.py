"""The gradient step of soft actor-critic as an RLlib learner."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from algorithms.policies.sac_losses import actor_loss, critic_loss, soft_target, temperature_loss
from algorithms.policies.sac_module import (
    LOG_PROB_FRESH,
    LOG_PROB_NEXT,
    Q_FRESH,
    Q_NEXT,
    Q_PREDICTED,
    RatedSACModule,
)

METRICS = ("critic_loss", "actor_loss", "alpha", "entropy", "q_mean", "td_error")
"""Means over the updates of a call and over their batches; `td_error` is absolute."""

_PROGRESS = "rated_sac"


class RatedSACLearner(TorchLearner):
    """Learns from ready batches: one call takes as many gradient steps as its rows make batches.

    A call's fixed costs (conversion, transfer, metrics) are so paid once for many steps, which with networks of this
    size would otherwise outweigh the step itself.
    """

    def build(self) -> None:
        super().build()
        self._num_updates = 0
        self._metric_sums: torch.Tensor | None = None
        self._metric_count = 0
        self._sac.noise_generator = torch.Generator(device=self._device)
        if self.config.seed_of_learning is not None:
            self._sac.noise_generator.manual_seed(self.config.seed_of_learning)

    @property
    def _sac(self) -> RatedSACModule:
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    # ------------------------------------------------------------------------------------------------ RLlib's hooks

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        module = self._module[module_id].unwrapped()
        for name, params, learning_rate in (
            ("actor", list(module.actor.parameters()), config.actor_lr),
            ("critic", list(module.critic.parameters()), config.critic_lr),
            ("alpha", [module.log_alpha], config.alpha_lr),
        ):
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.Adam(params, lr=learning_rate, fused=True),
                params=params,
            )

    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        result: tuple[Any, Any, Any] = ({}, {}, {})
        for minibatch in _minibatches(batch, self.config.train_batch_size_per_learner):
            result = super()._uncompiled_update(minibatch, **kwargs)
            self._num_updates += 1
            if self._num_updates % self.config.target_update_interval == 0:
                self._sac.update_targets(self.config.tau)
        return result

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        log_alpha = self._sac.log_alpha
        alpha = log_alpha.detach().exp()
        log_prob = fwd_out[LOG_PROB_FRESH]
        target = soft_target(
            batch[Columns.REWARDS],
            batch[Columns.TERMINATEDS],
            fwd_out[Q_NEXT],
            fwd_out[LOG_PROB_NEXT],
            alpha,
            config.gamma,
        )
        of_critic = critic_loss(fwd_out[Q_PREDICTED], target, config.critic_loss)
        of_actor = actor_loss(fwd_out[Q_FRESH], log_prob, alpha)
        of_alpha = temperature_loss(log_alpha, log_prob.detach(), config.target_entropy_of(self._sac.action_space))
        q = fwd_out[Q_PREDICTED].detach()
        self._note(of_critic, of_actor, alpha, -log_prob.mean(), q.mean(), (q - target).abs().mean())
        # Each loss has parameters of its own, so that one backward pass through their sum gives each its gradient.
        return of_critic + of_actor + of_alpha

    def apply_gradients(self, gradients_dict: dict[Any, torch.Tensor]) -> None:
        """Step all optimisers. RLlib's own looks twice through every gradient for infinities; `RatedSAC.update`
        looks at the losses instead."""
        for param, gradient in gradients_dict.items():
            param.grad = gradient
        for optimizer in self._named_optimizers.values():
            optimizer.step()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        means = (self._metric_sums / self._metric_count).tolist()
        self.metrics.log_dict(dict(zip(METRICS, means, strict=True)), key=DEFAULT_MODULE_ID, window=1)
        self._metric_sums, self._metric_count = None, 0

    # ------------------------------------------------------------------------------------------------ between updates

    def reset_critic(self) -> None:
        """Start critics and targets anew, and forget what their optimiser gathered."""
        self._sac.reset_critic()
        self.get_optimizer(DEFAULT_MODULE_ID, "critic").state.clear()

    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See `RatedSACModule.set_observation_normalisation`."""
        self._sac.set_observation_normalisation(shift, scale)

    # ------------------------------------------------------------------------------------------------ saving

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # RLlib's arrays are the live tensors' own memory: without a copy the state would go on learning.
        state = copy.deepcopy(super().get_state(*args, **kwargs))
        state[_PROGRESS] = {
            "num_updates": self._num_updates,
            "noise": self._sac.noise_generator.get_state().numpy(),
        }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(copy.deepcopy(state))
        if COMPONENT_RL_MODULE in state:
            # RLlib keeps its own networks where they have had more updates than those of the state; we go back.
            self.module.set_state(state[COMPONENT_RL_MODULE])
        if _PROGRESS in state:
            self._num_updates = state[_PROGRESS]["num_updates"]
            self._set_noise(state[_PROGRESS]["noise"])

    def _set_noise(self, state: np.ndarray) -> None:
        generator = self._sac.noise_generator
        if len(state) == len(generator.get_state()):
            # Copied, since what comes out of an object store is read-only.
            generator.set_state(torch.from_numpy(state.copy()))
        else:
            # Written on another kind of device, whose generator is another one: a new stream, the same every time.
            generator.manual_seed((self.config.seed_of_learning or 0) + self._num_updates)

    def _note(self, *values: torch.Tensor) -> None:
        new = torch.stack([value.detach() for value in values])
        self._metric_sums = new if self._metric_sums is None else self._metric_sums + new
        self._metric_count += 1


def _minibatches(batch: dict[str, Any], batch_size: int) -> Iterator[dict[str, Any]]:
    """The rows in runs of `batch_size`, as views."""
    columns = batch[DEFAULT_MODULE_ID]
    num_rows = len(columns[Columns.REWARDS])
    for start in range(0, num_rows, batch_size):
        yield {DEFAULT_MODULE_ID: {name: column[start : start + batch_size] for name, column in columns.items()}}
