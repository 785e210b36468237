"""What the labels of a trajectory are made into before a policy learns from them.

A labeller's rewards are never negative as published, so that of two ways to the goal the longer pays more. Each form
here is one answer to that, or none.
"""

from typing import Literal

import numpy as np

RewardForm = Literal["scores", "progress", "cumulated", "success"]
"""See `formed`."""


def formed(
    rewards: np.ndarray, sparse: np.ndarray, form: RewardForm, *, weight: float, middle: float, discount: float
) -> np.ndarray:
    """Rewards float32 [T] from a labeller's `rewards` [T] and the sparse ones [T]; NaN, for none, stays NaN.

    - `scores`: weight * (reward - middle). With a middle of 0 the published form (RG-VLM, Lee et al. 2025). With one
      half way between what is given to actions that lead away and to those that help, a detour and the way back come to
      nothing.
    - `progress`: the rewards say how far the trajectory has come, in [0, 1], and an action earns weight * (discount *
      progress after it - progress before it): a potential (Ng, Harada and Russell 1999). Before the first action it is
      0, as GVL has it. The end keeps its own, so what a trajectory returns is the progress it reached, discounted by
      its length, and nothing on the way adds to that.
    - `cumulated`: the same of a progress that is the sum of (reward - middle) so far; an action without a reward adds
      nothing to it.
    - `success`: the rewards, those below 0 as 0, divided so that they sum to weight * the trajectory's sparse reward,
      as in return redistribution (RUDDER, Arjona-Medina et al. 2019): nothing for a failure, and no more for a long
      success than for a short one. Where all are 0 it is shared out evenly.
    """
    if form == "scores":
        return (weight * (rewards - np.float32(middle))).astype(np.float32)
    values = rewards.astype(np.float64)
    known = ~np.isnan(values)
    if form == "progress":
        found = _differences(values, discount)
    elif form == "cumulated":
        found = np.where(known, _differences(np.cumsum(np.where(known, values - middle, 0.0)), discount), np.nan)
    else:
        found = _sharing(values, known, float(sparse.sum(dtype=np.float64)))
    return (weight * found).astype(np.float32)


def _differences(progress: np.ndarray, discount: float) -> np.ndarray:
    return discount * progress - np.concatenate([[0.0], progress[:-1]])


def _sharing(values: np.ndarray, known: np.ndarray, success: float) -> np.ndarray:
    paid = np.where(known, np.maximum(values, 0.0), np.nan)
    total = float(paid[known].sum())
    shares = paid / total if total > 0.0 else np.where(known, 1.0 / max(int(known.sum()), 1), np.nan)
    return success * shares
