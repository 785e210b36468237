"""Plays some episodes of a world, and notes all that somebody should know of it before a run."""

import hashlib
import time
from dataclasses import dataclass

import numpy as np

from actors.worlds.apart import apart
from actors.worlds.families import family_of
from actors.worlds.settings import TaskSettings
from actors.worlds.world import Drawer, World, WorldSpec, WorldStep
from algorithms.frame_codec import encode

SEEDS = (0, 0, 1)
"""Of the resets. The first two show whether an episode depends on those before it."""
MOST_AGENT_STEPS = 250
"""Of an episode; longer ones are left there."""
INSTRUCTION_SEEDS = 20
"""Resets of which the instruction is read, where every episode has its own."""
KEPT_FRAMES = 8
"""Of each episode, evenly spread, for people to look at."""


@dataclass(frozen=True)
class Played:
    """An episode of random actions, or as much of it as was played."""

    seed: int
    instruction: str
    """What was to be done in it."""
    digest: str
    """Of all that it gave: instruction, observations, rewards, frames."""
    start_digest: str
    """Of its instruction, its first observation and frame."""
    num_agent_steps: int
    terminated: bool
    truncated: bool
    """Both false: it was left before its end."""
    env_return: float
    successes: tuple[bool, ...] | None
    """The flag after each step; None where success is unknown."""
    solved_at_start: bool | None
    frames: np.ndarray
    """uint8 [K, px, px, 3]: some of its frames, from the first to the last."""
    frame_steps: tuple[int, ...]
    """After how many agent steps each was seen."""
    changed: tuple[float, ...]
    """Share of the picture's pixels that differ from the frame before, after each step."""
    kept_bytes: int
    """Bytes that its frames take where they are kept; 0 where they are drawn again."""


@dataclass(frozen=True)
class Examined:
    """What was found."""

    spec: WorldSpec
    episodes: tuple[Played, ...]
    instructions: tuple[str, ...]
    """What the episodes of some seeds say, one for each; empty where all have the task's."""
    brightness: float
    """Mean of the darkest frame, 0 to 255."""
    contrast: float
    """Standard deviation of the flattest frame's values."""
    picture_px: tuple[int, int] | None
    """Height and width of the world's own pictures, before they are made to fit; None if they are made as wanted."""
    upright: bool | None
    """Whether up in the world is up in the picture; None where that is not known."""
    picture_note: str
    """What else somebody should know of its pictures."""
    kept_bytes: float
    """Bytes that a step's frame takes in a run's archive; 0 where frames are drawn again."""
    agent_steps_per_s: float
    """Steps a second, without pictures."""
    frames_per_s: float


def examine_apart(task: TaskSettings) -> tuple[Examined, Examined]:
    """What two processes found, each started anew, one after the other. Raises WorldError."""
    return apart(examine, task), apart(examine, task)


def examine(task: TaskSettings) -> Examined:
    """Make a world and play. Raises WorldError."""
    family = family_of(task)
    world = family.make(task)
    drawer = family.drawer(task) if world.spec.draws_again else None
    try:
        watch = _Watch(world, drawer)
        episodes = tuple(_play(world, watch, seed) for seed in SEEDS)
        if any(one.terminated or one.truncated for one in episodes):
            family.check_played(task, world)
        facts = family.pictures_of(world)
        seen = _without_margins(np.concatenate([one.frames for one in episodes]), facts.px)
        num_steps = sum(one.num_agent_steps for one in episodes)
        return Examined(
            spec=world.spec,
            episodes=episodes,
            instructions=_said(world),
            brightness=min(float(frame.mean()) for frame in seen),
            contrast=min(float(frame.std()) for frame in seen),
            picture_px=facts.px,
            upright=facts.upright,
            picture_note=facts.note,
            kept_bytes=sum(one.kept_bytes for one in episodes) / num_steps,
            agent_steps_per_s=num_steps / max(watch.stepping_s, 1e-9),
            frames_per_s=watch.num_frames / max(watch.drawing_s, 1e-9),
        )
    finally:
        if drawer is not None:
            drawer.close()
        world.close()


def _said(world: World) -> tuple[str, ...]:
    said = []
    for seed in range(INSTRUCTION_SEEDS if world.spec.says_instruction else 0):
        world.reset(seed)
        said.append(world.instruction())
    return tuple(said)


def _without_margins(frames: np.ndarray, px: tuple[int, int] | None) -> np.ndarray:
    """Frames [N, side, side, 3] without the black that made pictures of `px`, height and width, fit into the square."""
    if px is None:
        return frames
    side = frames.shape[1]
    rows, columns = (max(1, side * length // max(px)) for length in px)
    top, left = (side - rows) // 2, (side - columns) // 2
    return frames[:, top : top + rows, left : left + columns]


class _Watch:
    """Steps a world and takes its frames as a run does, and counts what that costs."""

    def __init__(self, world: World, drawer: Drawer | None) -> None:
        self._world, self._drawer = world, drawer
        self.stepping_s = self.drawing_s = 0.0
        self.num_frames = 0

    def step(self, action: np.ndarray) -> WorldStep:
        started = time.monotonic()
        step = self._world.step(action)
        self.stepping_s += time.monotonic() - started
        return step

    def frame(self) -> np.ndarray:
        started = time.monotonic()
        if self._drawer is None:
            frame = self._world.frame()
        else:
            frame = self._drawer.render(self._world.scene(), self._world.frame_state()[None])[0].copy()
        self.drawing_s += time.monotonic() - started
        self.num_frames += 1
        return frame


def _play(world: World, watch: _Watch, seed: int) -> Played:
    spec = world.spec
    # The same actions after either reset of one seed.
    rng = np.random.default_rng(seed)
    digest = hashlib.sha256()
    observation = world.reset(seed)
    instruction = world.instruction()
    solved = world.solved_at_start()
    frames = [watch.frame()]
    digest.update(instruction.encode() + observation.tobytes() + frames[0].tobytes())
    start_digest = digest.hexdigest()
    successes, changed, env_return, terminated, truncated = [], [], 0.0, False, False
    while not (terminated or truncated) and len(successes) < MOST_AGENT_STEPS:
        action = spec.random_actions(rng)
        step = watch.step(action)
        frames.append(watch.frame())
        digest.update(step.observation.tobytes() + np.float64(step.env_reward).tobytes() + frames[-1].tobytes())
        changed.append(float((frames[-1] != frames[-2]).any(axis=-1).mean()))
        successes.append(step.success)
        env_return += step.env_reward
        terminated, truncated = step.terminated, step.truncated
    places = sorted({round(place) for place in np.linspace(0, len(frames) - 1, KEPT_FRAMES)})
    return Played(
        seed=seed,
        instruction=instruction,
        digest=digest.hexdigest(),
        start_digest=start_digest,
        num_agent_steps=len(successes),
        terminated=terminated,
        truncated=truncated,
        env_return=env_return,
        successes=tuple(successes) if spec.knows_success else None,
        solved_at_start=solved,
        frames=np.stack([frames[place] for place in places]),
        frame_steps=tuple(places),
        changed=tuple(changed),
        kept_bytes=len(encode(np.stack(frames))) if not spec.draws_again else 0,
    )
