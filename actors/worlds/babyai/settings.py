"""Settings of tasks that are chains of sub-tasks in BabyAI. Importing them loads no simulator."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from actors.babyai.settings import ACTION_NAMES, MAX_CHAIN, BabyAISettings, Split, SubtaskKind, egocentric_shape
from actors.worlds.settings import TaskSettings
from actors.worlds.world import WorldSpec
from algorithms.ratings import AGENT_PATTERN
from algorithms.settings import PositiveInt

NUM_CATEGORIES = 11
"""Codes that MiniGrid has for kinds of things, of which there are more than colours and states."""


class BabyAITask(TaskSettings):
    """Chains of sub-tasks: another level for each episode, or a number of levels that come again."""

    world: Literal["babyai"]
    """The family."""
    instruction: Annotated[str, Field(min_length=1)] = "do the chain of sub-tasks"
    """What all episodes have in common, for titles alone: each has its own, and the rater is asked about that."""
    focus: Annotated[str, Field(min_length=1)] = (
        "the red triangle, the things that its task names, and what it carries, which is shown at the top right"
    )
    """What the rater should look at."""
    agent: Annotated[str, Field(pattern=AGENT_PATTERN)] = "the red triangle"
    """Who acts, as the rater is told."""
    image_px: Annotated[int, Field(ge=28, le=1024)] = 84
    """Side of the square frames that are rated. Absent: as `level` is drawn, so that `level.tile_px` decides."""
    level: BabyAISettings = BabyAISettings()
    """Rooms, objects and kinds of sub-tasks, and how a frame is drawn."""
    chain_lengths: tuple[Annotated[int, Field(ge=1, le=MAX_CHAIN)], ...] = (1,)
    """Sub-tasks in an episode's instruction; levels have these lengths in turn."""
    chain: tuple[SubtaskKind, ...] = ()
    """In place of kinds drawn from `level.subtasks`: the kind of each sub-task, in order. What is put next to something
    is then what the sub-tasks before it picked up. Leave out `chain_lengths`."""
    num_levels: PositiveInt | None = None
    """Episodes take place in so many levels, each with its instruction. Absent: every episode draws a new one."""
    randomised_starts: bool = True
    """With `num_levels`: the agent starts at a place that is drawn for each episode. False: at one for each level."""
    split: Split = "train"
    """Which levels: those of `train`, of `held_out` seeds, or of `held_out_pairs` of colour and kind besides."""
    evaluation_split: Split | None = None
    """Levels in which the policy is judged. Absent: those in which it learns."""
    levels_seed: Annotated[int, Field(ge=0)] = 0
    """Draws the levels, whatever the run's seed is."""
    subtask_env_steps: PositiveInt = 64
    """Steps for each sub-task of a chain; an episode is truncated after all of them."""
    shows_completed: bool = False
    """The policy's grid has a plane more that says how many sub-tasks are done. Where they leave no trace, as going to
    things does, nobody who sees one moment knows which is next."""

    @model_validator(mode="before")
    @classmethod
    def _as_large_as_it_is_drawn(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "image_px" in given or not isinstance(given.get("level", {}), dict):
            return given
        try:
            level = BabyAISettings.model_validate(given.get("level", {}))
        except ValidationError:
            # What is wrong with it is told where it stands.
            return given
        return given | {"image_px": min(1024, max(28, *level.frame_px))}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.action_repeat != 1:
            raise ValueError(f"action_repeat {self.action_repeat}: a repeated choice is another one; leave it at 1")
        if self.chain and "chain_lengths" in self.model_fields_set and self.chain_lengths != (len(self.chain),):
            raise ValueError(
                f"chain_lengths {list(self.chain_lengths)}: `chain` has {len(self.chain)} sub-tasks itself"
            )
        if not self.chain_lengths:
            raise ValueError("chain_lengths is empty: name at least one number of sub-tasks")
        if len(self.chain) > MAX_CHAIN:
            raise ValueError(f"chain has {len(self.chain)} sub-tasks; at most {MAX_CHAIN} can be")
        if "open" in self.chain and self.level.num_rows * self.level.num_cols == 1:
            raise ValueError("chain has 'open', but one room has no door; raise level.num_rows or level.num_cols")
        return self

    @property
    def lengths(self) -> tuple[int, ...]:
        """Sub-tasks in a level's chain, in turn."""
        return (len(self.chain),) if self.chain else self.chain_lengths

    @property
    def environment(self) -> dict[str, Any]:
        """What its levels are drawn by."""
        fields = {"level", "chain_lengths", "chain", "num_levels", "split", "levels_seed"}
        return self.model_dump(mode="json", include=fields)

    @property
    def what_is_seen(self) -> str:
        """How the grid is made."""
        return (
            "are MiniGrid's codes of kind, colour and state, cell by cell, moved and turned so that the agent is in "
            "the middle and looks up"
        )

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of each choice."""
        return ACTION_NAMES

    def judged_from(self, randomised_starts: bool, start_spread: float = 0.0) -> Self:
        """In the levels of `evaluation_split`; with `randomised_starts`, from places that are drawn."""
        changes = {
            "split": self.evaluation_split or self.split,
            "randomised_starts": randomised_starts or self.randomised_starts,
        }
        return self.model_copy(update=changes)


def spec_of(task: BabyAITask) -> WorldSpec:
    """What such a world is like."""
    height, width, planes = egocentric_shape(task.level.symbolic_shape)
    grid_shape = (height, width, planes + task.shows_completed)
    return WorldSpec(
        observation_size=height * width * grid_shape[2],
        action_size=1,
        longest_agent_steps=task.subtask_env_steps * max(task.lengths),
        fixed_length=False,
        draws_again=False,
        knows_success=True,
        num_actions=len(ACTION_NAMES),
        grid_shape=grid_shape,
        num_categories=NUM_CATEGORIES,
        says_instruction=True,
    )
