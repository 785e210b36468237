"""How far ratings agree with the simulator; for audits, since nobody who learns may see that."""

import numpy as np

from actors.worlds.families import family_of
from actors.worlds.settings import TaskSettings
from algorithms.scales import CANNOT_TELL


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


def agreement_of_pairs(
    task: TaskSettings, preferences: np.ndarray, observations: np.ndarray, env_returns: np.ndarray
) -> dict[str, float]:
    """Of pairs in which true progress differs, how many were told apart, and how many of these rightly, if known.

    `preferences` int64 [N] are places in `algorithms.scales.PREFERENCES`, `observations` [N, 2, observation] seen in
    both, and `env_returns` float32 [N, 2].
    """
    of_each = [family_of(task).progress(task, observations[:, at], env_returns[:, at]) for at in (0, 1)]
    if not len(preferences) or any(progress is None for progress in of_each):
        return {}
    gained = of_each[1] - of_each[0]
    differ = np.isfinite(gained) & (gained != 0.0)
    told = differ & (preferences != CANNOT_TELL)
    metrics = {}
    if differ.any():
        metrics["rating/told_apart"] = float(np.mean(told[differ]))
    if told.any():
        metrics["rating/preference_accuracy"] = float(np.mean((preferences == 1)[told] == (gained > 0.0)[told]))
    return metrics
