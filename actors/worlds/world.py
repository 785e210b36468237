"""The one interface of all worlds. Importing it loads no simulator."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from algorithms.episodes import Scene


class WorldError(ValueError):
    """A world is not what it must be: the message says what is wrong and what to do."""


@dataclass(frozen=True)
class WorldSpec:
    """What is known of a world before it acts."""

    observation_size: int
    """Numbers that a policy may see; 0 if it gives pictures only."""
    action_size: int
    """Numbers of an action, each in [-1, 1]; one where an action is a choice."""
    longest_agent_steps: int
    """Agent steps of the longest episode."""
    fixed_length: bool
    """All episodes have that length."""
    draws_again: bool
    """Frames can be drawn later, exactly, from `scene()` and `frame_state()`. Else they are taken when they are there,
    by `frame()`."""
    knows_success: bool
    """Steps tell whether the task is done; else nobody knows, and nobody makes it up."""
    action_low: tuple[float, ...] = ()
    """Of the world's own actions, to which those in [-1, 1] are scaled: lower bounds; empty if they are -1."""
    action_high: tuple[float, ...] = ()
    """Upper bounds; empty if they are 1."""
    moves_when_drawn: bool = False
    """Taking a frame may change what happens next, so that an evaluation takes frames too."""
    num_actions: int = 0
    """Choices, where an action is one of so many: then it is its number, in one entry; 0 where actions are numbers."""
    grid_shape: tuple[int, int, int] | None = None
    """Height, width and planes, where the observation is a grid of categories, flattened row by row; None where it is
    plain numbers."""
    num_categories: int = 0
    """Of each cell and plane of a grid; 0 without one."""
    says_instruction: bool = False
    """Every episode has an instruction of its own; else all have the task's."""

    def random_actions(self, rng: np.random.Generator, *shape: int) -> np.ndarray:
        """Uniformly random actions, [*shape, action]: float64 in [-1, 1], or int64 numbers of actions."""
        if self.num_actions:
            return rng.integers(self.num_actions, size=(*shape, self.action_size))
        return rng.uniform(-1.0, 1.0, (*shape, self.action_size))


class WorldStep(NamedTuple):
    """What one agent step gave."""

    observation: np.ndarray
    """[observation] float32, after the last repeated action."""
    env_reward: float
    """The world's own reward, summed over the repeated actions. For evaluation and audits."""
    success: bool
    """The world's success flag at any of the repeated actions; False where it is unknown."""
    terminated: bool
    """The episode ended for good."""
    truncated: bool
    """It was cut by a time limit. Both can be true."""


class World(Protocol):
    """One simulator of a task. An episode depends on its seed and on the actions alone, not on the episodes before."""

    spec: WorldSpec

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode and return its first observation [observation] float32. `seed` >= 0."""
        ...

    def step(self, action: np.ndarray) -> WorldStep:
        """Apply an action [action] `action_repeat` times; what lies outside [-1, 1] is clipped.

        Where actions are choices it holds the number of one.
        """
        ...

    def instruction(self) -> str:
        """What is to be done in the episode under way; asked after a reset. The task's, where all have that."""
        ...

    def solved_at_start(self) -> bool | None:
        """Whether the episode begins where its task is done already; None if that is not known. Asked after a reset."""
        ...

    def done(self) -> np.ndarray | None:
        """Whether the thing was done after each repeated action of the last step, bool [action_repeat]: what the
        success flag should say. None where that is not known."""
        ...

    def frame_state(self) -> np.ndarray:
        """What moves, [F] float32; [0] where frames cannot be drawn again."""
        ...

    def scene(self) -> Scene:
        """What the last reset changed in the simulator's model; empty where frames cannot be drawn again."""
        ...

    def frame(self) -> np.ndarray:
        """What there is to be seen now, uint8 [image_px, image_px, 3], of a world whose frames cannot be drawn again.

        Asked after every reset and every step, or never: some worlds move when they draw.
        """
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


class Drawer(Protocol):
    """Draws frames from stored state, bit-exactly, without a world."""

    def render(self, scene: Scene, frame_states: np.ndarray) -> np.ndarray:
        """The frames, uint8 [N, px, px, 3], of states float32 [N, F] of one episode."""
        ...

    def close(self) -> None:
        """Free what it draws with."""
        ...
