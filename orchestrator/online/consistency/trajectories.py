"""Trajectories that succeed, and frames along them: by MetaWorld's scripted expert, or by the best policy of a run."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from actors.rollout.sight import Sight, act
from actors.worlds.families import family_of
from actors.worlds.metaworld.settings import MetaWorldTask
from actors.worlds.settings import TaskSettings
from actors.worlds.world import Drawer, World
from algorithms.acting import actor_from_numpy
from algorithms.images import encode_png
from algorithms.pixel_frames import PixelShape
from orchestrator.errors import SettingsError
from orchestrator.runs.layout import BEST_POLICY_FILE
from orchestrator.runs.reading import RunData
from orchestrator.storage.writing import read_arrays

START_SPREAD = 0.2
"""Where a task begins every episode alike, trajectories begin around there, or all would be one."""
ATTEMPTS = 4
"""For each trajectory that is wanted, episodes tried at most."""
AFTER_SUCCESS = 5
"""Agent steps shown after the first success."""

_ABOUT = "about."

Act = Callable[[np.ndarray, Sight | None, str], np.ndarray]
"""From an observation [observation], what is seen, and the instruction, to an action [action]."""


@dataclass(frozen=True)
class Trajectory:
    """Frames along an episode, in time order."""

    frames: list[bytes]
    """PNG files of F frames, at the task's size."""
    steps: np.ndarray
    """[F] int64: agent steps taken before each."""
    successes: np.ndarray | None
    """[F] bool: the world's success flag; None where success is unknown."""
    progress: np.ndarray | None
    """[F] float: true progress in [0, 1]; None where it is unknown."""
    observations: np.ndarray
    """[F, observation] float32."""
    returns: np.ndarray
    """[F] float32: what the world had paid by then."""
    instruction: str
    """Of the episode, if it has one of its own; else empty."""


def has_expert(task: TaskSettings) -> bool:
    """Whether somebody knows how the task is done."""
    return isinstance(task, MetaWorldTask)


def around_its_start(task: TaskSettings) -> TaskSettings:
    """The task whose trajectories are drawn: with starts of its own, or around its fixed one."""
    return task.judged_from(False, START_SPREAD if task.has_fixed_start else 0.0)


def best_acting(run: RunData) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Weights of a run's best policy, and what is known of its evaluation. Raises SettingsError if it has none yet."""
    path = run.folder / BEST_POLICY_FILE
    if not path.exists():
        raise SettingsError(f"{run.folder} has no policy yet: it is kept with the first evaluation")
    arrays = read_arrays(path)
    about = {name.removeprefix(_ABOUT): array.item() for name, array in arrays.items() if name.startswith(_ABOUT)}
    return {name: array for name, array in arrays.items() if not name.startswith(_ABOUT)}, about


def draw_trajectories(
    task: TaskSettings,
    number: int,
    num_frames: int,
    weights: Mapping[str, np.ndarray] | None,
    pixels: PixelShape | None,
) -> list[Trajectory]:
    """`number` trajectories of the policy that acts with `weights`; None for the expert.

    Where success is known only those that come to it count, from their start until shortly after it. Raises
    SettingsError if there is no expert, or if too few come to success.
    """
    if weights is None and not has_expert(task):
        raise SettingsError(
            f"the task {task.name!r} has no scripted expert, as MetaWorld's have: name a run of it whose best policy "
            "is to act, by --policy RUN"
        )
    family = family_of(task)
    world = family.make(task)
    drawer = family.drawer(task) if world.spec.draws_again else None
    choose = _expert(task) if weights is None else _policy(weights)
    found: list[Trajectory] = []
    try:
        for seed in range(ATTEMPTS * number):
            sight = None if pixels is None else Sight(world, drawer, pixels)
            trajectory = _episode(world, drawer, choose, sight, seed, num_frames, task)
            if trajectory is not None:
                found.append(trajectory)
            if len(found) == number:
                return found
    finally:
        world.close()
        if drawer is not None:
            drawer.close()
    who = "the scripted expert" if weights is None else "the policy"
    raise SettingsError(
        f"{who} came to success in {len(found)} of {ATTEMPTS * number} episodes, and {number} are wanted: ask for "
        "fewer by --trajectories, or let a better policy act"
    )


def _episode(
    world: World,
    drawer: Drawer | None,
    choose: Act,
    sight: Sight | None,
    seed: int,
    num_frames: int,
    task: TaskSettings,
) -> Trajectory | None:
    """A whole episode, cut shortly after its first success; None if success is known, and does not come."""
    observation = world.reset(seed)
    instruction = world.instruction() if world.spec.says_instruction else ""
    scene, until = world.scene(), world.spec.longest_agent_steps

    def look() -> np.ndarray:
        """What the frame there is now is drawn from, or itself where the world does not draw again. That is taken once,
        since a world may move when it draws."""
        looked = None if sight is None else sight.look()[0]
        if world.spec.draws_again:
            return world.frame_state()
        return world.frame() if looked is None else looked

    seen = [_Seen(observation, look(), bool(world.solved_at_start()), 0.0)]
    with warnings.catch_warnings():
        # MetaWorld's experts warn of actions that they know will be clipped.
        warnings.simplefilter("ignore", UserWarning)
        ended = False
        while not ended and len(seen) <= until:
            step = world.step(choose(observation, sight, world.instruction()))
            observation = step.observation
            seen.append(_Seen(observation, look(), step.success, seen[-1].env_return + step.env_reward))
            ended = step.terminated or step.truncated
            if step.success:
                until = min(until, len(seen) - 1 + AFTER_SUCCESS)
    if world.spec.knows_success and not any(one.success for one in seen):
        return None
    places = np.unique(np.rint(np.linspace(0, len(seen) - 1, num_frames)).astype(np.int64))
    chosen = [seen[place] for place in places]
    if drawer is None:
        frames = [encode_png(one.frame) for one in chosen]
    else:
        frames = [encode_png(frame) for frame in drawer.render(scene, np.stack([one.frame for one in chosen]))]
    observations = np.stack([one.observation for one in chosen])
    returns = np.array([one.env_return for one in chosen], dtype=np.float32)
    progress = family_of(task).progress(task, observations, returns)
    return Trajectory(
        frames=frames,
        steps=places,
        successes=np.array([one.success for one in chosen]) if world.spec.knows_success else None,
        progress=progress if progress is not None and np.isfinite(progress).all() else None,
        observations=observations,
        returns=returns,
        instruction=instruction,
    )


@dataclass(frozen=True)
class _Seen:
    """A moment of an episode."""

    observation: np.ndarray
    frame: np.ndarray
    """What it is drawn from, or the frame itself where the world does not draw again."""
    success: bool
    env_return: float


def _expert(task: MetaWorldTask) -> Act:
    # Here, since it brings MetaWorld.
    from actors.worlds.metaworld.environment import scripted_policy

    policy = scripted_policy(task.env_id)
    return lambda observation, sight, instruction: np.clip(policy.get_action(observation.astype(np.float64)), -1.0, 1.0)


def _policy(weights: Mapping[str, np.ndarray]) -> Act:
    actor = actor_from_numpy(dict(weights))
    return lambda observation, sight, instruction: act(actor, observation[None], [sight], None, [instruction])[0]
