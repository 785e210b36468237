"""Frames of MuJoCo environments drawn again from state, where a test on the environment itself shows that it works.

What a picture shows of such an environment is: joint positions, what hangs on mocap bodies, the goal that some
environments draw, and arrays of the model that a reset edits. `mj_step` leaves body positions a substep behind the
joints, and a free camera keeps looking at what it saw first. So whoever draws restores all of that, calls `mj_forward`,
and lets the camera see its first picture after one and the same reset.
"""

import functools
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np

from actors.worlds.foreign import told
from actors.worlds.gymnasium import viewers
from actors.worlds.gymnasium.making import make_env
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.pictures import checked, fitted
from actors.worlds.world import WorldError
from algorithms.episodes import Scene

FAMILIES = ("gymnasium.envs.mujoco.", "gymnasium_robotics.")
"""Whose pictures are known to be functions of the simulator's state and a goal. Others' may show anything."""
CAMERA_SEED = 0
"""Of the reset after which a camera sees its first picture, the same in every process."""

_MODEL_ARRAYS = (
    "body_pos", "body_quat", "geom_pos", "geom_quat", "geom_size", "geom_rgba", "site_quat", "site_size", "site_rgba",
    "mat_rgba", "cam_pos", "cam_quat", "light_pos", "light_dir",
)  # fmt: skip
"""What resets may edit, and pictures show; kept once an episode."""
_OTHERS = ("qpos0", "jnt_", "geom_", "mat_", "tendon_", "cam_", "light_")
"""Beginnings of the names of what else pictures depend on; nothing known edits it, and that is checked. Meshes and
textures are not among them: OpenGL has copies of those, made at the start."""
_TEST_SEEDS = (CAMERA_SEED, 1)
_TEST_STEPS = (0, 2, 9)
"""Steps of the test's episodes after which pictures are compared."""


class DrawnState:
    """Reads from an environment, and puts into one, what its pictures show."""

    def __init__(self, env: gymnasium.Env) -> None:
        """`env` has been reset."""
        (renderer,) = viewers.renderers_of(env)
        self._inner = env.unwrapped
        self._model, self._data = renderer.model, renderer.data
        self._has_goal = isinstance(getattr(self._inner, "goal", None), np.ndarray)
        self._size = _mujoco().mj_stateSize(self._model, _signature())
        self._others = [
            name
            for name in dir(self._model)
            if name.startswith(_OTHERS) and name not in _MODEL_ARRAYS
            and isinstance(getattr(self._model, name), np.ndarray)
        ]  # fmt: skip
        self._sum_of_others = self._check_sum()

    def read(self) -> np.ndarray:
        """[F] float32: the bits of what moves from step to step."""
        state = np.empty(self._size)
        _mujoco().mj_getState(self._model, self._data, state, _signature())
        goal = np.asarray(self._inner.goal, dtype=np.float64).ravel() if self._has_goal else np.empty(0)
        return np.concatenate([state, self._model.site_pos.ravel(), goal]).view(np.float32)

    def scene(self) -> Scene:
        """Copies of what a reset may have edited. Raises WorldError if it has edited something else, too."""
        if self._check_sum() != self._sum_of_others:
            raise WorldError(
                "the environment edits its model in a way that stored states do not hold, so that its frames cannot be "
                "drawn again: set task.draw_again to false"
            )
        return Scene({name: getattr(self._model, name).copy() for name in _MODEL_ARRAYS})

    def restore(self, scene: Scene, state: np.ndarray) -> None:
        """Put all where `read` and `scene` found it."""
        for name, array in scene.arrays.items():
            getattr(self._model, name)[:] = array
        numbers = np.ascontiguousarray(state).view(np.float64)
        moved, sites, goal = np.split(numbers, [self._size, self._size + self._model.site_pos.size])
        _mujoco().mj_setState(self._model, self._data, moved.copy(), _signature())
        self._model.site_pos[:] = sites.reshape(self._model.site_pos.shape)
        if self._has_goal:
            self._inner.goal = goal.reshape(self._inner.goal.shape).astype(self._inner.goal.dtype)
        self.settle()

    def settle(self) -> None:
        """Let bodies stand where the joints are."""
        _mujoco().mj_forward(self._model, self._data)

    def _check_sum(self) -> int:
        total = 0
        for name in self._others:
            total = zlib.crc32(np.ascontiguousarray(getattr(self._model, name)).tobytes(), total)
        return total


class StateDrawer:
    """Draws frames of a task in an environment of its own."""

    def __init__(self, task: GymnasiumTask, pictures_each: int = 1) -> None:
        """Some environments draw what the picture before left behind: of those each is drawn twice."""
        self._task = task
        self._pictures_each = pictures_each
        self._env = make_env(task)
        viewers.close_at_exit(self)
        with told(f"{task.source}: reset()"):
            self._env.reset(seed=CAMERA_SEED)
        self._state = DrawnState(self._env)
        self._picture()

    def render(self, scene: Scene, frame_states: np.ndarray) -> np.ndarray:
        """The frames, uint8 [N, px, px, 3], of states float32 [N, F] of one episode. Raises WorldError."""
        px = self._task.image_px
        frames = np.empty((len(frame_states), px, px, 3), dtype=np.uint8)
        for frame, state in zip(frames, frame_states, strict=True):
            self._state.restore(scene, state)
            for _ in range(self._pictures_each):
                picture = self._picture()
            frame[:] = fitted(picture, px)
        return frames

    def close(self) -> None:
        """Free the environment and what it draws with."""
        if self._env is not None:
            viewers.close(self._env)
            self._env = None

    def __del__(self) -> None:
        # A viewer that is collected later would free names in another's context.
        if getattr(self, "_env", None) is not None:
            self.close()

    def _picture(self) -> np.ndarray:
        return take_picture(self._env, self._task.source)


def state_drawer(task: GymnasiumTask) -> StateDrawer:
    """What draws frames of a task whose world says that they are drawn again. Raises WorldError."""
    return StateDrawer(task, _tried(_text(task)))


def take_picture(env: gymnasium.Env, source: str) -> np.ndarray:
    """What `render()` gives now, uint8 [H, W, 3]. Raises WorldError if it is no picture."""
    viewers.make_current(env)
    with told(f"{source}: render()"):
        return checked(env.render(), source)


def pictures_each(task: GymnasiumTask, env: gymnasium.Env) -> int:
    """How often a frame has to be drawn so that it follows from its state alone: 1 or 2; 0 if it never does.

    Tried once a process, with two environments of their own, of which the second draws the first one's states in
    another order and without its history. Raises WorldError.
    """
    inner = env.unwrapped
    known = type(inner).__module__.startswith(FAMILIES) and len(viewers.renderers_of(env)) == 1
    if not (task.draw_again and known) or _draws_over(task, env):
        return 0
    return _tried(_text(task))


def _text(task: GymnasiumTask) -> str:
    return json.dumps(task.model_dump(mode="json"), sort_keys=True)


@functools.cache
def _tried(text: str) -> int:
    task = GymnasiumTask.model_validate_json(text)
    env = make_env(task)
    try:
        for number in (1, 2):
            drawer = StateDrawer(task, number)
            try:
                if _same(task, env, drawer, number):
                    return number
            finally:
                drawer.close()
        return 0
    finally:
        viewers.close(env)


def _same(task: GymnasiumTask, env: gymnasium.Env, drawer: StateDrawer, number: int) -> bool:
    rng = np.random.default_rng(CAMERA_SEED)
    actions = _few_actions(env, rng)
    seen = []
    with told(f"{task.source}: reset() and step()"):
        for seed in _TEST_SEEDS:
            env.reset(seed=seed)
            state = DrawnState(env)
            for step in range(max(_TEST_STEPS) + 1):
                if step in _TEST_STEPS:
                    kept = state.scene(), state.read()
                    state.settle()
                    for _ in range(number):
                        picture = take_picture(env, task.source)
                    seen.append((*kept, fitted(picture, task.image_px)))
                env.step(next(actions))
    return all(np.array_equal(drawer.render(scene, state[None])[0], shown) for scene, state, shown in reversed(seen))


def _few_actions(env: gymnasium.Env, rng: np.random.Generator) -> Iterator[Any]:
    """Random actions without end, small ones where they are numbers."""
    space = env.action_space
    while True:
        if isinstance(space, gymnasium.spaces.Discrete):
            yield space.start + rng.integers(space.n)
        else:
            yield rng.uniform(np.maximum(space.low, -1.0), np.minimum(space.high, 1.0)).astype(space.dtype)


def _draws_over(task: GymnasiumTask, env: gymnasium.Env) -> bool:
    """Whether a wrapper of the user's own makes pictures, or changes them."""
    for _ in task.wrappers:
        if type(env).render is not gymnasium.Wrapper.render:
            return True
        env = env.env
    return False


def _mujoco() -> Any:
    import mujoco

    return mujoco


def _signature() -> int:
    states = _mujoco().mjtState
    names: Sequence[str] = ("mjSTATE_QPOS", "mjSTATE_ACT", "mjSTATE_MOCAP_POS", "mjSTATE_MOCAP_QUAT")
    return sum(int(getattr(states, name)) for name in names)
