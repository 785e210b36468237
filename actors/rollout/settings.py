"""Settings of tasks and rollout workers. Importing them loads no simulator."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from algorithms.settings import PositiveFloat, PositiveInt, Settings

Vector3 = tuple[float, float, float]

STOCK_CAMERAS = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
"""Cameras that every MetaWorld 3.1.1 scene has."""


class CameraSettings(Settings):
    """A camera of one's own: where it stands and what it looks at, z up."""

    position: Vector3
    """Metres, world frame."""
    look_at: Vector3
    """Metres, world frame."""
    fovy_deg: Annotated[float, Field(gt=0.0, lt=180.0)] = 45.0
    """Vertical field of view in degrees."""


class FixedStartSettings(Settings):
    """Where things stand when starts are fixed; what is absent keeps the task's own default."""

    random_vector: tuple[float, ...] | None = None
    """The task's own start vector (object position, and goal position where it has one), in metres."""
    hand: Vector3 | None = None
    """Initial position of the hand, in metres."""


class TaskSettings(Settings):
    """A task: a simulator's environment, how it is seen, and what the rater is told about it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Short name, for run folders and tables."""
    env_id: str
    """MetaWorld environment, such as `drawer-close-v3`."""
    instruction: Annotated[str, Field(min_length=1)]
    """The task in one clause: 'close the drawer'."""
    focus: Annotated[str, Field(min_length=1)]
    """The object that the rater should look at: 'the drawer'."""
    camera: CameraSettings | Literal[STOCK_CAMERAS] = "corner3"
    """A stock camera's name, or a position and a point to look at."""
    image_px: Annotated[int, Field(ge=28, le=1024)] = 224
    """Side of the square frames that are rated."""
    robot_visible: bool = True
    """Draw the robot. The published experiments hide it."""
    goal_visible: bool = False
    """Draw the goal marker."""
    object_colours: dict[str, tuple[float, float, float, float]] = {}
    """Body or geom name to RGBA in [0, 1]; replaces its material."""
    quality: Literal["fast", "full"] = "fast"
    """`fast` draws without shadows, reflections and multisampling, about ten times faster on a processor."""
    randomised_starts: bool = True
    """Draw a new start for every episode; else `fixed_start`."""
    fixed_start: FixedStartSettings = FixedStartSettings()
    """The start when starts are not randomised."""
    action_repeat: PositiveInt = 1
    """Environment steps for each agent step."""
    episode_env_steps: Annotated[int, Field(gt=0, le=500)] = 500
    """Environment steps before an episode is truncated; MetaWorld's own limit is 500."""
    rubrics: dict[Literal[2, 3, 4, 5], tuple[str, ...]] = {}
    """For a scale of n levels, one line per level, worst first: what it looks like. Goes into the prompt."""

    @model_validator(mode="after")
    def _consistent(self) -> "TaskSettings":
        if self.episode_env_steps % self.action_repeat:
            raise ValueError(
                f"episode_env_steps {self.episode_env_steps} is not a multiple of action_repeat {self.action_repeat}"
            )
        for num_ratings, lines in self.rubrics.items():
            if len(lines) != num_ratings:
                raise ValueError(f"rubrics.{num_ratings} has {len(lines)} lines; it needs one per level")
        return self

    @property
    def episode_agent_steps(self) -> int:
        """Agent steps in an episode."""
        return self.episode_env_steps // self.action_repeat


class RolloutSettings(Settings):
    """How experience is collected."""

    num_workers: PositiveInt = 1
    """Rollout actors."""
    envs_per_worker: PositiveInt = 1
    """Environments in each actor."""
    chunk_agent_steps: PositiveInt = 50
    """Agent steps of each environment between two hand-overs of policy weights; divides the episode's length."""
    num_cpus: PositiveFloat = 1.0
    """Processors that Ray reserves for an actor."""
    resources: dict[str, float] = {}
    """Custom Ray resources that an actor needs, such as {env: 1}, to place it on certain nodes."""
