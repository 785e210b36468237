"""Pictures of known levels, as `feedback.canaries.known` names them."""

from pathlib import Path

from algorithms.images import decode_png
from orchestrator.errors import SettingsError
from orchestrator.online.settings import OnlineExperiment
from orchestrator.storage.locations import RemotePath, location_argument

Known = tuple[bytes, int]
"""A PNG file, and its level, 0 for the worst."""


def known_pictures(folder: Path | RemotePath, num_levels: int) -> list[Known]:
    """What `feedback.canaries.known` names, by level and name. Raises SettingsError if it cannot be asked about."""
    where = f"feedback.canaries.known {str(folder)!r}"
    if not folder.is_dir():
        raise SettingsError(f"{where}: is no folder")
    found, levels = [], {str(level + 1): level for level in range(num_levels)}
    for one in sorted((path for path in folder.iterdir() if path.is_dir()), key=str):
        if one.name not in levels:
            raise SettingsError(
                f"{where}: its folder {one.name!r} is no level; the rater is asked on {num_levels}, so there may be "
                f"folders {', '.join(levels)}"
            )
        for path in sorted(one.iterdir(), key=str):
            if path.name.endswith(".png"):
                found.append((_png(path, where), levels[one.name]))
    if not found:
        raise SettingsError(f"{where}: there is no picture, such as {next(iter(levels))}/first.png")
    return found


def known_canaries(experiment: OnlineExperiment) -> list[Known]:
    """The pictures of known levels that an experiment names, if any. Raises SettingsError."""
    folder = experiment.feedback.canaries.known
    if folder is None or not experiment.learns_reward:
        return []
    return known_pictures(location_argument(folder), experiment.feedback.num_asked)


def _png(path: Path | RemotePath, where: str) -> bytes:
    png = path.read_bytes()
    try:
        decode_png(png)
    except (ValueError, OSError) as error:
        raise SettingsError(f"{where}: {path.name} is no picture in PNG: {error}") from None
    return png
