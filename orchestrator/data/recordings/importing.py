"""What importers of recorded trajectories share: a stream of episodes and problems into a data set."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from algorithms.images import png_size
from algorithms.settings import PositiveInt, Settings
from algorithms.trajectories import Trajectory
from orchestrator.data.action_bounds import KnownBounds, StatedBounds
from orchestrator.data.schema import ActionSpace, DatasetInfo, Origin
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from orchestrator.screen.work_progress import WorkProgress

WHOLE_BYTES = 4 * 2**20
"""Files up to this size count with all their bytes towards a digest, larger ones with their size and both ends."""
END_BYTES = 2**20


class ImportSettings(Settings):
    """What every importer knows."""

    frame_px: PositiveInt | None = None
    """Height of the stored frames, width in proportion; absent: as recorded."""
    max_episodes: PositiveInt | None = None
    """Import the first so many trajectories only."""
    action_bounds: dict[str, tuple[float, float]] | None = None
    """Lowest and highest value of entries of a continuous action by name, such as `{gripper: [0, 100]}`; those of
    others are what the recording says, or what its actions show."""


class ImportProblem(Exception):
    """An episode, or a file, that cannot be imported, or a word on the recording; the message names both."""

    def __init__(self, message: str, num_episodes: int = 1, is_note: bool = False) -> None:
        super().__init__(message)
        self.num_episodes = 0 if is_note else num_episodes
        """Episodes that it costs."""
        self.is_note = is_note
        """Worth knowing, but nothing is wrong."""

    @property
    def told(self) -> str:
        """The line that the user sees."""
        return f"{'note' if self.is_note else 'left out' if self.num_episodes else 'problem'}: {self}"


def write_imported(
    folder: Path,
    source: str,
    actions: ActionSpace,
    settings: ImportSettings,
    episodes: Iterator[Trajectory | ImportProblem],
    total: int,
    origin: Origin,
    has_action_objects: bool = False,
    stated_bounds: StatedBounds | None = None,
) -> tuple[DatasetInfo, int]:
    """Write episodes into a data set, tell the problems among them, and return the set's metadata and their number.

    `total` is the number of episodes, for progress; `stated_bounds` is what the recording says of its actions. Raises
    SettingsError if there is no episode at all, or if `folder` holds a set already, or the beginning of another one.
    """
    num_problems = num_left_out = 0
    bounds = KnownBounds(settings.action_bounds or {}, stated_bounds)
    bounds.check(actions)
    with WorkProgress(f"import of {source}", total, "episodes") as progress:

        def whole() -> Iterator[Trajectory]:
            nonlocal num_problems, num_left_out
            num_whole = 0
            for episode in _fitting(episodes):
                if isinstance(episode, ImportProblem):
                    num_problems += not episode.is_note
                    num_left_out += episode.num_episodes
                    progress.note(episode.told)
                else:
                    yield episode
                    num_whole += 1
                # An episode with several tasks becomes several.
                progress.update(min(total, num_whole + num_left_out), f"{num_left_out} left out")

        stream = itertools.islice(whole(), settings.max_episodes)
        first = next(stream, None)
        if first is None:
            raise SettingsError(f"nothing could be imported as {source}: {num_left_out} left out, no whole episode")
        info = DatasetInfo(
            name=folder.name,
            source=source,
            actions=actions,
            frame_px=png_size(first.frames[0]),
            has_action_objects=has_action_objects,
            audits={name: "float" for name in first.audits},
            settings=settings.model_dump(mode="json"),
            origin=origin,
        )
        with DatasetWriter(folder, info, bounds=bounds) as writer:
            for episode in itertools.chain([first], stream):
                writer.write(episode)
    return writer.info, num_problems


def digest_of(root: Path, files: Iterable[Path]) -> str:
    """sha256 of the names below `root`, the sizes and the contents of files, as text; of large files both ends count.

    A file that is not there, or cannot be read, counts as such.
    """
    total = hashlib.sha256()
    for file in sorted(set(files)):
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()
        total.update(f"{name}\0{_fingerprint(file)}\n".encode(errors="surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def _fingerprint(file: Path) -> str:
    try:
        if not file.is_file():
            return "missing"
        size = file.stat().st_size
        with file.open("rb") as opened:
            if size <= WHOLE_BYTES:
                content = opened.read()
            else:
                content = opened.read(END_BYTES)
                opened.seek(-END_BYTES, 2)
                content += opened.read()
    except (OSError, ValueError):
        return "unreadable"
    return f"{size} {hashlib.sha256(content).hexdigest()}"


def _fitting(episodes: Iterator[Trajectory | ImportProblem]) -> Iterator[Trajectory | ImportProblem]:
    """The stream, with problems in place of episodes that do not fit into one set with the first."""
    names: set[str] = set()
    size: tuple[int, int] | None = None
    for episode in episodes:
        if isinstance(episode, ImportProblem):
            yield episode
            continue
        size = size or png_size(episode.frames[0])
        odd = next((found for found in map(png_size, episode.frames) if found != size), None)
        if episode.episode_id in names:
            yield ImportProblem(f"episode {episode.episode_id}: it stands there twice; the first counts")
        elif odd is not None:
            yield ImportProblem(
                f"episode {episode.episode_id}: a picture of {odd[1]} x {odd[0]} pixels, where the first episode's are "
                f"{size[1]} x {size[0]}: a set has one size"
            )
        else:
            names.add(episode.episode_id)
            yield episode
