"""What an agent sees and does, as learners need to know it."""

from typing import Protocol

MOST_CATEGORIES = 255
"""Of a grid: with one more its numbers would look like a picture's bytes."""


class AgentSpaces(Protocol):
    """Of a world; its spec is one."""

    observation_size: int
    """Numbers of an observation, a flattened grid's too; 0 if there are pictures only."""
    action_size: int
    """Numbers of an action, each in [-1, 1]; 1 where an action is a choice."""
    num_actions: int
    """Choices; 0 where actions are numbers."""
    grid_shape: tuple[int, int, int] | None
    """Height, width and planes of a grid of categories that observations are; None of plain numbers."""
    num_categories: int
    """A grid's numbers are below this."""
