"""What the rest of the house may ask of a family of worlds."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from actors.worlds.settings import TaskSettings
from actors.worlds.world import Drawer, World, WorldSpec


@dataclass(frozen=True)
class PictureFacts:
    """What a family knows of a world's own pictures, once there was one."""

    px: tuple[int, int] | None = None
    """Height and width before they are made to fit; None if they are drawn as wanted."""
    upright: bool | None = None
    """Whether up in the world is up in the picture; None where that is not known."""
    note: str = ""
    """What else somebody should know of them."""


class Family:
    """Worlds of one kind. Methods take tasks of its own settings class; heavy imports stand inside them."""

    name: ClassVar[str]
    """What the field `world` of a task says."""
    task: ClassVar[type[TaskSettings]]
    """Its settings class."""
    uses_opengl: ClassVar[bool] = False
    """Whether frames are drawn with OpenGL, whatever the task."""

    tried_first: ClassVar[bool] = False
    """Whether a world has to be tried before a run although its settings tell what it is like."""

    def known_spec(self, task: Any) -> WorldSpec | None:
        """What its settings alone tell of a world; None if a world has to be made for that."""
        return None

    def make(self, task: Any) -> World:
        """A world. Raises WorldError if it cannot be had."""
        raise NotImplementedError

    def drawer(self, task: Any) -> Drawer:
        """What draws frames of a world again, where its spec says that this can be done."""
        raise NotImplementedError

    def check_played(self, task: Any, world: Any) -> None:
        """Raise WorldError if a world, after a whole episode, has not given what the task needs of it."""

    def pictures_of(self, world: Any) -> PictureFacts:
        """What is known of a world's pictures; by default nothing."""
        return PictureFacts()

    def progress(self, task: Any, observations: np.ndarray, returns: np.ndarray) -> np.ndarray | None:
        """True progress, float32 [N] in [0, 1], of observations [N, observation] and what their episodes had been paid
        by the world's own rewards when they were seen, [N]; NaN where that is not known; None where it never is."""
        return None

    def knows_levels(self, task: Any) -> bool:
        """Whether `levels` can be told of the task."""
        return False

    def levels(self, task: Any, observations: np.ndarray, returns: np.ndarray, num_ratings: int) -> np.ndarray | None:
        """The level, int64 [N] in [0, num_ratings), that these truly deserve, and -1 for those of which it is not
        known; None where it never is."""
        return None
