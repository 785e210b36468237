"""MetaWorld, as a family of worlds."""

from typing import Any

import numpy as np

from actors.worlds.family import Family, PictureFacts
from actors.worlds.metaworld import stages
from actors.worlds.metaworld.settings import MetaWorldTask, spec_of
from actors.worlds.world import Drawer, World, WorldSpec


class MetaWorldFamily(Family):
    """Episodes of one length, frames from state, success always known."""

    name = "metaworld"
    task = MetaWorldTask
    uses_opengl = True

    def known_spec(self, task: MetaWorldTask) -> WorldSpec:
        """All tasks have the same observations and actions."""
        return spec_of(task)

    def make(self, task: MetaWorldTask) -> World:
        """Needs no OpenGL."""
        from actors.worlds.metaworld.environment import TaskEnvironment

        return TaskEnvironment(task)

    def drawer(self, task: MetaWorldTask) -> Drawer:
        """Raises RuntimeError if no OpenGL works."""
        from actors.worlds.metaworld.renderer import FrameRenderer

        return FrameRenderer(task)

    def pictures_of(self, world: Any) -> PictureFacts:
        """The renderer turns what a camera sees upside down."""
        return PictureFacts(upright=True)

    def progress(self, task: MetaWorldTask, observations: np.ndarray, returns: np.ndarray) -> np.ndarray | None:
        """Of packaged tasks."""
        if not stages.has_stages(task.name, task.env_id):
            return None
        return stages.progress_of(task.name, observations)

    def knows_levels(self, task: MetaWorldTask) -> bool:
        """Of packaged tasks."""
        return stages.has_stages(task.name, task.env_id)

    def levels(
        self, task: MetaWorldTask, observations: np.ndarray, returns: np.ndarray, num_ratings: int
    ) -> np.ndarray | None:
        """Of packaged tasks."""
        if not stages.has_stages(task.name, task.env_id):
            return None
        return stages.level_of(stages.stage_of(task.name, observations), num_ratings)
