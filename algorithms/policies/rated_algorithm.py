"""What the policies of online runs have in common: a replay that grows, whose rewards a reward model writes.

The online loop knows a policy by this alone.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from algorithms.episodes import EpisodeChunk
from algorithms.policies.fed_algorithm import FedAlgorithm
from algorithms.replay import ColumnarReplay

LARGEST_CALL = 2**27
"""Bytes of pictures that one call to the learner gets at most, but for a single batch that is larger."""

_REPLAY = "replay"
_SAMPLING = "rated_sac_sampling"
"""As checkpoints have named it since the first algorithm."""


class RatedAlgorithm(FedAlgorithm):
    """Learns from a `ColumnarReplay` whose rewards a reward model writes.

    A checkpoint (`save_to_path`, `restore_from_path`, `from_checkpoint`) holds all that learning depends on: networks,
    targets, optimiser moments, replay, and the states of all random generators. An algorithm that is fed from outside
    continues from it bit for bit. A subclass makes `replay` in `setup`, and learns in `_learn`.
    """

    replay: ColumnarReplay
    told: ClassVar[tuple[str, ...]]
    """Metrics of its learner that `update` returns."""
    losses: ClassVar[tuple[str, ...]]
    """Those that must stay finite."""

    def setup(self, config: Any) -> None:
        super().setup(config)
        self._rng = np.random.default_rng(self.config.seed_of_learning)
        self._updates_owed = 0.0
        """Of an algorithm that RLlib's env runners feed."""

    # ------------------------------------------------------------------------------------------------ fed from outside

    def add_chunk(
        self,
        chunk: EpisodeChunk,
        learned_rewards: np.ndarray,
        version: int,
        picture_features: np.ndarray | None = None,
    ) -> np.ndarray:
        """Store experience with the rewards [T] of reward model `version`; returns the steps' global indices [T].

        `picture_features` are as `ColumnarReplay.add` takes them.
        """
        return self.replay.add(chunk, learned_rewards, version, picture_features)

    def relabel(self, indices: np.ndarray, rewards: np.ndarray, version: int) -> None:
        """Write the learned rewards of these steps anew, as given by reward model `version`."""
        self.replay.relabel(indices, rewards, version)

    def update(self, num_updates: int) -> dict[str, float]:
        """Take gradient steps on fresh batches; returns the means over them of the metrics that are `told`.

        Raises ValueError without updates or experience, and FloatingPointError if a loss is no longer finite.
        """
        return self._mean_metrics(num_updates, self.told, self.losses, "the rewards")

    def reset_critic(self) -> None:
        """Start the critics and their targets anew: what they learned from other rewards is of no use now."""
        self._on_learner(lambda learner: learner.reset_critic())

    def set_observation_normalisation(self, shift: np.ndarray, scale: np.ndarray) -> None:
        """See observations as (observation - shift) * scale, both [observation], from now on."""
        self._on_learner(lambda learner: learner.set_observation_normalisation(shift, scale))

    # ------------------------------------------------------------------------------------------------ checkpoints

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_REPLAY, components, not_components):
            state[_REPLAY] = self.replay.state()
            state[_SAMPLING] = {"rng": self._rng.bit_generator.state, "updates_owed": self._updates_owed}
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        if _REPLAY in state:
            self.replay.set_state(state[_REPLAY])
            self._rng.bit_generator.state = state[_SAMPLING]["rng"]
            self._updates_owed = state[_SAMPLING]["updates_owed"]

    # ------------------------------------------------------------------------------------------------ inside

    def _sample(self, num_steps: int) -> dict[str, np.ndarray]:
        """As `ColumnarReplay.sample`, with what a step that ends its episode is worth."""
        rows = self.replay.sample(num_steps, self._rng)
        if self.config.termination == "stays":
            forever = np.where(rows["terminated"] > 0.0, 1.0 / (1.0 - self.config.gamma), 1.0)
            rows["learned_reward"] = (rows["learned_reward"] * forever).astype(np.float32)
        return rows

    @property
    def updates_per_call(self) -> int:
        most, pixels = super().updates_per_call, self.config.pixel_shape
        if pixels is None:
            return most
        return max(1, min(most, LARGEST_CALL // (self.config.train_batch_size_per_learner * pixels.window_bytes)))
