"""The reward-model learner: ratings in, a reward model with a version out. A plain class; Ray is not needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from actors.reward.frame_cache import FrameCache
from algorithms.instructions import HashedWords, ReadRows
from algorithms.language_networks import PolicyShape
from algorithms.reward_model import RewardModel
from algorithms.settings import RewardModelSettings

RELABEL_FRAMES = 1024
"""Cached frames that are copied together for scoring."""


@dataclass(frozen=True)
class RewardUpdate:
    """What a training session brought."""

    version: int
    """Version of the reward model from now on; the first session makes version 1."""
    metrics: dict[str, float]
    """Of `RewardModel.fit`."""


@dataclass(frozen=True)
class ScoredSteps:
    """Rewards of the agent steps whose frames are cached. All others have to be scored from frames drawn again."""

    indices: np.ndarray
    """[N] int64: the steps' numbers in the run, in order."""
    rewards: np.ndarray
    """[N] float32."""
    version: int
    """Version of the reward model that gave them."""


class RewardLearner:
    """Holds the reward model, the ratings it learns from, and frames for relabelling."""

    def __init__(
        self,
        settings: RewardModelSettings,
        num_ratings: int,
        observation_size: int | None,
        seed: int,
        reads: PolicyShape | None = None,
        compares: bool = False,
    ) -> None:
        """`observation_size` may be absent for a frame reward model. `reads`: what networks fit that read the
        instruction of each episode; without it instructions are not looked at. `compares`: segments are pairs of
        frames or states, and their ratings, of which there are 2, say which of the two is preferred.

        Raises RuntimeError if the settings ask for a GPU that this process cannot see.
        """
        num_gpus = settings.num_gpus or 0.0
        if num_gpus > 0 and not torch.cuda.is_available():
            raise RuntimeError(
                f"reward_model.num_gpus {num_gpus:g}: torch sees no GPU in the reward learner's process; "
                "set it to 0, or run where a GPU is"
            )
        if num_gpus == 0:
            # The actor has one core; with more threads than that, processes fight.
            torch.set_num_threads(1)
        self._num_ratings = num_ratings
        self._model = RewardModel(settings, observation_size, seed, "cuda" if num_gpus > 0 else "cpu", reads, compares)
        self._rows = None if reads is None else ReadRows(HashedWords(reads.num_words, reads.instruction_length))
        self._rng = np.random.default_rng(seed)
        self._version = 0
        self._inputs: list[np.ndarray] = []
        self._instructions: list[str] = []
        self._ratings = np.zeros(0, dtype=np.int64)
        self._cache = FrameCache(int(settings.frame_cache_gb * 1e9))

    def add_ratings(self, inputs: np.ndarray, ratings: np.ndarray, instructions: Sequence[str] = ()) -> None:
        """Remember rated segments for all trainings to come.

        Args:
            inputs: Frames uint8 [N, px, px, 3] or states float32 [N, observation]; [N, F, ...] for segments of F.
            ratings: Integers [N] in [0, num_ratings), or floats [N, num_ratings], the probability of each; always the
                one or the other. Raises TypeError for anything else, such as a `RatingFailure`: a question without an
                answer teaches nothing. Raises ValueError if a rating is not on the scale, or if numbers or shapes do
                not agree.
            instructions: N texts, for a model that reads.
        """
        checked = self._checked(ratings)
        if len(inputs) != len(checked):
            raise ValueError(f"{len(inputs)} rated segments, but {len(checked)} ratings; give one rating for each")
        if self._rows is not None and len(instructions) != len(inputs):
            raise ValueError(
                f"{len(inputs)} rated segments, but {len(instructions)} instructions, which the model reads"
            )
        if self._inputs and inputs.shape[1:] != self._inputs[0].shape[1:]:
            raise ValueError(f"rated segments of shape {inputs.shape[1:]} cannot join {self._inputs[0].shape[1:]}")
        # Copied: what Ray hands over lives in shared memory that others need.
        self._inputs.append(np.array(inputs))
        self._instructions += instructions
        self._ratings = np.concatenate([self._ratings, checked]) if len(self._ratings) else checked

    def train(self, ratings: np.ndarray | None = None, weights: np.ndarray | None = None) -> RewardUpdate:
        """Fit the model to all ratings and raise its version.

        `ratings` [N] stand in for those added, for this time, in the order of adding: a control deals them out anew.
        `weights` float32 [N] say how much each counts in the loss; absent: all alike.
        Raises ValueError if there are none, or not as many as were added.
        """
        labels = self._ratings if ratings is None else self._checked(ratings)
        if not len(labels):
            raise ValueError("train: no ratings have been added")
        if len(labels) != len(self._ratings):
            raise ValueError(f"train: {len(labels)} ratings were given for {len(self._ratings)} segments")
        self._inputs = [np.concatenate(self._inputs)]
        words = self._words(self._instructions)
        metrics = self._model.fit(self._inputs[0], labels, self._num_ratings, self._rng, words, weights)
        self._version += 1
        return RewardUpdate(self._version, metrics)

    def score(
        self, inputs: np.ndarray | Sequence[np.ndarray], instructions: Sequence[str] = ()
    ) -> tuple[np.ndarray, int]:
        """Rewards float32 [N] of frames uint8 [N, px, px, 3] or states float32 [N, observation], and the version.

        A list of such arrays counts as one. `instructions`: N texts, for a model that reads.
        """
        return self._model.score(_joined(inputs), self._words(instructions)), self._version

    def opinions(self, inputs: np.ndarray, instructions: Sequence[str] = ()) -> np.ndarray:
        """How probable each member finds each answer about these segments or pairs, float32 [members, N, num_ratings].

        `inputs` and `instructions` are as those of `add_ratings`. Needs ratings; changes nothing.
        """
        rated, known = np.concatenate(self._inputs), self._words(self._instructions)
        return self._model.opinions(inputs, rated, self._ratings, self._num_ratings, self._words(instructions), known)

    def cache_frames(
        self, first_index: int, frames: np.ndarray | Sequence[np.ndarray], instructions: Sequence[str] = ()
    ) -> None:
        """Keep the frames seen after the agent steps from `first_index` on, and for a model that reads the steps'
        instructions, for `relabel`."""
        self._cache.add(first_index, _joined(frames), self._words(instructions))

    def relabel(self, oldest_index: int = 0) -> ScoredSteps:
        """Score every cached frame of agent steps from `oldest_index` on; older ones are forgotten."""
        self._cache.drop_before(oldest_index)
        indices, rewards = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.float32)]
        for steps, frames, words in self._cache.groups(RELABEL_FRAMES):
            # In order, so that the older ones come first; a view, because frames are many bytes.
            first = int(np.searchsorted(steps, oldest_index))
            indices.append(steps[first:])
            rewards.append(self._model.score(frames[first:], None if words is None else words[first:]))
        return ScoredSteps(np.concatenate(indices), np.concatenate(rewards), self._version)

    def publish(self) -> tuple[dict[str, np.ndarray], int]:
        """Copies of the model's weights by name, and its version."""
        return self._model.weights(), self._version

    def set_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Score as the model did that published these. Raises RuntimeError if the networks differ."""
        self._model.load_weights(weights)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the ratings, which the store holds, and the frames, which can be drawn.

        Tensors, numbers and strings only, so that `torch.load(weights_only=True)` reads it back.
        """
        return {"model": self._model.state_dict(), "rng": self._rng.bit_generator.state, "version": self._version}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned; with the same ratings added in the same order, training is bit-exact."""
        self._model.load_state_dict(state["model"])
        self._rng.bit_generator.state = state["rng"]
        self._version = state["version"]

    def _words(self, instructions: Sequence[str]) -> np.ndarray | None:
        """int32 [N, words]; None if the model does not read."""
        return None if self._rows is None else self._rows.of(instructions)

    def _checked(self, ratings: np.ndarray) -> np.ndarray:
        array = np.asarray(ratings)
        if array.dtype.kind == "f" and array.ndim == 2:
            return self._checked_soft(array)
        if array.dtype.kind not in "iu":
            raise TypeError(f"ratings must be integers, not {array.dtype}: a failed question is never a rating")
        if array.ndim != 1 or (len(array) and not 0 <= array.min() <= array.max() < self._num_ratings):
            raise ValueError(f"ratings must be a list of levels from 0 to {self._num_ratings - 1}")
        return array.astype(np.int64)

    def _checked_soft(self, array: np.ndarray) -> np.ndarray:
        is_whole = array.shape[1] == self._num_ratings and (array >= 0.0).all() and np.allclose(array.sum(axis=1), 1.0)
        if not is_whole:
            raise ValueError(f"soft ratings must be the probabilities of {self._num_ratings} levels, which sum to 1")
        return array.astype(np.float32)


def _joined(arrays: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    return arrays if isinstance(arrays, np.ndarray) else np.concatenate(list(arrays))
