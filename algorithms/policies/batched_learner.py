"""What our RLlib learners share: many gradient steps a call, cheap bookkeeping, and states that are whole copies."""

import copy
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

_PROGRESS = "progress_of_learning"


class BatchedLearner(TorchLearner):
    """Learns from ready batches: one call takes as many gradient steps as its rows make batches.

    A call's fixed costs (conversion, transfer, metrics) are so paid once for many steps, which with networks of this
    size would otherwise outweigh the step itself. A subclass names its `metric_names`, notes their values once an
    update, and does in `after_update` what follows a gradient step.
    """

    metric_names: ClassVar[tuple[str, ...]] = ()

    def build(self) -> None:
        super().build()
        self._num_updates = 0
        self._metric_sums: torch.Tensor | None = None
        self._metric_count = 0
        self.noise_generator = torch.Generator(device=self._device)
        if self.config.seed_of_learning is not None:
            self.noise_generator.manual_seed(self.config.seed_of_learning)

    def after_update(self, num_updates: int) -> None:
        """Called after each gradient step with the number of steps taken so far in the learner's life."""

    def _uncompiled_update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        result: tuple[Any, Any, Any] = ({}, {}, {})
        for minibatch in _minibatches(batch, self.config.train_batch_size_per_learner):
            result = super()._uncompiled_update(minibatch, **kwargs)
            self._num_updates += 1
            self.after_update(self._num_updates)
        return result

    def apply_gradients(self, gradients_dict: dict[Any, torch.Tensor]) -> None:
        """Step all optimisers. RLlib's own looks twice through every gradient for infinities; our algorithms look at
        the losses instead."""
        for param, gradient in gradients_dict.items():
            param.grad = gradient
        for optimizer in self._named_optimizers.values():
            optimizer.step()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().after_gradient_based_update(timesteps=timesteps)
        means = (self._metric_sums / self._metric_count).tolist()
        self.metrics.log_dict(dict(zip(self.metric_names, means, strict=True)), key=DEFAULT_MODULE_ID, window=1)
        self._metric_sums, self._metric_count = None, 0

    def note(self, *values: torch.Tensor) -> None:
        """Take one update's metrics, scalars in the order of `metric_names`."""
        new = torch.stack([value.detach() for value in values])
        self._metric_sums = new if self._metric_sums is None else self._metric_sums + new
        self._metric_count += 1

    # ------------------------------------------------------------------------------------------------ saving

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        # RLlib's arrays are the live tensors' own memory: without a copy the state would go on learning.
        state = copy.deepcopy(super().get_state(*args, **kwargs))
        state[_PROGRESS] = {"num_updates": self._num_updates, "noise": self.noise_generator.get_state().numpy()}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        groups = [group for optimizer in self._named_optimizers.values() for group in optimizer.param_groups]
        rates = [group["lr"] for group in groups]
        super().set_state(copy.deepcopy(state))
        # The step sizes stay those of the settings: a trial that takes over another one's state may have its own.
        groups = [group for optimizer in self._named_optimizers.values() for group in optimizer.param_groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        if COMPONENT_RL_MODULE in state:
            # RLlib keeps its own networks where they have had more updates than those of the state; we go back.
            self.module.set_state(state[COMPONENT_RL_MODULE])
        if _PROGRESS in state:
            self._num_updates = state[_PROGRESS]["num_updates"]
            self._set_noise(state[_PROGRESS]["noise"])

    def _set_noise(self, state: np.ndarray) -> None:
        if len(state) == len(self.noise_generator.get_state()):
            # Copied, since what comes out of an object store is read-only.
            self.noise_generator.set_state(torch.from_numpy(state.copy()))
        else:
            # Written on another kind of device, whose generator is another one: a new stream, the same every time.
            self.noise_generator.manual_seed((self.config.seed_of_learning or 0) + self._num_updates)


def _minibatches(batch: dict[str, Any], batch_size: int) -> Iterator[dict[str, Any]]:
    """The rows in runs of `batch_size`, as views."""
    columns = batch[DEFAULT_MODULE_ID]
    for start in range(0, len(columns[Columns.REWARDS]), batch_size):
        yield {DEFAULT_MODULE_ID: _rows(columns, slice(start, start + batch_size))}


def _rows(columns: Any, rows: slice) -> dict[str, Any]:
    """These rows of every column; a column may hold columns, as an observation of several parts does."""
    return {
        name: column[rows] if isinstance(column, torch.Tensor) else _rows(column, rows)
        for name, column in columns.items()
    }
