"""Settings of tasks in environments of Gymnasium. Importing them loads no simulator."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from actors.worlds.settings import SuccessCounts, TaskSettings
from algorithms.ratings import AGENT_PATTERN
from algorithms.settings import ImportPath, PositiveInt, Settings


class SuccessKey(Settings):
    """Where the environment says whether the task is done."""

    key: Annotated[str, Field(min_length=1)]
    """Entry of `info`, such as `is_success` or `success`."""
    counts: SuccessCounts = "any"
    """When an evaluation episode counts: at `any` step, at its `end`, or `held` from
    the first step that says so to the end without a break."""


class GymnasiumTask(TaskSettings):
    """A task in an environment of Gymnasium."""

    world: Literal["gymnasium"]
    """The family."""
    agent: Annotated[str, Field(pattern=AGENT_PATTERN)] = "an agent"
    """Who acts, as the rater is told: 'a cheetah', 'a robot hand'."""
    env_id: Annotated[str, Field(min_length=1)] | None = None
    """A registered id, such as `HalfCheetah-v5`, or `package:Id-v0`, which imports the package first."""
    factory: ImportPath | None = None
    """In place of `env_id`: a class or function that makes the environment, as `module:name`. It gets `kwargs`, and
    `render_mode="rgb_array"` if it takes that. Python must find the module in every process of the run: in the folder
    where the run is started, in PYTHONPATH, or installed."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of `gymnasium.make`, or of the factory."""
    wrappers: tuple[ImportPath, ...] = ()
    """Wrappers, the innermost first, as `module:Class`; each gets the environment alone."""
    episode_env_steps: PositiveInt | None = None
    """Environment steps before an episode is truncated, if it has not ended. Absent: the environment's own limit."""
    success: SuccessKey | Literal["termination"] | None = None
    """How success is known: by an entry of `info`; by `termination` with a positive reward; or, if absent, not at all:
    then returns are shown."""
    draw_again: bool = True
    """Keep states of MuJoCo environments of Gymnasium and gymnasium-robotics in place of frames, and draw frames again
    when they are wanted, where a test at the start shows that this gives the same pixels. False keeps every frame."""
    observation_keys: tuple[str, ...] | None = None
    """Entries of a Dict observation that the policy sees, in this order. Absent: all that are numbers, in the space's
    own order."""

    instruction_key: Annotated[str, Field(min_length=1)] | Literal[False] | None = None
    """What says each episode's own instruction: a text among the entries of a Dict observation, or else an entry of the
    reset's `info`. Absent: the text `mission`, as MiniGrid and BabyAI have it, where the observations have one. Without
    it, or with false, all episodes have `instruction`."""
    grid_key: str | None = None
    """Entry of a Dict observation that is a grid of categories, whole numbers [height, width, planes], and no picture.
    MiniGrid's `image` is known as one. Choices beside it, such as a direction, become planes of it."""

    @model_validator(mode="after")
    def _one_environment(self) -> Self:
        if (self.env_id is None) == (self.factory is None):
            raise ValueError("give env_id or factory, and not both: either names the environment")
        if self.episode_env_steps and self.episode_env_steps % self.action_repeat:
            raise ValueError(
                f"episode_env_steps {self.episode_env_steps} is not a multiple of action_repeat {self.action_repeat}"
            )
        taken = {"render_mode", "max_episode_steps"} & self.kwargs.keys()
        if taken:
            raise ValueError(
                f"kwargs.{min(taken)}: leave it out; frames are rgb_array, and the time limit is episode_env_steps"
            )
        return self

    @property
    def environment(self) -> dict[str, Any]:
        """All that it is made by."""
        made_by = {"env_id": self.env_id, "factory": self.factory, "kwargs": self.kwargs, "wrappers": self.wrappers}
        return {name: value for name, value in made_by.items() if value}

    @property
    def what_is_seen(self) -> str:
        """Entries of a Dict by their names."""
        if self.observation_keys is None:
            return "the environment's step and reset return; entries of a Dict joined in the order of its space"
        return f"stand in the entries {', '.join(self.observation_keys)} of the observation, joined in this order"

    @property
    def knows_success(self) -> bool:
        """Whether it is said how."""
        return self.success is not None

    @property
    def success_counts(self) -> SuccessCounts:
        """As `success` says; a termination is at the end."""
        return self.success.counts if isinstance(self.success, SuccessKey) else "any"

    @property
    def source(self) -> str:
        """The field that names the environment, and its value, for messages."""
        return f"task.env_id {self.env_id!r}" if self.env_id else f"task.factory {self.factory!r}"
