"""The gradient step of implicit Q-learning as an RLlib learner."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns

from algorithms.fitted_q import FittedQ, FittedQPlan
from algorithms.policies.batched_learner import BatchedLearner
from algorithms.policies.iql_losses import (
    advantage_weights,
    bellman_target,
    expectile_loss,
    twin_critic_loss,
    weighted_imitation_loss,
)
from algorithms.policies.iql_module import (
    ENTROPY,
    LOG_PROB,
    NEXT_VALUE,
    Q_PREDICTED,
    Q_TARGET,
    VALUE,
    LanguageIQLModule,
)

METRICS = ("actor_loss", "critic_loss", "value_loss", "q_mean", "value_mean", "weight_mean", "cut_share", "log_prob")
"""Means over the updates of a call and over their batches; `cut_share` is that of weights at their largest. With
cloning all but the first and the last are 0."""
REWARD_KNOWN = "reward_known"
"""Column of 1.0 for a row with a reward, 0.0 for one without."""


class LanguageIQLLearner(BatchedLearner):
    """Expectile value, twin critics and advantage-weighted actor in one step, many steps a call."""

    metric_names = METRICS

    def build(self) -> None:
        super().build()
        self._iql.noise_generator = self.noise_generator

    @property
    def _iql(self) -> LanguageIQLModule:
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        params = [param for param in self._module[module_id].unwrapped().parameters() if param.requires_grad]
        self.register_optimizer(
            module_id=module_id,
            optimizer_name="all",
            optimizer=torch.optim.AdamW(params, lr=config.lr, weight_decay=config.weight_decay, fused=True),
            params=params,
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        log_prob = fwd_out[LOG_PROB]
        if config.actor_loss == "cloning":
            loss = weighted_imitation_loss(log_prob, torch.ones_like(log_prob))
            nothing = torch.zeros_like(loss)
            self.note(loss, *[nothing] * (len(METRICS) - 2), log_prob.mean())
            return loss
        q, value = fwd_out[Q_PREDICTED], fwd_out[VALUE]
        target = bellman_target(batch[Columns.REWARDS], batch[Columns.TERMINATEDS], fwd_out[NEXT_VALUE], config.gamma)
        weights = advantage_weights(fwd_out[Q_TARGET] - value, config.beta, config.largest_weight)
        of_value = expectile_loss(fwd_out[Q_TARGET], value, config.expectile)
        of_critic = twin_critic_loss(q, target, batch[REWARD_KNOWN])
        of_actor = weighted_imitation_loss(log_prob, weights)
        if config.entropy_bonus > 0.0:
            of_actor = of_actor - config.entropy_bonus * fwd_out[ENTROPY].mean()
        cut = (weights >= 0.999 * config.largest_weight).float().mean()
        self.note(of_actor, of_critic, of_value, q.mean(), value.mean(), weights.mean(), cut, log_prob.mean())
        # The actor shares no parameter with the critics, so that one backward pass gives each loss its gradient.
        return of_value + of_critic + of_actor

    def after_update(self, num_updates: int) -> None:
        if self.config.actor_loss != "cloning":
            self._iql.update_targets(self.config.tau)

    def reset_critic(self) -> None:
        """Start critics, value and target anew, and forget what the optimiser gathered about them."""
        seed = int(torch.randint(2**31, (1,), generator=self.noise_generator, device=self._device))
        gathered = self.get_optimizer(DEFAULT_MODULE_ID, "all").state
        for parameter in self._iql.reset_critic(seed):
            gathered.pop(parameter, None)

    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See `LanguageIQLModule.set_observation_normalisation`."""
        self._iql.set_observation_normalisation(shift, scale)

    # ------------------------------------------------------------------------------------------------ judging

    def predict(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `LanguageIQLModule.predict`, of columns of `Transitions.batch`."""
        columns = self._tensors(batch)
        found = self._iql.predict(columns["observation"], columns["instruction"], columns["action"])
        return {name: tensor.cpu().numpy() for name, tensor in found.items()}

    def start_fitted_q(self, plan: FittedQPlan) -> None:
        """Begin to evaluate the policy as it is now; `update_fitted_q`, then `fitted_q_values`."""
        self._fitted_q = FittedQ(self._iql.actor, self._iql.shape, self.config.network, plan)

    def update_fitted_q(self, batches: Sequence[Mapping[str, np.ndarray]]) -> None:
        """A gradient step for each batch."""
        for batch in batches:
            self._fitted_q.update(self._tensors(batch))

    def fitted_q_values(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the policy is worth from these states on, float32 [B, R]."""
        columns = self._tensors(batch)
        return self._fitted_q.values(columns["observation"], columns["instruction"]).cpu().numpy()

    def end_fitted_q(self) -> None:
        """Give its memory back."""
        del self._fitted_q

    def _tensors(self, batch: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        # Copied, since arrays out of an object store are read-only and torch warns about those.
        return {name: torch.from_numpy(np.array(column)).to(self._device) for name, column in batch.items()}
