"""Gymnasium, as a family of worlds."""

from typing import Any

from actors.worlds.family import Family, PictureFacts
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.world import Drawer, World


class GymnasiumFamily(Family):
    """Episodes that end when they end, frames taken as they come, success if it is said how."""

    name = "gymnasium"
    task = GymnasiumTask

    def make(self, task: GymnasiumTask) -> World:
        """Raises WorldError."""
        from actors.worlds.gymnasium.environment import GymnasiumWorld

        return GymnasiumWorld(task)

    def drawer(self, task: GymnasiumTask) -> Drawer:
        """Raises WorldError."""
        from actors.worlds.gymnasium.redrawing import state_drawer

        return state_drawer(task)

    def check_played(self, task: GymnasiumTask, world: Any) -> None:
        """Success has been told under its key."""
        world.check_success_was_told()

    def pictures_of(self, world: Any) -> PictureFacts:
        """Their size; which way is up, where MuJoCo draws."""
        return world.picture_facts()
