"""Bytes that a step takes with what is needed to show its frame, beside raw frames and Stable-Baselines3's buffer.

    python benchmarks/replay_bytes.py [--worlds mujoco minigrid carracing ...] [--steps 1000] [--image-px 224]

Environments of Gymnasium are played with random actions, each held for a while so that things move. Their frames are
fitted to `image_px` as a run does it, kept in blocks by a run's archive, written to a checkpoint, and read back by
another archive. Worlds that draw their frames again keep states. In both cases every frame is compared, pixel by
pixel, with the one that was seen. Stable-Baselines3's ReplayBuffer gets the same pictures; it keeps what was seen
before and after each action. Ends with status 1 if a frame differs or a world takes more than its share of that.
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np

from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.gymnasium import viewers
from actors.worlds.gymnasium.making import prepare_headless
from actors.worlds.gymnasium.settings import GymnasiumTask
from actors.worlds.metaworld.settings import MetaWorldTask
from actors.worlds.pictures import checked, fitted
from actors.worlds.settings import TaskSettings
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.frame_codec import encode
from algorithms.replay import ColumnarReplay
from orchestrator.runs.frame_archive import FrameArchive

CHUNK = 50
"""Agent steps of a block, as `rollout.chunk_agent_steps`."""
HELD_STEPS = 8
"""Steps for which an action is held."""


@dataclass(frozen=True)
class Measured:
    """Bytes a step, and how many frames came back otherwise."""

    raw: float
    kept: float
    differing: int


@dataclass(frozen=True)
class Case:
    """An environment of Gymnasium."""

    env_id: str
    package: str
    """What it needs, as it is imported, and as it is installed."""
    install: str
    share: float
    """Of Stable-Baselines3's buffer that it may take at most."""


CASES = {
    "mujoco": Case("HalfCheetah-v5", "mujoco", "mujoco==3.3.0", 0.1),
    "minigrid": Case("MiniGrid-DoorKey-8x8-v0", "minigrid", "minigrid==3.2.0", 0.1),
    "carracing": Case("CarRacing-v3", "Box2D", "Box2D==2.3.10", 0.5),
}


STATES = {"mujoco-states": "HalfCheetah-v5", "metaworld": "drawer-close-v3"}
"""Environments that draw their frames again from state."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=[*CASES, *STATES], default=[*CASES, *STATES])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--image-px", type=int, default=224)
    arguments = parser.parse_args()
    prepare_headless()
    steps, px = max(1, arguments.steps // CHUNK) * CHUNK, arguments.image_px
    print(f"{steps} steps each, frames of {px} x {px} pixels, blocks of {CHUNK} steps; bytes a step:")
    print(f"{'world':28s}{'raw frame':>11s}{'SB3 buffer':>12s}{'kept':>9s}{'of SB3':>9s}{'at most':>9s}  differing")
    failed = False
    for name in arguments.worlds:
        case = CASES.get(name)
        if case is not None and importlib.util.find_spec(case.package) is None:
            print(f"{case.env_id:28s}not measured: {case.package} is not installed (pip install {case.install})")
            continue
        with tempfile.TemporaryDirectory() as folder:
            if case is not None:
                title, measured = case.env_id, of_gymnasium(case.env_id, steps, px, Path(folder))
            else:
                title = f"{STATES[name]}, states"
                measured = of_states(state_task(name, px), steps)
        sb3 = stable_baselines_bytes(px)
        share = None if sb3 is None else measured.kept / sb3
        failed |= bool(measured.differing) or bool(case and share is not None and share > case.share)
        print(
            f"{title:28s}{measured.raw:11,.0f}{_number(sb3, ',.0f'):>12s}{measured.kept:9,.0f}"
            f"{_number(share, '.4f'):>9s}{_number(case and case.share, '.1f'):>9s}  {measured.differing} of {steps}"
        )
    if stable_baselines_bytes(px) is None:
        print("stable-baselines3 is not installed (pip install stable-baselines3==2.9.2), so nothing stands beside it")
    sys.exit(failed)


def of_gymnasium(env_id: str, steps: int, px: int, folder: Path) -> Measured:
    """Frames in the archive, all else in the replay."""
    archive = FrameArchive(folder / "frames", 10**9, 10**12, checkpoints_kept=1)
    seen, replay = [], None
    for chunk, frames in played(env_id, steps, px):
        if replay is None:
            replay = ColumnarReplay(steps, chunk.observations.shape[1], chunk.actions.shape[1])
        archive.add(replay.next_index, chunk.frames)
        replay.add(chunk, np.zeros(len(chunk)), version=0)
        seen.append(frames[1:])
    archive.save(folder)
    back = FrameArchive(folder / "frames", 10**9, 10**12, checkpoints_kept=1)
    back.restore(folder)
    written = sum(path.stat().st_size for path in (folder / "frames").iterdir())
    shown = np.concatenate(seen)
    differing = int((back.frames(np.arange(steps)) != shown).any(axis=(1, 2, 3)).sum())
    return Measured(shown[0].nbytes, (replay.nbytes + written) / steps, differing)


def of_states(task: TaskSettings, steps: int) -> Measured:
    """States in the replay, from which a worker draws."""
    worker = RolloutWorker(task, RolloutSettings(chunk_agent_steps=CHUNK), seed=0)
    if not worker.spec().draws_again:
        raise SystemExit(f"{task.env_id} does not draw its frames again")
    seen, replay, drawn = [], None, []
    while replay is None or len(replay) < steps:
        share, frames = worker.collect(None, render_px=task.image_px)
        for chunk in share.chunks:
            if replay is None:
                replay = ColumnarReplay(steps + CHUNK, chunk.observations.shape[1], chunk.actions.shape[1])
            replay.add(chunk, np.zeros(len(chunk)), version=0)
        seen += frames
    restored = ColumnarReplay(replay.capacity, chunk.observations.shape[1], chunk.actions.shape[1])
    restored.set_state(replay.state())
    for episode in restored.recent_episodes(steps):
        drawn.append(worker.render_reduced(*restored.frames_of(episode.indices), task.image_px))
    worker.close()
    differing = int((np.concatenate(seen) != np.concatenate(drawn)).any(axis=(1, 2, 3)).sum())
    return Measured(seen[0][0].nbytes, replay.nbytes / len(replay), differing)


def played(env_id: str, steps: int, px: int) -> Iterator[tuple[EpisodeChunk, np.ndarray]]:
    """Chunks of up to CHUNK steps, and their frames uint8 [T + 1, px, px, 3]."""
    if env_id.startswith("MiniGrid"):
        import minigrid  # noqa: F401 - registers its environments.
    sized = (
        {"width": px, "height": px} if gymnasium.spec(env_id).entry_point.startswith("gymnasium.envs.mujoco") else {}
    )
    env = gymnasium.make(env_id, render_mode="rgb_array", **sized)
    env.action_space.seed(0)

    def frame() -> np.ndarray:
        viewers.make_current(env)
        return fitted(checked(env.render(), env_id), px)

    episode, done, left = -1, True, steps
    while left:
        if done:
            episode, step, action = episode + 1, 0, None
            observation = numbers(env.reset(seed=episode)[0])
            shown = frame()
        first, observations, frames, actions, rewards = step, [observation], [shown], [], []
        done = False
        while not done and len(actions) < min(CHUNK, left):
            if step % HELD_STEPS == 0:
                action = env.action_space.sample()
            raw, reward, terminated, truncated, _ = env.step(action)
            done, step = terminated or truncated, step + 1
            observation, shown = numbers(raw), frame()
            observations.append(observation)
            frames.append(shown)
            actions.append(np.atleast_1d(np.asarray(action, dtype=np.float32)))
            rewards.append(reward)
        left -= len(actions)
        pictures = np.stack(frames)
        yield (
            EpisodeChunk(
                episode_id=f"episode{episode:07d}", first_step=first, observations=np.stack(observations),
                actions=np.stack(actions), env_rewards=np.array(rewards, dtype=np.float32),
                successes=np.zeros(len(actions), dtype=np.bool_), terminated=terminated, truncated=truncated,
                frame_states=np.zeros((len(frames), 0), dtype=np.float32), scene=Scene({}), frames=encode(pictures),
            ),
            pictures,
        )  # fmt: skip
    viewers.close(env)


def state_task(name: str, px: int) -> TaskSettings:
    """The task of one of STATES."""
    common = {"name": "measured", "env_id": STATES[name], "instruction": "do it", "focus": "it", "image_px": px}
    if name == "metaworld":
        return MetaWorldTask(**common, episode_env_steps=100)
    return GymnasiumTask(world="gymnasium", **common, episode_env_steps=100)


def numbers(observation: object) -> np.ndarray:
    """What a policy of numbers sees: a vector, or nothing of pictures and texts."""
    is_vector = isinstance(observation, np.ndarray) and observation.ndim == 1
    return observation.astype(np.float32) if is_vector else np.zeros(0, dtype=np.float32)


def stable_baselines_bytes(px: int) -> float | None:
    """Bytes that its buffer allots to a step of such pictures and one action; None if it is not installed."""
    try:
        from stable_baselines3.common.buffers import ReplayBuffer
    except ImportError:
        return None
    size = 8
    pictures = gymnasium.spaces.Box(0, 255, (3, px, px), np.uint8)
    buffer = ReplayBuffer(size, pictures, gymnasium.spaces.Box(-1, 1, (1,)), device="cpu")
    return sum(array.nbytes for array in vars(buffer).values() if isinstance(array, np.ndarray)) / size


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    main()
