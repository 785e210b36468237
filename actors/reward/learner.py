"""The reward-model learner: ratings in, a reward model with a version out. A plain class; Ray is not needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from actors.reward.frame_cache import FrameCache
from algorithms.reward_model import RewardModel
from algorithms.settings import RewardModelSettings


@dataclass(frozen=True)
class RewardUpdate:
    """What a training session brought."""

    version: int
    """Version of the reward model from now on; the first session makes version 1."""
    metrics: dict[str, float]
    """Of `RewardModel.fit`."""


@dataclass(frozen=True)
class ScoredSteps:
    """Rewards of agent steps by their number in the run."""

    indices: np.ndarray
    """[N] int64."""
    rewards: np.ndarray
    """[N] float32."""
    version: int


class RewardLearner:
    """Holds the reward model, the ratings it learns from, and frames for relabelling."""

    def __init__(
        self, settings: RewardModelSettings, num_ratings: int, observation_size: int | None, seed: int
    ) -> None:
        """`observation_size` may be absent for a frame reward model."""
        device = "cuda" if settings.num_gpus > 0 else "cpu"
        if device == "cpu":
            torch.set_num_threads(1)
        self._num_ratings = num_ratings
        self._model = RewardModel(settings, observation_size, seed, device)
        self._rng = np.random.default_rng(seed)
        self._version = 0
        self._inputs: list[np.ndarray] = []
        self._ratings: list[np.ndarray] = []
        self._cache = FrameCache(int(settings.frame_cache_gb * 1e9))

    def add_ratings(self, inputs: np.ndarray, ratings: np.ndarray) -> None:
        """Add rated segments: frames uint8 [N, F, px, px, 3] or states float32 [N, F, observation], and int64 [N].

        Raises TypeError unless `ratings` are integers: an answer that failed has none. Raises ValueError for a level
        outside the scale.
        """
        ratings = np.asarray(ratings)
        if ratings.dtype.kind not in "iu":
            raise TypeError(f"ratings must be integers, not {ratings.dtype}: a failed question is never a rating")
        if len(inputs) != len(ratings):
            raise ValueError(f"{len(inputs)} segments, but {len(ratings)} ratings")
        if len(ratings) and not (0 <= ratings.min() and ratings.max() < self._num_ratings):
            raise ValueError(f"ratings must lie in [0, {self._num_ratings}), got {ratings.min()} to {ratings.max()}")
        if len(ratings):
            self._inputs.append(np.array(inputs))
            self._ratings.append(ratings.astype(np.int64))

    def train(self, ratings: np.ndarray | None = None) -> RewardUpdate:
        """Fit the model to all ratings and raise its version.

        `ratings` int64 [N] replace those added, for this time, in the order of adding: a control deals them out anew.
        """
        if not self._ratings:
            raise ValueError("train: no ratings have been added")
        known = np.concatenate(self._ratings)
        if ratings is not None and len(ratings) != len(known):
            raise ValueError(f"train: {len(ratings)} ratings were given for {len(known)} segments")
        targets = known if ratings is None else np.asarray(ratings, dtype=np.int64)
        metrics = self._model.fit(np.concatenate(self._inputs), targets, self._num_ratings, self._rng)
        self._version += 1
        return RewardUpdate(self._version, metrics)

    def score(self, inputs: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
        """Rewards float32 [N] of frames uint8 [N, px, px, 3] or states float32 [N, observation], and the version.

        A list of such arrays counts as one.
        """
        return self._model.score(_joined(inputs)), self._version

    def cache_frames(self, first_index: int, frames: np.ndarray | Sequence[np.ndarray]) -> None:
        """Keep the frames seen after the agent steps from `first_index` on, for `relabel`."""
        self._cache.add(first_index, _joined(frames))

    def relabel(self, oldest_index: int = 0) -> ScoredSteps:
        """Score every cached frame of agent steps from `oldest_index` on; older ones are forgotten."""
        self._cache.drop_before(oldest_index)
        blocks = self._cache.blocks()
        if not blocks:
            return ScoredSteps(np.zeros(0, np.int64), np.zeros(0, np.float32), self._version)
        indices = np.concatenate([np.arange(first, first + len(frames)) for first, frames in blocks])
        rewards = np.concatenate([self._model.score(frames) for _, frames in blocks])
        held = indices >= oldest_index
        return ScoredSteps(indices[held], rewards[held], self._version)

    def publish(self) -> tuple[dict[str, np.ndarray], int]:
        """Copies of the model's weights by name, and its version."""
        return self._model.weights(), self._version

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the ratings, which the store holds, and the frames, which can be drawn."""
        return {"model": self._model.state_dict(), "rng": self._rng.bit_generator.state, "version": self._version}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._model.load_state_dict(state["model"])
        self._rng.bit_generator.state = state["rng"]
        self._version = state["version"]


def _joined(arrays: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    return arrays if isinstance(arrays, np.ndarray) else np.concatenate(list(arrays))
