"""What importers of recorded trajectories share: a stream of episodes and problems into a data set."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from algorithms.images import decode_png, encode_png
from algorithms.settings import PositiveInt, Settings
from algorithms.trajectories import Trajectory
from orchestrator.data.datasets import DatasetWriter
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.errors import SettingsError
from orchestrator.screen.work_progress import WorkProgress


class ImportSettings(Settings):
    """What every importer knows."""

    frame_px: PositiveInt | None = None
    """Height of the stored frames, width in proportion; absent: as recorded."""
    max_episodes: PositiveInt | None = None
    """Import the first so many trajectories only."""


class ImportProblem(Exception):
    """An episode, or a file, that cannot be imported; the message names both."""


def write_imported(
    folder: Path,
    source: str,
    actions: ActionSpace,
    settings: ImportSettings,
    episodes: Iterator[Trajectory | ImportProblem],
    total: int,
    has_action_objects: bool = False,
) -> tuple[DatasetInfo, int]:
    """Write episodes into a data set, name the problems among them, and return the set's metadata and their number.

    `total` is the number of episodes, for progress. Raises SettingsError if there is none at all.
    """
    num_problems = 0
    with WorkProgress(f"import of {source}", total, "episodes") as progress:

        def whole() -> Iterator[Trajectory]:
            nonlocal num_problems
            for done, episode in enumerate(episodes, start=1):
                if isinstance(episode, ImportProblem):
                    num_problems += 1
                    progress.note(f"left out: {episode}")
                else:
                    yield episode
                progress.update(done, f"{num_problems} left out")

        stream = itertools.islice(whole(), settings.max_episodes)
        first = next(stream, None)
        if first is None:
            raise SettingsError(f"nothing could be imported as {source}: {num_problems} problems, no whole episode")
        info = DatasetInfo(
            name=folder.name,
            source=source,
            actions=actions,
            frame_px=decode_png(first.frames[0]).shape[:2],
            has_action_objects=has_action_objects,
            settings=settings.model_dump(mode="json"),
        )
        with DatasetWriter(folder, info) as writer:
            # A writer that was stopped has the first episodes already.
            for episode in itertools.islice(itertools.chain([first], stream), writer.info.num_episodes, None):
                writer.write(episode)
    return writer.info, num_problems


def stored_frame(image: Image.Image | bytes | Path, height: int | None) -> bytes:
    """A picture as lossless PNG file, reduced or enlarged to `height` if given. Raises OSError if it cannot be read."""
    if not isinstance(image, Image.Image):
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            opened.load()
            image = opened.convert("RGB")
    if height is not None and image.height != height:
        size = max(1, round(image.width * height / image.height)), height
        image = image.resize(size, Image.Resampling.BOX if height < image.height else Image.Resampling.BICUBIC)
    return encode_png(np.asarray(image.convert("RGB")))
