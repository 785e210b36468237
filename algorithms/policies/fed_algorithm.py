"""What our RLlib algorithms share: they may be fed from outside, where RLlib expects an environment."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER_GROUP, DEFAULT_MODULE_ID
from ray.rllib.utils.checkpoints import Checkpointable

UPDATES_PER_CALL = 64
"""Gradient steps that one call to the learner takes at most: what a call costs is then shared, and memory bounded."""


class FedAlgorithm(Algorithm):
    """An algorithm that runs with env runners or without them, and with one learner, here or in an actor."""

    @property
    def updates_per_call(self) -> int:
        """Gradient steps that one call to the learner takes at most."""
        return UPDATES_PER_CALL

    def set_state(self, state: Mapping[str, Any]) -> None:
        rest = dict(state)
        if self.env_runner_group is None and COMPONENT_LEARNER_GROUP in rest:
            # RLlib goes on to synchronise env runners, without asking whether there are any.
            self.learner_group.set_state(rest.pop(COMPONENT_LEARNER_GROUP))
        super().set_state(rest)

    def save_to_path(self, path: Any = None, *args: Any, **kwargs: Any) -> str:
        """Write a checkpoint for `restore_from_path`."""
        return super().save_to_path(_from_root(path), *args, **kwargs)

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restore a checkpoint of `save_to_path`. Checkpoints hold pickles: restore only what you wrote yourself."""
        path = _from_root(path)
        if self.env_runner_group is None:
            # As in `set_state`: there are no env runners to synchronise.
            Checkpointable.restore_from_path(self, path, *args, **kwargs)
        else:
            super().restore_from_path(path, *args, **kwargs)

    def actor_weights(self) -> dict[str, np.ndarray]:
        """The actor's weights, for its `load_numpy` wherever it acts."""
        return self._on_learner(lambda learner: learner.module[DEFAULT_MODULE_ID].unwrapped().actor.numpy_weights())

    def _learn(self, num_updates: int) -> list[dict[str, Any]]:
        """Hand the learner as many batches, at most `UPDATES_PER_CALL`, and return what it reports."""
        raise NotImplementedError

    def _mean_metrics(
        self, num_updates: int, names: Sequence[str], losses: Sequence[str], suspect: str
    ) -> dict[str, float]:
        """Take gradient steps and return the means over them of the metrics `names`.

        Raises ValueError below one update, and FloatingPointError, naming the `suspect`, if one of `losses` is no
        longer finite.
        """
        if num_updates < 1:
            raise ValueError(f"num_updates {num_updates}: at least 1")
        sums = dict.fromkeys(names, 0.0)
        for count in shares(num_updates, self.updates_per_call):
            metrics = self._learn(count)[0][DEFAULT_MODULE_ID]
            for name in names:
                sums[name] += count * float(metrics[name].peek())
        means = {name: total / num_updates for name, total in sums.items()}
        if not all(math.isfinite(means[name]) for name in losses):
            raise FloatingPointError(
                f"the policy's losses are no longer finite ({means}); lower its learning rates or look at {suspect}"
            )
        return means

    def _on_learner(self, function: Any) -> Any:
        (result,) = self.learner_group.foreach_learner(function)
        return result.get()

    def _setup_logdir(self) -> None:
        """Under Tune the trial's folder; else none, where RLlib would leave an empty one in the home directory."""
        if self._storage:
            super()._setup_logdir()


def _from_root(path: Any) -> Any:
    """RLlib takes a path that does not begin at the root for an address without a scheme."""
    return path.resolve() if isinstance(path, Path) else path


def shares(total: int, largest: int) -> list[int]:
    """`total` in parts of at most `largest`."""
    return [min(largest, total - start) for start in range(0, total, largest)]
