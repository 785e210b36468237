"""Settings of tasks in AI2-THOR. Importing them loads no simulator."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from actors.thor.settings import FRAME_PX, ThorSettings
from actors.worlds.settings import TaskSettings
from algorithms.ratings import AGENT_PATTERN
from algorithms.settings import PositiveInt

SkillKind = Literal[
    "PickupObject", "PutObject", "SliceObject", "ToggleObject", "CleanObject", "HeatObject", "CoolObject"
]
"""Skills of ALFRED whose end can be told."""


class ThorTaskSettings(TaskSettings):
    """Some of ALFRED's demonstrations, entered where the expert began: each is a chain of skills of the same kinds."""

    world: Literal["thor"]
    """The family."""
    instruction: Annotated[str, Field(min_length=1)] = "do the chain of sub-tasks"
    """What all episodes have in common, for titles alone: each has its own, and the rater is asked about that."""
    focus: Annotated[str, Field(min_length=1)] = (
        "the objects that its task names; the picture is the agent's own view, and what it holds is near the bottom"
    )
    """What the rater should look at."""
    agent: Annotated[str, Field(pattern=AGENT_PATTERN)] = "an agent"
    """Who acts, as the rater is told."""
    image_px: Annotated[int, Field(ge=28, le=1024)] = FRAME_PX
    """Side of the square frames that are rated; THOR draws 300 pixels."""
    alfred: ThorSettings
    """Where ALFRED's demonstrations are, and the Unity build."""
    chain: Annotated[tuple[SkillKind, ...], Field(min_length=1)]
    """The kind of each sub-task, in order: consecutive skills of a demonstration, walking there included."""
    floor_plans: tuple[PositiveInt, PositiveInt] | None = None
    """The first and the last of THOR's rooms by number, to take demonstrations from; kitchens are 1 to 30."""
    num_tasks: PositiveInt = 5
    """Tasks that episodes draw from."""
    tasks_seed: Annotated[int, Field(ge=0)] = 0
    """Draws the tasks and whose words they have, whatever the run's seed is."""
    objects: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Classes of objects that an action may be about. Absent: those that the experts of the tasks act on."""
    randomised_starts: bool = False
    """The agent starts at a place that is drawn for each episode. False: where the expert had come to."""
    step_budget: Annotated[float, Field(ge=1.0)] = 2.0
    """Steps before an episode is truncated, as a multiple of the expert's (SPRINT: 2)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.action_repeat != 1:
            raise ValueError(f"action_repeat {self.action_repeat}: a repeated choice is another one; leave it at 1")
        if self.floor_plans and self.floor_plans[0] > self.floor_plans[1]:
            raise ValueError(f"floor_plans {list(self.floor_plans)}: the first is behind the last")
        if len(set(self.objects)) < len(self.objects):
            raise ValueError("objects: a class is named twice")
        return self

    @property
    def environment(self) -> dict[str, Any]:
        """What its tasks are drawn by."""
        return self.model_dump(mode="json", include={"chain", "floor_plans", "num_tasks", "tasks_seed", "objects"})

    @property
    def what_is_seen(self) -> str:
        """Pictures alone."""
        return "are none: the agent's own view is all that there is"

    def judged_from(self, randomised_starts: bool, start_spread: float = 0.0) -> Self:
        """With `randomised_starts`, from places that are drawn."""
        return self.model_copy(update={"randomised_starts": randomised_starts or self.randomised_starts})
