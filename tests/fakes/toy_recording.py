"""A recording of a robot that never was: a bright bar slides over dark pictures of 24 x 16 pixels."""

import numpy as np

from algorithms.images import encode_png
from algorithms.trajectories import Trajectory
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.data.writer import DatasetWriter

HEIGHT, WIDTH = 16, 24
JOINTS = ("shoulder.pos", "wrist[0]", "still")


def picture(place: float, times: int = 1) -> np.ndarray:
    """The bar at a place in [0, 1]; enlarged so many times."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    left = round(place * (WIDTH - 4))
    frame[:, left : left + 4] = 250
    return frame.repeat(times, axis=0).repeat(times, axis=1)


def episode(name: str, success: bool, steps: int, number: int = 0, times: int = 1) -> Trajectory:
    """The bar goes from left to right, or half the way in vain. The shoulder's degrees follow its place, the wrist
    turns against it, and one joint is still."""
    places = np.linspace(0.0, 1.0 if success else 0.5, steps + 1)
    now = places[:-1]
    last = np.arange(steps) == steps - 1
    return Trajectory(
        episode_id=name,
        instruction=("push the cube", "slide the bar")[number % 2],
        actions=np.stack([180.0 * now - 90.0, 10.0 - 20.0 * now, np.full(steps, 7.0)], axis=1).astype(np.float32),
        action_names=("move",) * steps,
        sparse_rewards=(last & success).astype(np.float32),
        terminated=last & success,
        truncated=last & (not success),
        frames=tuple(encode_png(picture(place, times)) for place in places),
    )


def episodes(num_success: int = 6, num_failed: int = 4, steps: int = 6) -> list[Trajectory]:
    """Successes first; every third has one action only."""
    kinds = [True] * num_success + [False] * num_failed
    return [
        episode(f"episode-{number:06d}", success, 1 if number % 3 == 2 else steps, number)
        for number, success in enumerate(kinds)
    ]


def write_recording(folder, trajectories=None, times: int = 1):
    """A data set of them, whose pictures are enlarged so many times; returns its folder."""
    info = DatasetInfo(
        name="toy",
        source="lerobot",
        actions=ActionSpace(kind="continuous", names=JOINTS),
        frame_px=(times * HEIGHT, times * WIDTH),
    )
    with DatasetWriter(folder, info) as writer:
        for trajectory in episodes() if trajectories is None else trajectories:
            writer.write(trajectory)
    return folder
