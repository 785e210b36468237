"""From consecutive steps of an episode to what each is worth: the world's own rewards, or a function by import path."""

from collections.abc import Callable

import numpy as np

from actors.worlds.foreign import imported, told
from actors.worlds.world import WorldError
from algorithms.episodes import EpisodeChunk

Take = Callable[[EpisodeChunk], np.ndarray]
"""From consecutive steps of an episode to the reward of each, [T]."""


def reward_function(source: str) -> Take:
    """What `reward.source` names. Raises WorldError if it is `module:function`, and cannot be imported."""
    own: dict[str, Take] = {"sparse": _success_of, "environment": _environment_reward_of}
    if source in own:
        return own[source]
    function = imported(source, "reward.source")
    if not callable(function):
        raise WorldError(f"reward.source: {source!r} is {type(function).__name__}, and no function")

    def take(chunk: EpisodeChunk) -> np.ndarray:
        with told(f"reward.source: {source}"):
            rewards = np.asarray(function(chunk), dtype=np.float32)
        if rewards.shape != (len(chunk),) or not np.isfinite(rewards).all():
            what = f"has shape {rewards.shape}" if rewards.shape != (len(chunk),) else "is not finite"
            raise WorldError(f"reward.source: what {source} gives for {len(chunk)} steps {what}; one number a step")
        return rewards

    return take


def _success_of(chunk: EpisodeChunk) -> np.ndarray:
    return chunk.successes.astype(np.float32)


def _environment_reward_of(chunk: EpisodeChunk) -> np.ndarray:
    return chunk.env_rewards.astype(np.float32)
