"""Which store a folder stands for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import SettingsError
from orchestrator.kinds import read_run
from orchestrator.runs.layout import SETTINGS_FILE
from orchestrator.storage.locations import RemotePath, location_argument

TABLES = ("ratings", "failures")


@dataclass(frozen=True)
class Place:
    """A rating store, or a run's part of one."""

    store: Path | RemotePath
    run: str = ""
    """Name of the run whose questions alone are shown; empty for all."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.run} in {self.store}" if self.run else str(self.store)


def place_of(folder: str) -> Place:
    """The rating store that `folder` is, or that the run in it asks into. Raises SettingsError if it is neither."""
    location = location_argument(folder)
    if not location.exists():
        raise SettingsError(f"{folder} does not exist; name a rating store, such as ratings/, or a run's folder")
    if (location / SETTINGS_FILE).exists():
        return _of_run(location, read_run(location).experiment)
    if _is_store(location):
        return Place(location)
    if (location / "scores").is_dir():
        raise SettingsError(
            f"{folder} holds scores of windows of actions and no ratings, and the gallery shows ratings; "
            "`likert ratings` counts scores"
        )
    raise SettingsError(
        f"{folder} is neither a rating store nor a run's folder: it has no folder {' or '.join(TABLES)}, "
        f"and no {SETTINGS_FILE}"
    )


def _of_run(folder: Path | RemotePath, experiment: Any) -> Place:
    store = getattr(experiment, "ratings_folder", None)
    if store is None:
        raise SettingsError(f"the run in {folder} asks for no ratings, so there is nothing to show")
    if not _is_store(store):
        raise SettingsError(
            f"the run in {folder} keeps its ratings in ratings_folder = {str(store)!r}, and there is no rating store "
            "there: give the command in the folder that the run was started in, or name the store itself"
        )
    return Place(store, folder.resolve().name)


def _is_store(folder: Path | RemotePath) -> bool:
    return any((folder / table).is_dir() for table in TABLES)
