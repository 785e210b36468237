"""Whether rewards pay for delay: whether of the ways that lead to the end the longer ones return more."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

FEWEST = 20
"""Trajectories from which on a rank correlation says something."""
PAYS = 0.5
"""A correlation from which on delay is taken to pay. The published form of RG-VLM comes to 0.9 and more, the sparse
reward to -1."""
RECOMMENDED = "data.reward.middle=0.8 data.reward.dense_weight=0.4 data.reward.sparse=sum"
"""What to try first where delay pays: scores about a middle, joined to the sparse reward (docs/evidence.md). The middle
suits raters that are generous to actions that lead away, as the pocket rater is."""


def discounted_return(rewards: np.ndarray, discount: float) -> float:
    """What rewards [T] come to from their beginning; those that are not known, NaN, as 0."""
    return float(np.nansum(rewards * discount ** np.arange(len(rewards))))


def delay_correlation(returns: Sequence[float], lengths: Sequence[int]) -> float | None:
    """Spearman's correlation of returns with lengths, over trajectories that all came to their end.

    None where it is not defined: fewer than FEWEST, or all equal.
    """
    if len(returns) < FEWEST or len(set(lengths)) < 2 or len(set(returns)) < 2:
        return None
    return float(spearmanr(returns, lengths).statistic)


def delay_warning(correlations: dict[str, float | None], discount: float) -> str | None:
    """One line that names the rewards for which delay pays, and what to do about it; None if there are none."""
    paying = {name: value for name, value in correlations.items() if value is not None and value >= PAYS}
    if not paying:
        return None
    named = ", ".join(f"{name} ({value:.2f})" for name, value in paying.items())
    return (
        f"delay pays under {named}: a longer way to the goal returns more (rank correlation of a trajectory's return, "
        f"discounted by {discount:g}, with its length). Learn with {RECOMMENDED}, and compare with "
        "policy.actor_loss=cloning (docs/offline.md)"
    )
