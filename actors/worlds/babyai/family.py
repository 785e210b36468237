"""BabyAI's chains, as a family of worlds."""

import numpy as np

from actors.worlds.babyai.settings import BabyAITask, spec_of
from actors.worlds.family import Family, PictureFacts
from actors.worlds.world import World, WorldSpec


class BabyAIFamily(Family):
    """Choices, a grid, an instruction for each episode; success and progress are known."""

    name = "babyai"
    task = BabyAITask
    tried_first = True

    def known_spec(self, task: BabyAITask) -> WorldSpec:
        """All but whether there are such levels."""
        return spec_of(task)

    def make(self, task: BabyAITask) -> World:
        """Raises WorldError at a reset that finds no level."""
        from actors.worlds.babyai.environment import ChainWorld

        return ChainWorld(task)

    def pictures_of(self, world: World) -> PictureFacts:
        """From above, rows from top to bottom."""
        return PictureFacts(world.picture_px, upright=True)

    def progress(self, task: BabyAITask, observations: np.ndarray, returns: np.ndarray) -> np.ndarray:
        """The share of sub-tasks done, which is what the episode has been paid so far."""
        return np.clip(returns, 0.0, 1.0).astype(np.float32)

    def levels(self, task: BabyAITask, observations: np.ndarray, returns: np.ndarray, num_ratings: int) -> np.ndarray:
        """The worst where no sub-task is done, the best where all are, and those between by their share."""
        known = np.isfinite(returns)
        levels = np.full(len(returns), -1, dtype=np.int64)
        levels[known] = level_of(returns[known], num_ratings)
        return levels


def level_of(share: np.ndarray, num_ratings: int) -> np.ndarray:
    """Levels int64 [N] in [0, num_ratings) of shares [N] of sub-tasks done.

    The best is for all of them, the worst for none; on a scale of more than two levels, some are never the worst.
    """
    # Shares are sums of fractions, a little below or above what they stand for.
    share = np.asarray(share, dtype=np.float64) + 1e-4
    between = np.clip(np.floor(share * (num_ratings - 1)), min(1, num_ratings - 2), num_ratings - 2)
    return np.where(share >= 1.0, num_ratings - 1, np.where(share < 1e-3, 0, between)).astype(np.int64)
