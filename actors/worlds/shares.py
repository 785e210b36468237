"""Levels that shares of a chain of sub-tasks truly deserve."""

import numpy as np


def level_of(share: np.ndarray, num_ratings: int) -> np.ndarray:
    """Levels int64 [N] in [0, num_ratings) of shares [N] of sub-tasks done; -1 for those that are NaN.

    The best is for all of them, the worst for none; on a scale of more than two levels, some are never the worst.
    """
    known = np.isfinite(share)
    # Shares are sums of fractions, a little below or above what they stand for.
    share = np.where(known, np.asarray(share, dtype=np.float64) + 1e-4, 0.0)
    between = np.clip(np.floor(share * (num_ratings - 1)), min(1, num_ratings - 2), num_ratings - 2)
    levels = np.where(share >= 1.0, num_ratings - 1, np.where(share < 1e-3, 0, between))
    return np.where(known, levels, -1).astype(np.int64)
