"""What the tasks of all worlds have. Importing it loads no simulator."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from algorithms.ratings import AGENT_PATTERN, ROBOT_ARM
from algorithms.settings import PositiveInt, Settings


def _as_number(key: Any) -> Any:
    # JSON has no numbers for keys, and tasks go through it on their way to other processes.
    return int(key) if isinstance(key, str) and key.isdecimal() else key


NumLevels = Annotated[Literal[2, 3, 4, 5], BeforeValidator(_as_number)]
"""Levels of a scale."""
SuccessCounts = Literal["any", "end", "held"]
"""Of an episode whose steps say whether the task is done: `any` of its steps, the last one at its `end`, or `held`,
which is from the first step that says so to the end without a break. A start that is solved already is no step."""


class TaskSettings(Settings):
    """A task: a world, how it is seen, and what the rater is told about it. Each family of worlds adds its own."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Short name, for run folders and tables."""
    instruction: Annotated[str, Field(min_length=1)]
    """The task in one clause: 'close the drawer'."""
    focus: Annotated[str, Field(min_length=1)]
    """The object that the rater should look at: 'the drawer'."""
    agent: Annotated[str, Field(pattern=AGENT_PATTERN)] = ROBOT_ARM
    """Who acts, as the rater is told: 'a robot arm'."""
    image_px: Annotated[int, Field(ge=28, le=1024)] = 224
    """Side of the square frames that are rated."""
    action_repeat: PositiveInt = 1
    """Environment steps for each agent step."""
    rubrics: dict[NumLevels, tuple[str, ...]] = Field(default_factory=dict)
    """For a scale of n levels, one line per level, worst first: what it looks like. Goes into the prompt."""

    @model_validator(mode="after")
    def _a_line_for_each_level(self) -> Self:
        for num_ratings, lines in self.rubrics.items():
            if len(lines) != num_ratings:
                raise ValueError(f"rubrics.{num_ratings} has {len(lines)} lines; it needs one per level")
        return self

    @property
    def scene(self) -> str:
        """Who acts and on what, whatever is achieved: 'a robot arm and the drawer'."""
        return f"{self.agent} and {self.focus}"

    @property
    def environment(self) -> dict[str, Any]:
        """What names the environment, for an exported policy."""
        raise NotImplementedError

    @property
    def what_is_seen(self) -> str:
        """Where the numbers that a policy sees come from, as the end of a sentence."""
        return "the simulator's step and reset return"

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of each number of an action; empty where they have none."""
        return ()

    @property
    def knows_success(self) -> bool:
        """Whether its world says if the task is done."""
        return True

    @property
    def success_counts(self) -> SuccessCounts:
        """When a success counts in the evaluation of an episode."""
        return "any"

    @property
    def has_fixed_start(self) -> bool:
        """Whether every episode begins at one start, around which others can be drawn."""
        return False

    def judged_from(self, randomised_starts: bool, start_spread: float = 0.0) -> Self:
        """The task as an evaluation plays it; with `randomised_starts`, where it has fixed ones, starts are drawn.

        `start_spread` is for tasks with a fixed start: see `EvaluationSettings`.
        """
        return self
