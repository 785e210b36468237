"""An environment of Gymnasium as a world: episodes that end when they end, and frames that are taken as they come."""

import math
from typing import Any

import numpy as np

from actors.worlds.family import PictureFacts
from actors.worlds.foreign import told
from actors.worlds.gymnasium import viewers
from actors.worlds.gymnasium.grids import observations_of, picture_note, quiet
from actors.worlds.gymnasium.instructions import Instructions
from actors.worlds.gymnasium.making import make_env, time_limit
from actors.worlds.gymnasium.redrawing import CAMERA_SEED, DrawnState, pictures_each, take_picture
from actors.worlds.gymnasium.settings import GymnasiumTask, SuccessKey
from actors.worlds.gymnasium.spaces import Actions
from actors.worlds.pictures import fitted
from actors.worlds.world import WorldError, WorldSpec, WorldStep
from algorithms.episodes import Scene

_OWN = (
    "gymnasium.envs.",
    "gymnasium_robotics.envs.adroit_hand.",
    "gymnasium_robotics.envs.maze.",
    "gymnasium_robotics.envs.franka_kitchen.",
)
"""Environments that move no differently when they are drawn, as was measured. Others of gymnasium-robotics do."""
RESET_PARTS = ("observation", "info")
STEP_PARTS = ("observation", "reward", "terminated", "truncated", "info")


class GymnasiumWorld:
    """One environment. Make it, step it, draw it and close it in one and the same thread: OpenGL wants it so."""

    def __init__(self, task: GymnasiumTask) -> None:
        """Raises WorldError."""
        self._task = task
        self._env = make_env(task)
        self._closed = False
        self._limit = time_limit(task, self._env)
        self._observations = observations_of(task, self._env)
        self._instructions = Instructions(task, self._env.observation_space)
        self._instruction = task.instruction
        self._actions = Actions(self._env.action_space, task.source)
        self._env_steps = 0
        self._raw: Any = None
        self._info: dict[str, Any] = {}
        self._keys_seen: set[str] = set()
        self._picture_px: tuple[int, int] | None = None
        self._pictures_each = pictures_each(task, self._env)
        moves_when_drawn = not type(self._env.unwrapped).__module__.startswith(_OWN)
        self.spec = WorldSpec(
            observation_size=self._observations.size,
            action_size=self._actions.size,
            longest_agent_steps=math.ceil(self._limit / task.action_repeat),
            fixed_length=False,
            draws_again=bool(self._pictures_each),
            knows_success=task.knows_success,
            num_actions=self._actions.num_actions,
            grid_shape=self._observations.grid_shape,
            num_categories=self._observations.num_categories,
            says_instruction=self._instructions.of_episodes,
            action_low=self._actions.low,
            action_high=self._actions.high,
            # What draws again draws in an environment of its own.
            moves_when_drawn=moves_when_drawn and not self._pictures_each,
        )
        self._drawn: DrawnState | None = None
        self._start: Scene | None = None
        viewers.close_at_exit(self)
        if viewers.renderers_of(self._env):
            # A free camera looks at where things are when it draws its first picture, and goes on looking there.
            self.reset(CAMERA_SEED)
            self._picture()

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode; see `World`. Raises WorldError."""
        with told(f"{self._task.source}: reset()"), quiet(self._env):
            self._raw, self._info = self._parts("reset", self._env.reset(seed=seed), RESET_PARTS)
        self._env_steps = 0
        self._instruction = self._instructions.read(self._raw, self._info)
        if self.spec.draws_again:
            self._drawn = self._drawn or DrawnState(self._env)
            self._start = self._drawn.scene()
        return self._observations.vector(self._raw)

    def step(self, action: np.ndarray) -> WorldStep:
        """Act; see `World`. Repeated actions stop where the episode ends. Raises WorldError."""
        env_reward, success = 0.0, False
        for _ in range(self._task.action_repeat):
            with told(f"{self._task.source}: step()"):
                parts = self._parts("step", self._env.step(self._actions.own(action)), STEP_PARTS)
                self._raw, reward, terminated, truncated, self._info = parts
                reward = float(reward)
            self._keys_seen.update(self._info)
            self._env_steps += 1
            if not math.isfinite(reward):
                raise WorldError(f"{self._task.source}: step() gives the reward {reward}; it must be a finite number")
            env_reward += reward
            truncated = bool(truncated) or self._env_steps >= self._limit
            success |= self._succeeded(bool(terminated), reward)
            if terminated or truncated:
                break
        return WorldStep(self._observations.vector(self._raw), env_reward, success, bool(terminated), truncated)

    def instruction(self) -> str:
        """What the latest reset said, or the task's."""
        return self._instruction

    def solved_at_start(self) -> bool | None:
        """By the key, where the reset tells it; else by the rule that environments with goals have."""
        if not isinstance(self._task.success, SuccessKey):
            return None
        if self._task.success.key in self._info:
            return self._flag()
        rule, goals = getattr(self._env.unwrapped, "_is_success", None), ("achieved_goal", "desired_goal")
        if rule is None or not isinstance(self._raw, dict) or any(goal not in self._raw for goal in goals):
            return None
        return bool(rule(*(self._raw[goal] for goal in goals)))

    def check_success_was_told(self) -> None:
        """Raise WorldError if the task's success key was in no step's info so far."""
        rule = self._task.success
        if isinstance(rule, SuccessKey) and rule.key not in self._keys_seen:
            raise WorldError(
                f"{self._task.source}: task.success.key {rule.key!r} was in no step's info, which has "
                f"{', '.join(sorted(map(str, self._keys_seen))) or 'nothing'}. Name one of these; or leave out "
                "task.success, and returns are shown"
            )

    def done(self) -> np.ndarray | None:
        """Nobody knows better than the success flag."""
        return None

    def frame_state(self) -> np.ndarray:
        """What moves, as `redrawing` keeps it; nothing where frames are not drawn again."""
        return np.zeros(0, dtype=np.float32) if self._drawn is None else self._drawn.read()

    def scene(self) -> Scene:
        """What the reset placed. Raises WorldError if it has changed since: then frames cannot be drawn again."""
        if self._drawn is None:
            return Scene({})
        scene = self._drawn.scene()
        changed = [name for name, array in scene.arrays.items() if not np.array_equal(array, self._start.arrays[name])]
        if changed:
            raise WorldError(
                f"{self._task.source}: {changed[0]} of its model changes within an episode, so that frames cannot be "
                "drawn again: set task.draw_again to false"
            )
        return scene

    def frame(self) -> np.ndarray:
        """What there is to be seen; see `World`. Raises WorldError if it is no picture."""
        if self._drawn is not None:
            self._drawn.settle()
        num_pictures = max(1, self._pictures_each)
        if not self._env_steps and self.spec.moves_when_drawn:
            # Some draw what the picture before left behind (markers of another episode); so the first is drawn twice.
            num_pictures = 2
        for _ in range(num_pictures):
            picture = self._picture()
        return fitted(picture, self._task.image_px)

    def picture_facts(self) -> PictureFacts:
        """Of the latest picture."""
        return PictureFacts(self._picture_px, viewers.upright(self._env), picture_note(self._env))

    def close(self) -> None:
        """Free the environment and what it draws with."""
        if not self._closed:
            self._closed = True
            viewers.close(self._env)

    def __del__(self) -> None:
        # A viewer that is collected later would free names in another's context.
        if getattr(self, "_env", None) is not None:
            self.close()

    def _picture(self) -> np.ndarray:
        picture = take_picture(self._env, self._task.source)
        self._picture_px = picture.shape[:2]
        return picture

    def _succeeded(self, terminated: bool, reward: float) -> bool:
        if self._task.success == "termination":
            return terminated and reward > 0.0
        return self._task.success is not None and self._task.success.key in self._info and self._flag()

    def _parts(self, method: str, given: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
        """What a method gives, the last of it a dictionary. Raises WorldError if it is something else."""
        if not isinstance(given, tuple) or len(given) != len(names):
            number = f"{len(given)} values" if isinstance(given, tuple) else f"{type(given).__name__}, no tuple"
            raise WorldError(
                f"{self._task.source}: {method}() gives {number}; Gymnasium's gives {', '.join(names)}. An environment "
                "written for the older Gym needs a wrapper that gives these"
            )
        if not isinstance(given[-1], dict):
            kind = type(given[-1]).__name__
            raise WorldError(f"{self._task.source}: {method}() gives an info of type {kind}; it must be a dictionary")
        return given

    def _flag(self) -> bool:
        value = np.asarray(self._info[self._task.success.key])
        if value.size != 1 or value.dtype.kind not in "bfiu" or not np.isfinite(value).all():
            raise WorldError(
                f"{self._task.source}: info[{self._task.success.key!r}] is {value.tolist()!r}; task.success.key names "
                "an entry that is true or false"
            )
        return bool(value.item())
