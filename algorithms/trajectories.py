"""The carrier of recorded experience: one trajectory with one instruction, as RG-VLM (Lee et al. 2025, II-A) has it."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Trajectory:
    """T actions and the T + 1 observations around them.

    `frames` and `symbolic` may each be empty where a data set has none or a reader was told to leave them out.
    """

    episode_id: str
    """Unique in its data set."""
    instruction: str
    """What the actions were to achieve, in words; one for the whole trajectory."""
    actions: np.ndarray
    """[T] int64 for discrete actions, [T, A] float32 for continuous ones."""
    action_names: tuple[str, ...]
    """[T]: each action in words, such as 'turn left', as a rater is told."""
    sparse_rewards: np.ndarray
    """[T] float32: 1 for the action that completed the instruction, else 0."""
    terminated: np.ndarray
    """[T] bool: the episode ended for good with this action, so nothing is bootstrapped behind it."""
    truncated: np.ndarray
    """[T] bool: the recording ended with this action, though the episode could have gone on."""
    frames: tuple[bytes, ...] = ()
    """[T + 1] lossless PNG files; frame t is seen before action t, the last one after the last action."""
    symbolic: np.ndarray | None = None
    """[T + 1, ...] uint8: the simulator's own description of each state, where the source has one."""
    action_objects: tuple[str, ...] = ()
    """[T]: the object that each action is about, such as 'Mug'; empty text for none, empty tuple where the source has
    no such thing."""
    audits: dict[str, np.ndarray] = field(default_factory=dict)
    """[T] each, by name without `audit_`: what only the simulator knows, for judging raters, never for training."""
    rewards: dict[str, np.ndarray] = field(default_factory=dict)
    """[T] float32 each, by labeller: its dense reward; NaN where it gave none."""
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    """[T] float32 each, by labeller: what it answered, on its own scale; NaN where it gave nothing."""

    def __len__(self) -> int:
        return len(self.actions)
