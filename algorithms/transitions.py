"""Recorded transitions as columns, and batches of them. Columns may be memory-mapped files: a batch reads its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

ACTION_LIMIT = 1.0 + 1e-5
"""Size of a continuous action's entries at most: policies act within [-1, 1], and rounding may pass that a little."""


@dataclass(frozen=True)
class Transitions:
    """N transitions of episodes that each stand together in `observations`.

    Rows of `observations` are states: an episode of T actions has T + 1 of them, one after another.
    """

    observations: np.ndarray
    """[states, ...] of any type."""
    state: np.ndarray
    """[N] int64: row of the state that the action was taken in. The next row is the state after it."""
    first_state: np.ndarray
    """[N] int64: row of the episode's first state."""
    actions: np.ndarray
    """[N] int64 for discrete actions, [N, 2] int64 where they are about objects (action, object class), [N, action]
    float32 in [-1, 1] for continuous ones."""
    rewards: np.ndarray
    """[N] float32; NaN where nobody labelled the action."""
    terminated: np.ndarray
    """[N] bool: the episode's value ends here. False at a time limit."""
    instruction: np.ndarray
    """[N] int64: row of `instructions`."""
    instructions: np.ndarray
    """[M, ...]: encoded instructions, as word ids or as sentence embeddings."""

    def __post_init__(self) -> None:
        columns = (self.state, self.first_state, self.actions, self.rewards, self.terminated, self.instruction)
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"columns differ in length: {[len(column) for column in columns]}")
        if not len(self):
            raise ValueError("there is no transition")
        if int(self.state.max()) + 1 >= len(self.observations):
            raise ValueError("the last transition has no state after it")
        # NaN is not within either.
        if self.actions.dtype.kind == "f" and not (np.abs(self.actions) <= ACTION_LIMIT).all():
            raise ValueError("continuous actions must lie in [-1, 1]: no policy can express others")

    def __len__(self) -> int:
        return len(self.state)

    def with_rewards(self, rewards: np.ndarray) -> "Transitions":
        """The same transitions with other rewards [N]."""
        return replace(self, rewards=np.asarray(rewards, dtype=np.float32))

    @property
    def num_unlabelled(self) -> int:
        """Transitions without a reward."""
        return int(np.isnan(self.rewards).sum())

    def history(self, states: np.ndarray, first_states: np.ndarray, length: int) -> np.ndarray:
        """Observations [B, length, ...] up to and including `states` [B], oldest first.

        Before an episode's first state stands the first state again.
        """
        rows = states[:, None] - np.arange(length - 1, -1, -1)[None, :]
        return self.observations[np.maximum(rows, first_states[:, None])]

    def batch(self, rows: np.ndarray, history: int = 1) -> dict[str, Any]:
        """Columns of these transitions [B].

        `observation` and `next_observation` are [B, history, ...], `instruction` [B, ...], `reward` float32 [B] with 0
        where it is unknown, `reward_known` and `terminated` float32 [B].
        """
        state, first = self.state[rows], self.first_state[rows]
        rewards = self.rewards[rows]
        known = ~np.isnan(rewards)
        return {
            "observation": self.history(state, first, history),
            "next_observation": self.history(state + 1, first, history),
            "instruction": self.instructions[self.instruction[rows]],
            "action": self.actions[rows],
            "reward": np.where(known, rewards, 0.0).astype(np.float32),
            "reward_known": known.astype(np.float32),
            "terminated": self.terminated[rows].astype(np.float32),
        }


class EpochSampler:
    """Rows in a new random order each epoch. Where it stands is two numbers, whatever the size of the data."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self._num_rows = num_rows
        self._seed = seed
        self._epoch = 0
        self._position = 0
        self._order = self._order_of(0)

    def take(self, count: int) -> np.ndarray:
        """The next `count` rows; an epoch's end is no batch's end."""
        parts = []
        while count:
            if self._position == self._num_rows:
                self._epoch += 1
                self._position = 0
                self._order = self._order_of(self._epoch)
            part = self._order[self._position : self._position + count]
            self._position += len(part)
            count -= len(part)
            parts.append(part)
        return np.concatenate(parts)

    def state(self) -> Mapping[str, int]:
        """Where it stands, to go on from there."""
        return {"num_rows": self._num_rows, "seed": self._seed, "epoch": self._epoch, "position": self._position}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Go on from a `state`. Raises ValueError if it is of data of another size."""
        if state["num_rows"] != self._num_rows:
            raise ValueError(
                f"the checkpoint learned from {state['num_rows']} transitions and there are {self._num_rows}: "
                "the data set has changed; start the run anew"
            )
        self._seed, self._epoch, self._position = state["seed"], state["epoch"], state["position"]
        self._order = self._order_of(self._epoch)

    def _order_of(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch]).permutation(self._num_rows)


def join_episodes(episodes: Sequence[Mapping[str, Any]], instructions: np.ndarray) -> Transitions:
    """Transitions of episodes, each with `observations` [T + 1, ...], `actions` [T, ...], `rewards` [T], `terminated`
    (bool, of the last step) and `instruction` (a row of `instructions`)."""
    lengths = np.array([len(episode["actions"]) for episode in episodes], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int64)
    ends = np.cumsum(lengths) - 1
    terminated = np.zeros(int(lengths.sum()), dtype=bool)
    terminated[ends] = [episode["terminated"] for episode in episodes]
    return Transitions(
        observations=np.concatenate([episode["observations"] for episode in episodes]),
        state=np.concatenate([start + np.arange(length) for start, length in zip(first, lengths, strict=True)]),
        first_state=np.repeat(first, lengths),
        actions=np.concatenate([episode["actions"] for episode in episodes]),
        rewards=np.concatenate([episode["rewards"] for episode in episodes]).astype(np.float32),
        terminated=terminated,
        instruction=np.repeat([int(episode["instruction"]) for episode in episodes], lengths),
        instructions=instructions,
    )
