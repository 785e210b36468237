"""What `likert gallery` does."""

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import SettingsError
from orchestrator.gallery.choosing import choice_argument
from orchestrator.gallery.export import export_page
from orchestrator.gallery.index import GalleryIndex
from orchestrator.gallery.place import place_of
from orchestrator.gallery.serving import open_socket, serve
from orchestrator.settings.preflight import check_file_writable, check_writable

MOST = 200
"""Entries of an export, if not told: about ten megabytes."""


def open_page(folder: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the page of a store, or of a run's part of it, until Ctrl-C. Raises SettingsError."""
    place = place_of(folder)
    check_writable("the store", place.store)
    # Before the store is read, which may take a while.
    with open_socket(port) as listening:
        serve(GalleryIndex(place), listening, tell)


def export(folder: str, path: Path, only: Sequence[str], most: int | None, tell: Callable[[str], None]) -> None:
    """Write the page as one file. Raises SettingsError."""
    if path.suffix not in (".html", ".htm"):
        raise SettingsError(f"--export {path}: the file's name must end in .html")
    choice = choice_argument(only)
    place = place_of(folder)
    check_file_writable("--export", path)
    index = GalleryIndex(place)
    for name, value, known in (("model", choice.model, "model"), ("run", choice.run, "run")):
        if value and all(one.row[known] != value for one in index.entries):
            raise SettingsError(f"--only {name}={value}: there is none in {place.store}")
    if choice.task is not None and choice.task > len(index.tasks):
        raise SettingsError(f"--only task={choice.task}: there are {len(index.tasks)} in {place.store}")
    written, number = export_page(index, choice, most or MOST, path)
    if not number:
        tell(f"nothing fits {' '.join(only)}; {path} says so")
        return
    rest = "" if written == number else f" of {number:,}; --most takes more, --only chooses among them"
    tell(f"{path}: {written:,} ratings{rest}; {path.stat().st_size / 1e6:.1f} MB")
