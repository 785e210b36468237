"""BabyAI's chains, as a family of worlds."""

import numpy as np

from actors.worlds.babyai.settings import BabyAITask, spec_of
from actors.worlds.family import Family, PictureFacts
from actors.worlds.shares import level_of
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

    def knows_levels(self, task: BabyAITask) -> bool:
        """Of every chain."""
        return True

    def levels(self, task: BabyAITask, observations: np.ndarray, returns: np.ndarray, num_ratings: int) -> np.ndarray:
        """The worst where no sub-task is done, the best where all are, and those between by their share."""
        return level_of(returns, num_ratings)
