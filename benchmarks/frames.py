"""Frames a second: drawing from stored states against Gymnasium's own renderer of the same task.

Both draw the same camera at the same size. They take turns, each in a process of its own, since Gymnasium's renderer
turns black once another OpenGL context of its process has been used; a pair is one turn of each. Gymnasium always draws
at full quality, as its users see it; ours draws as the settings say, by default without shadows, reflections and
multisampling.

    python benchmarks/frames.py --env-id drawer-open-v3 --image-px 224 --pairs 7
"""

import argparse
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from actors.worlds import opengl
from actors.worlds.metaworld.environment import TaskEnvironment
from actors.worlds.metaworld.renderer import FrameRenderer
from actors.worlds.metaworld.settings import META_WORLD_ENVS, MetaWorldTask

CAMERA = "corner2"


class GymnasiumFrames:
    """Meta-World as Gymnasium makes it, drawn after each step."""

    def __init__(self, task: MetaWorldTask) -> None:
        import gymnasium
        import metaworld  # noqa: F401  registers the environments with Gymnasium

        size = {"width": task.image_px, "height": task.image_px}
        self.env = gymnasium.make(
            "Meta-World/MT1", env_name=task.env_id, seed=0, render_mode="rgb_array", camera_name=CAMERA, **size
        )

    def seconds_per_frame(self, actions: np.ndarray) -> float:
        """Drawing only; stepping is not counted."""
        self.env.reset()
        elapsed_s = 0.0
        for action in actions:
            self.env.step(action)
            start = time.perf_counter()
            frame = self.env.render()
            elapsed_s += time.perf_counter() - start
            assert frame.mean() > 20.0, "Gymnasium drew a black frame"
        return elapsed_s / len(actions)


class LikertFrames:
    """Frames rebuilt from the states that an episode left behind."""

    def __init__(self, task: MetaWorldTask) -> None:
        self.env, self.renderer = TaskEnvironment(task), FrameRenderer(task)

    def seconds_per_frame(self, actions: np.ndarray) -> float:
        """Drawing, with what it takes to restore each state; stepping is not counted."""
        self.env.reset(0)
        states = []
        for action in actions:
            self.env.step(action)
            states.append(self.env.frame_state())
        scene = self.env.scene()
        start = time.perf_counter()
        frames = self.renderer.render(scene, np.stack(states))
        elapsed_s = time.perf_counter() - start
        assert frames.mean() > 20.0, "the renderer drew a black frame"
        return elapsed_s / len(actions)


_contestant: GymnasiumFrames | LikertFrames


def set_up(kind: type, task: MetaWorldTask) -> None:
    """Build a process's contestant, once."""
    global _contestant
    _contestant = kind(task)


def take_turn(actions: np.ndarray) -> float:
    """Seconds per frame of this process's contestant."""
    return _contestant.seconds_per_frame(actions)


def main() -> None:
    """Print frames a second of both, and the ratio, for each pair and in the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-id", choices=META_WORLD_ENVS, default="drawer-open-v3", metavar="NAME")
    parser.add_argument("--image-px", type=int, default=224)
    parser.add_argument("--quality", choices=("fast", "full"), default="fast")
    parser.add_argument("--hide-robot", action="store_true")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--frames", type=int, default=20, help="frames in a turn")
    arguments = parser.parse_args()
    task = MetaWorldTask(
        name="benchmark",
        env_id=arguments.env_id,
        instruction="do the task",
        focus="the object",
        camera=CAMERA,
        image_px=arguments.image_px,
        robot_visible=not arguments.hide_robot,
        quality=arguments.quality,
    )
    # Gymnasium reads the backend from here; both shall use the same.
    os.environ["MUJOCO_GL"] = opengl.chosen_backend()
    spawn, rng, pairs = multiprocessing.get_context("spawn"), np.random.default_rng(0), []
    with (
        ProcessPoolExecutor(1, spawn, set_up, (GymnasiumFrames, task)) as gymnasium_process,
        ProcessPoolExecutor(1, spawn, set_up, (LikertFrames, task)) as likert_process,
    ):
        for pair in range(arguments.pairs + 1):
            actions = rng.uniform(-1.0, 1.0, (arguments.frames, 4)).astype(np.float32)
            theirs = gymnasium_process.submit(take_turn, actions).result()
            ours = likert_process.submit(take_turn, actions).result()
            if pair == 0:
                continue  # The first turn fills caches.
            pairs.append((theirs, ours))
            print(f"pair {pair}: Gymnasium {1 / theirs:6.1f}/s  Likert {1 / ours:6.1f}/s  ratio {theirs / ours:5.1f}")
    their_median, our_median = (1.0 / statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / ours for theirs, ours in pairs)
    robot = "hidden" if arguments.hide_robot else "visible"
    print(
        f"{arguments.env_id}, {arguments.image_px} px, {arguments.quality}, robot {robot}, {os.environ['MUJOCO_GL']}: "
        f"Gymnasium {their_median:.1f}/s, Likert {our_median:.1f}/s, median ratio {ratio:.1f}"
    )


if __name__ == "__main__":
    main()
