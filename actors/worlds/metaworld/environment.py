"""A MetaWorld v3 task as an environment of fixed-length episodes. Needs no OpenGL."""

from pathlib import Path
from typing import Protocol

import metaworld
import mujoco
import numpy as np
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from actors.worlds.metaworld import frame_state
from actors.worlds.metaworld.settings import OBSERVATION_SIZE, MetaWorldTask, check_env_id, spec_of
from actors.worlds.metaworld.stages import can_tell_done, is_done
from actors.worlds.world import WorldStep
from algorithms.episodes import Scene

_MAX_DRAWS = 10
"""More draws of one and the same start vector in a reset mean that the task keeps rejecting it."""
_INFO_KEYS = ("success", "near_object", "grasp_success", "obj_to_target", "unscaled_reward")


class ScriptedPolicy(Protocol):
    """MetaWorld's hand-written expert of a task."""

    def get_action(self, obs: np.ndarray) -> np.ndarray:
        """The expert's action [4] for an observation [39]; clip it to [-1, 1]."""
        ...


class TaskEnvironment:
    """One simulator of a task. A reset's start depends on its seed alone, not on the episodes before it."""

    def __init__(self, task: MetaWorldTask) -> None:
        self.task = task
        self.spec = spec_of(task)
        self.info: dict[str, float] = {}
        """The simulator's facts after the last step: success, near_object, grasp_success, obj_to_target (metres) and
        unscaled_reward. Empty after a reset."""
        self.repeated_observations = np.empty((0, OBSERVATION_SIZE))
        """What was seen after each repeated action of the last step, float64 [action_repeat, 39]. Empty after a
        reset."""
        self._env = metaworld.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{task.env_id}-goal-observable"](seed=0)
        hand = None if task.randomised_starts else task.fixed_start.hand
        self._hand_start = np.array(self._env.hand_init_pos if hand is None else hand, dtype=np.float64)
        # The start that MetaWorld itself freezes when it builds the task with this seed.
        self._default_start = np.array(self._env._last_rand_vec)
        self._env_steps = 0
        self._check_fixed_start()

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode and return its first observation [39] float32. `seed` >= 0; fixed starts ignore it.

        Raises:
            ValueError: the task rejects the fixed start.
        """
        if self.task.randomised_starts:
            self._place(self._random_start(seed))
        elif self.task.start_spread:
            self._place_near(seed)
        else:
            self._place(self._fixed_start())
        self.info = {}
        self.repeated_observations = np.empty((0, OBSERVATION_SIZE))
        self._env_steps = 0
        self._first = self._first_observation()
        return self._first

    def step(self, action: np.ndarray) -> WorldStep:
        """Apply an action [4] `action_repeat` times; what lies outside [-1, 1] is clipped."""
        if self._env_steps >= self.task.episode_env_steps:
            raise RuntimeError("the episode has ended: call reset() before the next step")
        clipped = np.clip(np.asarray(action, dtype=np.float32), -1.0, 1.0)
        env_reward, success, observations = 0.0, False, []
        for _ in range(self.task.action_repeat):
            observation, reward, _, _, info = self._env.step(clipped)
            env_reward += float(reward)
            success |= bool(info["success"])
            observations.append(observation)
        self._env_steps += self.task.action_repeat
        self.info = {key: float(info[key]) for key in _INFO_KEYS}
        self.repeated_observations = np.stack(observations)
        truncated = self._env_steps >= self.task.episode_env_steps
        return WorldStep(observation.astype(np.float32), env_reward, success, False, truncated)

    def instruction(self) -> str:
        """The task's."""
        return self.task.instruction

    def solved_at_start(self) -> bool | None:
        """Whether the first observation shows the thing done, of tasks where that is known."""
        return bool(is_done(self.task.env_id, self._first[None])[0]) if can_tell_done(self.task.env_id) else None

    def done(self) -> np.ndarray | None:
        """The last of the task's true stages after each repeated action of the last step, bool [action_repeat]."""
        known = can_tell_done(self.task.env_id)
        return is_done(self.task.env_id, self.repeated_observations) if known else None

    def frame_state(self) -> np.ndarray:
        """What moves, [F] float32: with `scene()`, it rebuilds the present frame bit-exactly."""
        return frame_state.read(self._env.data)

    def scene(self) -> Scene:
        """What the last reset changed in the simulator's model."""
        return frame_state.read_scene(self._env.model)

    def frame(self) -> np.ndarray:
        """Frames are drawn from state, by a `FrameRenderer`."""
        raise NotImplementedError("a frame of MetaWorld is drawn from scene() and frame_state()")

    def hand_position(self) -> np.ndarray:
        """Centre between the fingertips, [3] float64 in metres."""
        return np.array(self._env.tcp_center)

    def object_position(self) -> np.ndarray:
        """Position of the task's (first) object, [3] float64 in metres."""
        return np.array(self._env._get_pos_objects()[:3])

    def goal_position(self) -> np.ndarray:
        """Where the object should go, [3] float64 in metres."""
        return np.array(self._env._target_pos)

    @property
    def simulator(self) -> SawyerXYZEnv:
        """MetaWorld's own environment, for what this class does not offer."""
        return self._env

    def close(self) -> None:
        """Free the simulator."""
        self._env.close()

    def _random_start(self, seed: int) -> np.ndarray:
        """The start vector that `seed` draws, after the task's own rejections."""
        env = self._env
        env.seed(seed)
        env._freeze_rand_vec = False
        env.seeded_rand_vec = True
        env.reset_model()
        return np.array(env._last_rand_vec)

    def _place_near(self, seed: int) -> None:
        """Reset to a start around the fixed one; one that the task rejects is drawn anew."""
        fixed = self._fixed_start()
        for attempt in range(_MAX_DRAWS):
            drawn = self._random_start(int(np.random.default_rng((seed, attempt)).integers(2**31)))
            try:
                return self._place(fixed + self.task.start_spread * (drawn - fixed))
            except ValueError:
                continue
        raise ValueError(
            f"{self.task.env_id}: none of {_MAX_DRAWS} starts around the fixed one is allowed; lower start_spread, or "
            "change fixed_start.random_vector"
        )

    def _fixed_start(self) -> np.ndarray:
        given = self.task.fixed_start.random_vector
        return self._default_start if given is None else np.array(given, dtype=np.float64)

    def _place(self, start: np.ndarray) -> None:
        """Reset to a start vector.

        MetaWorld's reset places things twice, and some tasks measure the second placing before the simulator has
        moved anything there. So both placings must use one vector, or the measures belong to another start.
        """
        env, draws = self._env, 0

        def given_start() -> np.ndarray:
            nonlocal draws
            draws += 1
            if draws > _MAX_DRAWS:
                raise ValueError(
                    f"{self.task.env_id} rejects the fixed start {start.tolist()}: the object lies too close to its "
                    "goal; change fixed_start.random_vector"
                )
            return start.copy()

        env.hand_init_pos = self._hand_start.copy()
        env._get_state_rand_vec = given_start
        try:
            env.reset()
        finally:
            del env._get_state_rand_vec

    def _first_observation(self) -> np.ndarray:
        """The observation of things as they lie now: MetaWorld's own may still show them where they were before."""
        env = self._env
        mujoco.mj_forward(env.model, env.data)
        now = env._get_curr_obs_combined_no_goal()
        env._prev_obs = now
        return np.concatenate([now, now, env._get_pos_goal()]).astype(np.float32)

    def _check_fixed_start(self) -> None:
        given = self.task.fixed_start.random_vector
        size = self._env._random_reset_space.low.size
        if given is not None and len(given) != size:
            raise ValueError(
                f"fixed_start.random_vector has {len(given)} numbers; {self.task.env_id} needs {size}, in the range "
                f"{self._env._random_reset_space.low.tolist()} to {self._env._random_reset_space.high.tolist()}"
            )


def scripted_policy(env_id: str) -> ScriptedPolicy:
    """MetaWorld's scripted expert of a task, such as `drawer-close-v3`."""
    return ENV_POLICY_MAP[check_env_id(env_id)]()


def model_path(env_id: str) -> Path:
    """The MuJoCo file of a task's scene."""
    # The property is constant, but MetaWorld declares it on instances, and an instance loads the whole model.
    return Path(metaworld.ALL_V3_ENVIRONMENTS[check_env_id(env_id)].model_name.fget(None))
