"""What a policy sees of a data set, as one array on disk that is read by rows: made once, used by every run.

Parquet is for keeping and exchanging; a batch of random rows out of it would decode whole groups of rows.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from actors.babyai.view import egocentric, egocentric_shape
from algorithms.images import decode_png, reduce_frame, reduced_width
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import SettingsError
from orchestrator.offline.settings import OfflineDataSettings
from orchestrator.storage.writing import waiting_lock, write_json

CACHE_FOLDER = "cache"
"""In the data set's folder. It can be deleted at any time, and is made again."""


def observation_shape(dataset: TrajectoryDataset, settings: OfflineDataSettings) -> tuple[int, ...]:
    """Shape of one observation. Raises SettingsError if the set does not have such observations."""
    info = dataset.info
    if settings.observation != "frame":
        if info.symbolic_shape is None:
            raise SettingsError(
                f"data.observation = {settings.observation!r}: {dataset.folder} has no symbolic observations; use frame"
            )
        if settings.observation == "symbolic":
            return info.symbolic_shape
        if info.source != "babyai":
            raise SettingsError(
                f"data.observation = 'egocentric': {dataset.folder} is from {info.source!r}, and only in BabyAI's "
                "grids is it known where the agent is; use symbolic or frame"
            )
        return egocentric_shape(info.symbolic_shape)
    recorded = info.frame_px
    if settings.image_px is None and recorded is not None:
        return (*recorded, 3)
    if settings.image_px is None:
        raise SettingsError(f"data.image_px: the frames of {dataset.folder} differ in size; name one, such as 64")
    if recorded is None:
        return (settings.image_px, settings.image_px, 3)
    if recorded[0] < settings.image_px:
        raise SettingsError(
            f"data.image_px = {settings.image_px}: frames of {recorded[1]} x {recorded[0]} pixels cannot be made that "
            "high; they can be made smaller. Leave image_px out, or choose the size at the import, by frame_px"
        )
    return (settings.image_px, reduced_width(*recorded, settings.image_px), 3)


def cached_observations(dataset: TrajectoryDataset, settings: OfflineDataSettings) -> tuple[np.ndarray, dict[str, int]]:
    """Observations uint8 [states, ...] as a memory-mapped array, and each episode's first row.

    Episodes that cannot be read whole are left out, with a warning.
    """
    shape = observation_shape(dataset, settings)
    stem = "-".join([settings.observation, *map(str, shape)])
    array, index = (dataset.folder / CACHE_FOLDER / f"{stem}{suffix}" for suffix in (".npy", ".json"))
    with waiting_lock(dataset.folder / CACHE_FOLDER / ".lock"):
        # The index is written last, so where it stands the array is whole.
        if not index.exists():
            _write(dataset, settings, shape, array, index)
    found = json.loads(index.read_text())
    return np.load(array, mmap_mode="r")[: found["num_states"]], found["first_rows"]


def _write(
    dataset: TrajectoryDataset, settings: OfflineDataSettings, shape: tuple[int, ...], array: Path, index: Path
) -> None:
    most = dataset.info.num_transitions + dataset.info.num_episodes
    states = np.lib.format.open_memmap(array, mode="w+", dtype=np.uint8, shape=(most, *shape))
    first_rows: dict[str, int] = {}
    row = 0
    frames = settings.observation == "frame"
    for trajectory in dataset.episodes(frames=frames, symbolic=not frames):
        for state in _states(trajectory, settings.observation, shape):
            states[row] = state
            row += 1
        first_rows[trajectory.episode_id] = row - len(trajectory) - 1
    states.flush()
    write_json(index, {"num_states": row, "first_rows": first_rows})


def _states(trajectory: Trajectory, observation: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    if observation != "frame":
        yield from map(egocentric, trajectory.symbolic) if observation == "egocentric" else trajectory.symbolic
        return
    for png in trajectory.frames:
        frame = decode_png(png)
        try:
            yield frame if frame.shape == shape else _reduced(frame, shape)
        except ValueError as error:
            raise SettingsError(
                f"data.image_px = {shape[0]}: episode {trajectory.episode_id}: {error}; the set's frames differ in "
                "size. Import it anew with frame_px, which makes them alike"
            ) from None


def _reduced(frame: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    height, width, _ = frame.shape
    if reduced_width(height, width, shape[0]) != shape[1]:
        raise ValueError(f"a frame of {width} x {height} pixels would lose its shape at {shape[1]} x {shape[0]}")
    return reduce_frame(frame, shape[0], shape[1])
