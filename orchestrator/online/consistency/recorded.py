"""Episodes of a data set that succeed, and frames along them."""

from pathlib import Path

import numpy as np

from algorithms import trajectories as recordings
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.online.consistency.trajectories import AFTER_SUCCESS, Trajectory


def recorded_trajectories(folder: Path, number: int, num_frames: int) -> list[Trajectory]:
    """The data set's first `number` episodes that succeed, from their start until shortly after it.

    Raises SettingsError if there is no data set, or too few of its episodes succeed.
    """
    found: list[Trajectory] = []
    count = 0
    for episode in TrajectoryDataset(folder).episodes(symbolic=False):
        count += 1
        if episode.sparse_rewards.any():
            found.append(_along(episode, num_frames))
        if len(found) == number:
            return found
    raise SettingsError(
        f"--recorded {folder}: {len(found)} of its {count} episodes succeed, and {number} are wanted: ask for fewer by "
        "--trajectories"
    )


def _along(episode: recordings.Trajectory, num_frames: int) -> Trajectory:
    # The recording says of one action alone that it brought success; what it brought is seen from then on.
    succeeded = np.maximum.accumulate(np.concatenate([[False], episode.sparse_rewards > 0.0]))
    last = min(len(episode), int(succeeded.argmax()) + AFTER_SUCCESS)
    places = np.unique(np.rint(np.linspace(0, last, num_frames)).astype(np.int64))
    return Trajectory(
        frames=[episode.frames[place] for place in places],
        steps=places,
        successes=succeeded[places],
        progress=None,
        observations=np.zeros((len(places), 0), dtype=np.float32),
        returns=np.zeros(len(places), dtype=np.float32),
        instruction=episode.instruction,
    )
