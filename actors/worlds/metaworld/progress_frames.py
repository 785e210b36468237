"""Frames whose true stage is known: what the pocket rater learns from and is judged on."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from actors.worlds.metaworld import stages
from actors.worlds.metaworld.behaviours import HELD_OUT, BehaviourKind, training_kinds
from actors.worlds.metaworld.environment import ScriptedPolicy, TaskEnvironment, scripted_policy
from actors.worlds.metaworld.renderer import FrameRenderer
from actors.worlds.metaworld.settings import FixedStartSettings, MetaWorldTask
from algorithms.episodes import Scene

HELD_OUT_SEEDS = 10_000_000
"""Episodes of training draw their starts from seeds below this, held-out ones from seeds above."""
MEASURE_M = 0.3
"""Unit of the measured distances."""
STEPS_PER_FRAME = 6
"""Steps acted for each frame kept."""
LONGEST_EPISODE = 150
"""Agent steps of an episode here; every scripted expert is done before."""


@dataclass(frozen=True)
class ProgressFrames:
    """N frames of one task with what is true of them."""

    images: np.ndarray
    """[N, px, px, 3] uint8."""
    observations: np.ndarray
    """[N, 39] float32: the simulator's observation."""
    stages: np.ndarray
    """[N] int64 in [0, 5)."""
    hand_states: np.ndarray
    """[N] int64: reach limits that the hand is within."""
    object_states: np.ndarray
    """[N] int64: travel thresholds that the object has passed."""
    measures: np.ndarray
    """[N, 5] float32, each about -1 to 1: position of the hand relative to the object (of the object relative to the
    goal if the robot is hidden), its length, and the object's travel."""
    behaviours: np.ndarray
    """[N] int64: index of the way of acting, in `behaviours.training_kinds` or `HELD_OUT`."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class _Episode:
    scene: Scene
    frame_states: np.ndarray
    observations: np.ndarray
    behaviour: int


def collect(
    task: MetaWorldTask,
    num_frames: int,
    image_px: int,
    seed: int,
    held_out: bool = False,
    on_frames: Callable[[int], None] = lambda count: None,
) -> ProgressFrames:
    """`num_frames` frames of `task`, spread evenly over stages and behaviours as far as those occur.

    Frames are drawn at the task's size and reduced to `image_px`, as the image processor would. `on_frames` is told how
    many were drawn each time. Equal arguments give equal frames.
    """
    kinds = HELD_OUT if held_out else training_kinds(task)
    episodes = _act(task, kinds, num_frames, seed + (HELD_OUT_SEEDS if held_out else 0))
    observations = np.concatenate([episode.observations for episode in episodes])
    behaviours = np.concatenate([np.full(len(e.observations), e.behaviour) for e in episodes])
    true_stages = stages.stage_of(task.name, observations)
    rng = np.random.default_rng([seed, held_out, 1])
    chosen = _spread(true_stages, behaviours, num_frames, rng)
    images = _draw(task, episodes, chosen, image_px, on_frames)
    seen = observations[chosen]
    return ProgressFrames(
        images=images,
        observations=seen,
        stages=true_stages[chosen],
        hand_states=stages.hand_state_of(task.name, seen),
        object_states=stages.object_state_of(task.name, seen),
        measures=_measures(task, seen),
        behaviours=behaviours[chosen],
    )


def _act(task: MetaWorldTask, kinds: tuple[BehaviourKind, ...], num_frames: int, first_seed: int) -> list[_Episode]:
    """More steps than frames are wanted, so that rare stages can be chosen."""
    environment = TaskEnvironment(task)
    policy = scripted_policy(task.env_id)
    num_steps = min(LONGEST_EPISODE, task.episode_agent_steps)
    num_episodes = max(len(kinds), num_frames * STEPS_PER_FRAME // num_steps)
    episodes = []
    for index in range(num_episodes):
        behaviour = index % len(kinds)
        rng = np.random.default_rng([first_seed, index])
        if not task.randomised_starts:
            environment.task = _varied_start(task, environment, rng)
        episodes.append(_episode(environment, policy, kinds, behaviour, first_seed + index, num_steps, rng))
    environment.close()
    return episodes


def _episode(
    environment: TaskEnvironment,
    policy: ScriptedPolicy,
    kinds: tuple[BehaviourKind, ...],
    behaviour: int,
    seed: int,
    num_steps: int,
    rng: np.random.Generator,
) -> _Episode:
    act = kinds[behaviour].make(policy, rng, num_steps)
    observation = environment.reset(seed)
    frame_states, observations = [environment.frame_state()], [observation]
    with warnings.catch_warnings():
        # MetaWorld's experts warn of actions that they know will be clipped.
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(num_steps):
            observation = environment.step(act(observation)).observation
            frame_states.append(environment.frame_state())
            observations.append(observation)
    return _Episode(environment.scene(), np.array(frame_states), np.array(observations), behaviour)


def _measures(task: MetaWorldTask, observations: np.ndarray) -> np.ndarray:
    moving = slice(0, 3) if task.robot_visible else slice(4, 7)
    towards = slice(4, 7) if task.robot_visible else slice(36, 39)
    relative = (observations[:, moving] - observations[:, towards]) / MEASURE_M
    length = np.linalg.norm(relative, axis=1)
    travel = stages.travel_of(task.name, observations)
    return np.column_stack([relative, length, travel]).clip(-2.0, 2.0).astype(np.float32)


def _varied_start(task: MetaWorldTask, environment: TaskEnvironment, rng: np.random.Generator) -> MetaWorldTask:
    """The fixed start for half of the episodes; for the others the object stands up to 8 cm aside, so that the
    pictures also show where a clumsy push may leave it."""
    start = task.fixed_start
    if start.random_vector is None or len(start.random_vector) != 6 or rng.random() < 0.5:
        return task
    vector = np.array(start.random_vector)
    # Both tasks reject an object that starts within 15 cm of its goal, so it moves further back than forth.
    vector[:2] += rng.uniform((-0.08, -0.08), (0.08, 0.03))
    moved = FixedStartSettings(random_vector=tuple(vector), hand=start.hand)
    return task.model_copy(update={"fixed_start": moved})


def _spread(true_stages: np.ndarray, behaviours: np.ndarray, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of `num_frames` steps: equally many of each stage, and within a stage of each behaviour, as far as
    there are any; what a small group lacks, the others give."""
    by_stage = [np.flatnonzero(true_stages == stage) for stage in range(stages.NUM_STAGES)]
    shares = _fill([len(group) for group in by_stage], num_frames)
    chosen = []
    for group, share in zip(by_stage, shares, strict=True):
        kinds = [group[behaviours[group] == kind] for kind in range(behaviours.max() + 1)]
        for members, count in zip(kinds, _fill([len(kind) for kind in kinds], share), strict=True):
            chosen.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def _fill(sizes: list[int], total: int) -> list[int]:
    """How many to take from groups of `sizes` so that the takes are as equal as can be and sum to `total` at most."""
    takes = [0] * len(sizes)
    for order, index in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        takes[index] = min(sizes[index], (total - sum(takes)) // (len(sizes) - order))
    return takes


def _draw(
    task: MetaWorldTask,
    episodes: list[_Episode],
    chosen: np.ndarray,
    image_px: int,
    on_frames: Callable[[int], None],
) -> np.ndarray:
    """Images [len(chosen), image_px, image_px, 3] of the steps `chosen`, counted through all episodes."""
    renderer = FrameRenderer(task)
    images, first = [], 0
    for episode in episodes:
        last = first + len(episode.frame_states)
        steps = chosen[(chosen >= first) & (chosen < last)] - first
        if len(steps):
            frames = renderer.render(episode.scene, episode.frame_states[steps])
            images.append(np.stack([reduced(frame, image_px) for frame in frames]))
            on_frames(len(steps))
        first = last
    renderer.close()
    return np.concatenate(images)


def reduced(frame: np.ndarray, image_px: int) -> np.ndarray:
    """A frame [px, px, 3] uint8 at `image_px`, by bicubic resampling."""
    if frame.shape[0] == image_px:
        return frame
    return np.array(Image.fromarray(frame).resize((image_px, image_px), Image.Resampling.BICUBIC))
