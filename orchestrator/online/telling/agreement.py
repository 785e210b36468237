"""How far ratings agree with the simulator; for audits, since nobody who learns may see that."""

import numpy as np

from actors.worlds.families import family_of
from actors.worlds.settings import TaskSettings


def agreement(
    task: TaskSettings,
    num_ratings: int,
    ratings: np.ndarray,
    successes: np.ndarray,
    observations: np.ndarray,
    env_returns: np.ndarray,
) -> dict[str, float]:
    """Shares of ratings int64 [N] that agree with the success flag, and with the task's true stages, as far as known.

    `successes` bool [N] at what was rated, `observations` [N, observation] seen there, and `env_returns` float32 [N],
    what the episodes had been paid by then.
    """
    metrics = {}
    if task.knows_success:
        metrics["reward/success_accuracy"] = float(np.mean((ratings == num_ratings - 1) == successes))
    levels = family_of(task).levels(task, observations, env_returns, num_ratings)
    if levels is not None and (levels >= 0).any():
        metrics["rating/stage_accuracy"] = float(np.mean((ratings == levels)[levels >= 0]))
    return metrics
