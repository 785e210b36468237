"""Bytes that the replay needs for a step of MetaWorld, and the proof that it can show the step's frame.

    python benchmarks/replay_bytes.py [--env-id drawer-close-v3] [--episodes 3]

Episodes of random actions are drawn while they are played, stored, written to a checkpoint and read back. Then every
frame is drawn again from the replay alone and compared, pixel by pixel, with the one seen at the time.
"""

import argparse
import io

import numpy as np

from actors.rollout.settings import RolloutSettings
from actors.rollout.worker import RolloutWorker
from actors.worlds.metaworld.settings import MetaWorldTask
from algorithms.replay import ColumnarReplay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", default="drawer-close-v3")
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--episode-env-steps", type=int, default=100)
    parser.add_argument("--image-px", type=int, default=112)
    arguments = parser.parse_args()
    task = MetaWorldTask(
        name="measured",
        env_id=arguments.env_id,
        instruction="do it",
        focus="the robot",
        image_px=arguments.image_px,
        episode_env_steps=arguments.episode_env_steps,
    )
    rollout = RolloutSettings(chunk_agent_steps=task.episode_agent_steps)
    worker = RolloutWorker(task, rollout, seed=0)
    seen, replay = [], None
    for _ in range(arguments.episodes):
        (chunk,), (frames,) = worker.collect(None, render_px=task.image_px)
        if replay is None:
            capacity = arguments.episodes * len(chunk)
            replay = ColumnarReplay(capacity, chunk.observations.shape[1], chunk.actions.shape[1])
        replay.add(chunk, np.zeros(len(chunk)), version=0)
        seen.append(frames)

    file = io.BytesIO()
    np.savez(file, **replay.state())
    restored = ColumnarReplay(replay.capacity, chunk.observations.shape[1], chunk.actions.shape[1])
    file.seek(0)
    restored.set_state(np.load(file))
    drawn = [
        worker.render_reduced(*restored.frames_of(episode.indices), task.image_px)
        for episode in restored.recent_episodes(arguments.episodes)
    ]
    worker.close()
    differing = sum(int((a != b).any(axis=(1, 2, 3)).sum()) for a, b in zip(seen, drawn, strict=True))
    print(f"{arguments.env_id}: {len(replay)} steps in {arguments.episodes} episodes of {len(chunk)}")
    print(f"bytes a step in memory      {replay.nbytes / len(replay):10.0f}")
    print(f"bytes a step in checkpoints {file.getbuffer().nbytes / len(replay):10.0f}")
    print(f"bytes of one frame          {seen[0][0].nbytes:10.0f}   ({task.image_px} pixels square)")
    print(f"frames that differ when drawn again: {differing} of {len(replay)}")


if __name__ == "__main__":
    main()
