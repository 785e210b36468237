"""Settings of MetaWorld's tasks. Importing them loads no simulator."""

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from actors.worlds.settings import TaskSettings
from actors.worlds.world import WorldSpec
from algorithms.settings import Fraction, Settings

Vector3 = tuple[float, float, float]
Colour = tuple[Fraction, Fraction, Fraction, Fraction]

OBSERVATION_SIZE = 39
"""18 numbers now (hand, gripper, objects), the same 18 one environment step ago, and the goal's position."""
ACTION_SIZE = 4
"""Hand x, y, z and gripper, each in [-1, 1]; one unit moves the hand by one centimetre an environment step."""

STOCK_CAMERAS = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
"""Cameras that every MetaWorld 3.1.1 scene has."""

META_WORLD_ENVS = (
    "assembly-v3",
    "basketball-v3",
    "bin-picking-v3",
    "box-close-v3",
    "button-press-v3",
    "button-press-topdown-v3",
    "button-press-topdown-wall-v3",
    "button-press-wall-v3",
    "coffee-button-v3",
    "coffee-pull-v3",
    "coffee-push-v3",
    "dial-turn-v3",
    "disassemble-v3",
    "door-close-v3",
    "door-lock-v3",
    "door-open-v3",
    "door-unlock-v3",
    "drawer-close-v3",
    "drawer-open-v3",
    "faucet-close-v3",
    "faucet-open-v3",
    "hammer-v3",
    "hand-insert-v3",
    "handle-press-v3",
    "handle-press-side-v3",
    "handle-pull-v3",
    "handle-pull-side-v3",
    "lever-pull-v3",
    "peg-insert-side-v3",
    "peg-unplug-side-v3",
    "pick-out-of-hole-v3",
    "pick-place-v3",
    "pick-place-wall-v3",
    "plate-slide-v3",
    "plate-slide-back-v3",
    "plate-slide-back-side-v3",
    "plate-slide-side-v3",
    "push-v3",
    "push-back-v3",
    "push-wall-v3",
    "reach-v3",
    "reach-wall-v3",
    "shelf-place-v3",
    "soccer-v3",
    "stick-pull-v3",
    "stick-push-v3",
    "sweep-v3",
    "sweep-into-v3",
    "window-close-v3",
    "window-open-v3",
)
"""Environments of MetaWorld 3.1.1, written out so that settings can be checked without loading a simulator."""


def check_env_id(env_id: str) -> str:
    """The name itself. Raises ValueError with the nearest names if MetaWorld has no such environment."""
    if env_id not in META_WORLD_ENVS:
        nearest = difflib.get_close_matches(env_id, META_WORLD_ENVS, n=3, cutoff=0.5) or ["drawer-close-v3"]
        raise ValueError(f"MetaWorld has no environment {env_id!r}; did you mean {' or '.join(nearest)}?")
    return env_id


class CameraSettings(Settings):
    """A camera of one's own: where it stands and what it looks at, z up."""

    position: Vector3
    """Metres, world frame."""
    look_at: Vector3
    """Metres, world frame."""
    fovy_deg: Annotated[float, Field(gt=0.0, lt=180.0)] = 45.0
    """Vertical field of view in degrees."""

    @model_validator(mode="after")
    def _looks_somewhere(self) -> "CameraSettings":
        if self.position == self.look_at:
            raise ValueError(f"camera.position and camera.look_at are both {self.position}; they must differ")
        return self


class FixedStartSettings(Settings):
    """Where things stand when starts are fixed; what is absent keeps the task's own default."""

    random_vector: tuple[float, ...] | None = None
    """The task's own start vector (object position, and goal position where it has one), in metres. Absent: the start
    that MetaWorld freezes for seed 0."""
    hand: Vector3 | None = None
    """Initial position of the hand, in metres."""


class MetaWorldTask(TaskSettings):
    """A task of MetaWorld."""

    world: Literal["metaworld"] = "metaworld"
    """The family; a block that names none is of this one."""
    env_id: Annotated[str, AfterValidator(check_env_id)]
    """MetaWorld environment, such as `drawer-close-v3`."""
    camera: CameraSettings | Literal[STOCK_CAMERAS] = "corner3"
    """A stock camera's name, or a position and a point to look at."""
    robot_visible: bool = True
    """Draw the robot. The published experiments hide it."""
    goal_visible: bool = False
    """Draw the goal marker, and what other markers MetaWorld puts into the scene."""
    object_colours: dict[str, Colour] = Field(default_factory=dict)
    """Body or geom name to RGBA in [0, 1]; replaces its material."""
    quality: Literal["fast", "full"] = "fast"
    """`fast` draws without shadows, reflections and multisampling, about ten times faster on a processor."""
    randomised_starts: bool = True
    """Draw a new start for every episode; else `fixed_start`."""
    fixed_start: FixedStartSettings = FixedStartSettings()
    """The start when starts are not randomised."""
    start_spread: Fraction = 0.0
    """With a fixed start, how far each episode's is drawn from it: the share of the way to a start that randomising
    would draw. 0: all episodes begin alike."""
    episode_env_steps: Annotated[int, Field(gt=0, le=500)] = 500
    """Environment steps before an episode is truncated; MetaWorld's own limit is 500."""

    @model_validator(mode="after")
    def _whole_agent_steps(self) -> Self:
        if self.episode_env_steps % self.action_repeat:
            raise ValueError(
                f"episode_env_steps {self.episode_env_steps} is not a multiple of action_repeat {self.action_repeat}"
            )
        return self

    @property
    def environment(self) -> dict[str, Any]:
        """MetaWorld's name of it."""
        return {"env_id": self.env_id}

    @property
    def action_names(self) -> tuple[str, ...]:
        """As `ACTION_SIZE` says."""
        return "x", "y", "z", "gripper"

    @property
    def episode_agent_steps(self) -> int:
        """Agent steps in an episode; all are of this length."""
        return self.episode_env_steps // self.action_repeat

    @property
    def has_fixed_start(self) -> bool:
        """Unless starts are randomised."""
        return not self.randomised_starts

    def judged_from(self, randomised_starts: bool, start_spread: float = 0.0) -> Self:
        """The task with starts that are drawn, or drawn around the fixed one, if wanted."""
        if randomised_starts:
            return self.model_copy(update={"randomised_starts": True})
        return self.model_copy(update={"start_spread": start_spread}) if start_spread else self


def spec_of(task: MetaWorldTask) -> WorldSpec:
    """What is known of all of MetaWorld's worlds."""
    return WorldSpec(
        observation_size=OBSERVATION_SIZE,
        action_size=ACTION_SIZE,
        longest_agent_steps=task.episode_agent_steps,
        fixed_length=True,
        draws_again=True,
        knows_success=True,
    )
