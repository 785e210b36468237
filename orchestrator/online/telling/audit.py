"""Learned rewards beside what is true of the same steps."""

import numpy as np

from actors.worlds.families import family_of
from actors.worlds.settings import TaskSettings
from algorithms.replay import ColumnarReplay

AUDITED_STEPS = 4000
"""Steps of the replay that are compared, about."""


def rewards_beside_progress(
    task: TaskSettings, replay: ColumnarReplay
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Environment steps, learned rewards and true progress [N] over the whole replay; None where that is not known."""
    indices = replay.indices[:: max(1, len(replay) // AUDITED_STEPS)]
    progress = family_of(task).progress(task, replay.next_observations(indices), replay.returns(indices))
    if progress is None:
        return None
    known = np.isfinite(progress)
    return (indices[known] + 1) * task.action_repeat, replay.learned_rewards(indices[known]), progress[known]
