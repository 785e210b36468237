"""AI2-THOR, as a family of worlds."""

import numpy as np

from actors.worlds.family import Family, PictureFacts
from actors.worlds.shares import level_of
from actors.worlds.thor.settings import ThorTaskSettings
from actors.worlds.world import World


class ThorFamily(Family):
    """Choices, pictures alone, an instruction for each episode; success and progress are known."""

    name = "thor"
    task = ThorTaskSettings

    def make(self, task: ThorTaskSettings) -> World:
        """Raises WorldError."""
        from actors.worlds.thor.environment import ThorWorld

        return ThorWorld(task)

    def pictures_of(self, world: World) -> PictureFacts:
        """As the agent holds its head."""
        return PictureFacts(upright=True)

    def progress(self, task: ThorTaskSettings, observations: np.ndarray, returns: np.ndarray) -> np.ndarray:
        """The share of sub-tasks done, which is what the episode has been paid so far."""
        return np.clip(returns, 0.0, 1.0).astype(np.float32)

    def knows_levels(self, task: ThorTaskSettings) -> bool:
        """Of every task."""
        return True

    def levels(
        self, task: ThorTaskSettings, observations: np.ndarray, returns: np.ndarray, num_ratings: int
    ) -> np.ndarray:
        """The worst where no sub-task is done, the best where all are, and those between by their share."""
        return level_of(returns, num_ratings)
