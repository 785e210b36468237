"""What exports share: settings, what they look at before they begin, and a folder that is whole or not there."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from algorithms.images import encode_png, rgb_picture
from algorithms.settings import PositiveInt, Settings
from algorithms.trajectories import Trajectory
from orchestrator.data.check import Problem
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import SPARSE
from orchestrator.errors import SettingsError
from orchestrator.screen.work_progress import WorkProgress
from orchestrator.storage.writing import fsync_folder


class ExportSettings(Settings):
    """Settings of an export."""

    format: Literal["lerobot", "minari"]
    """`lerobot`: a LeRobotDataset of version 3.0. `minari`: a Minari data set, HDF5."""
    reward: str = SPARSE
    """The labeller whose reward is the reward: LeRobot's `next.reward`, Minari's `rewards`."""
    labellers: tuple[str, ...] | None = None
    """Labellers whose rewards are written beside it, as `reward.<labeller>`; absent: all that the set has."""
    fps: PositiveInt = 10
    """Frames in a second of LeRobot's timestamps; data sets of ours know no time."""
    pictures: Literal["png", "video"] = "png"
    """LeRobot's pictures: `png`, as they are, or `video`, av1, which is small and loses a little."""


@dataclass(frozen=True)
class Survey:
    """What the whole set has, looked at before anything is written."""

    num_episodes: int
    instructions: tuple[str, ...]
    """Each once, in the order in which they come."""
    reward: str
    """The labeller whose reward is the reward."""
    labellers: tuple[str, ...]
    """Those whose rewards are written beside it."""


Write = Callable[[TrajectoryDataset, Path, ExportSettings, Survey, Iterator[Trajectory]], None]
"""Writes the episodes into an empty folder."""


def export(dataset: TrajectoryDataset, folder: Path, settings: ExportSettings, write: Write) -> Survey:
    """Write a set into `folder` whole, or nothing. Raises SettingsError if either does not fit."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} is not an empty folder; an export goes into one of its own")
    survey = _survey(dataset, settings)
    with WorkProgress(f"export to {folder.name}", survey.num_episodes, "episodes") as progress:

        def told() -> Iterator[Trajectory]:
            for done, episode in enumerate(_whole_episodes(dataset, frames=True), start=1):
                yield episode
                progress.update(done)

        with _whole_or_not_at_all(folder) as beside:
            write(dataset, beside, settings, survey, told())
    return survey


def reward_of(episode: Trajectory, labeller: str) -> np.ndarray:
    """[T] float32: a labeller's rewards."""
    return episode.sparse_rewards if labeller == SPARSE else episode.rewards[labeller]


def rgb_png(png: bytes) -> bytes:
    """The frame as PNG in mode RGB, which others read as three colours: as it is, or converted."""
    is_rgb = png[24:26] == b"\x08\x02" and b"tRNS" not in png[:1024]
    return png if is_rgb else encode_png(np.asarray(rgb_picture(png)))


def _survey(dataset: TrajectoryDataset, settings: ExportSettings) -> Survey:
    info = dataset.info
    has = [SPARSE, *info.labels]
    wanted = tuple(info.labels) if settings.labellers is None else settings.labellers
    for field, names in (("reward", (settings.reward,)), ("labellers", wanted)):
        unknown = next((name for name in names if name not in has), None)
        if unknown is not None:
            raise SettingsError(f"{field}: {dataset.folder} has no labels of {unknown!r}; it has {', '.join(has)}")
    if info.frame_px is None:
        raise SettingsError(f"{dataset.folder}: its frames are not of one size, which an export needs")
    instructions: dict[str, None] = {}
    num_episodes = missing = 0
    for episode in _whole_episodes(dataset, frames=False):
        num_episodes += 1
        instructions.setdefault(episode.instruction)
        missing += int(np.isnan(reward_of(episode, settings.reward)).sum())
    if not num_episodes:
        raise SettingsError(f"{dataset.folder} has no episode")
    if missing:
        raise SettingsError(
            f"reward = {settings.reward}: it gave no reward to {missing:,} of {info.num_transitions:,} actions, and 0 "
            "would be one. Label them, or choose another; as `reward.<labeller>` beside the reward they may be missing"
        )
    beside = tuple(name for name in wanted if name != SPARSE)
    return Survey(num_episodes, tuple(instructions), settings.reward, beside)


def _whole_episodes(dataset: TrajectoryDataset, frames: bool) -> Iterator[Trajectory]:
    def refuse(problem: Problem) -> None:
        raise SettingsError(f"{dataset.folder}: {problem}; `likert data check` shows all that is wrong")

    return dataset.episodes(frames=frames, symbolic=False, on_problem=refuse)


@contextmanager
def _whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    """A folder beside `folder`, which takes its place once all is written."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        # An empty folder gives way.
        beside.replace(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    fsync_folder(folder.parent)
