"""What an agent sees and does, as learners need to know it."""

from typing import Protocol

from algorithms.language_networks import PolicyShape
from algorithms.pixel_frames import PixelShape

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


def policy_shape(
    spaces: AgentSpaces, pixels: PixelShape | None, num_words: int, instruction_length: int
) -> PolicyShape:
    """What networks that read instructions fit: pictures if `pixels` are seen, else a grid or numbers."""
    if pixels is not None:
        kind, shape = "image", (pixels.px, pixels.px, 3)
    elif spaces.grid_shape is not None:
        kind, shape = "grid", tuple(spaces.grid_shape)
    else:
        kind, shape = "vector", (spaces.observation_size,)
    return PolicyShape(
        kind=kind,
        observation_shape=shape,
        num_categories=spaces.num_categories if kind == "grid" else 0,
        num_words=num_words,
        instruction_length=instruction_length,
        num_actions=spaces.num_actions,
        action_size=spaces.num_actions or spaces.action_size,
    )
