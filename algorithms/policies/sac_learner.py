"""The gradient step of soft actor-critic as an RLlib learner."""

from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns

from algorithms.policies.batched_learner import BatchedLearner
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


class RatedSACLearner(BatchedLearner):
    """Soft actor-critic, many updates a call."""

    metric_names = METRICS

    def build(self) -> None:
        super().build()
        self._sac.noise_generator = self.noise_generator

    @property
    def _sac(self) -> RatedSACModule:
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    # ------------------------------------------------------------------------------------------------ RLlib's hooks

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        rates = {
            "actor": config.actor_lr,
            "critic": config.critic_lr,
            "alpha": config.alpha_lr,
            "encoder": config.critic_lr,
        }
        for name, params in self._module[module_id].unwrapped().parameters_of().items():
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.Adam(params, lr=rates[name], fused=True),
                params=params,
            )

    def after_update(self, num_updates: int) -> None:
        if num_updates % self.config.target_update_interval == 0:
            self._sac.update_targets(self.config.tau)

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
        self.note(of_critic, of_actor, alpha, -log_prob.mean(), q.mean(), (q - target).abs().mean())
        # Each loss has parameters of its own, so that one backward pass through their sum gives each its gradient.
        return of_critic + of_actor + of_alpha

    # ------------------------------------------------------------------------------------------------ between updates

    def reset_critic(self) -> None:
        """Start critics and targets anew, and forget what their optimiser gathered."""
        self._sac.reset_critic()
        self.get_optimizer(DEFAULT_MODULE_ID, "critic").state.clear()

    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See `RatedSACModule.set_observation_normalisation`."""
        self._sac.set_observation_normalisation(shift, scale)
