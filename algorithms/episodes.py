"""The carrier of experience: an episode, or a run of consecutive steps of one."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scene:
    """What an episode's frames share: model arrays that only a reset changes, by name, in the simulator's own dtype."""

    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class EpisodeChunk:
    """T consecutive agent steps of one episode of one environment.

    The learner reads `observations`, `actions` and the flags. `env_rewards` and `successes` exist for evaluation and
    audit only and stay in columns of their own.
    """

    episode_id: str
    """Unique in a run, and sortable by time: worker, environment and episode number."""
    first_step: int
    """Agent step of the episode at which the chunk starts."""
    observations: np.ndarray
    """[T + 1, observation] float32; row t is seen before action t, the last row after the last action."""
    actions: np.ndarray
    """[T, action] float32 in [-1, 1]; where an action is a choice, its number in [T, 1]."""
    env_rewards: np.ndarray
    """[T] float32: the simulator's own reward, summed over repeated actions."""
    successes: np.ndarray
    """[T] bool: the simulator's success flag, at any of the repeated actions."""
    terminated: bool
    """The last step ended the episode for good: no bootstrapping."""
    truncated: bool
    """The last step hit the time limit."""
    frame_states: np.ndarray
    """[T + 1, F] float32: with the scene, rebuilds the frame of each observation bit-exactly."""
    scene: Scene
    """The rest of what the frames need."""
    pixels: np.ndarray | None = None
    """[T + 1, px, px, 3] uint8: what a policy of pictures sees, a frame for each observation; None for others."""
    frames: bytes | None = None
    """T + 1 frames as one block of `frame_codec`, of a world that cannot draw them again; then `frame_states` are [T +
    1, 0] and the scene is empty."""
    instruction: str = ""
    """What is to be done in this episode, where each has an instruction of its own; else empty."""

    def __len__(self) -> int:
        return len(self.actions)
