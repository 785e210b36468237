"""Checkpoints of a run: a folder each, complete or absent, newest first."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from orchestrator.runs.frame_parts import take_over_parts
from orchestrator.runs.home import RunHome, fetch_newest_checkpoint
from orchestrator.runs.layout import STEP_FRAMES_FOLDER
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import fsync_folder

Place = TypeVar("Place", Path, RemotePath)

_PREFIX = "env-steps-"
_WRITING = ".writing"
_DAMAGED = "damaged-"
_COPY_ATTEMPTS = 5


class Checkpoints:
    """The folder `checkpoints/` of a run, which one process owns.

    A checkpoint is written under another name, flushed and renamed, so that a folder with a checkpoint's name is
    complete. With `home`, that of a remote run, each is taken there too. Checkpoints hold pickles of RLlib: restore
    only those that you trust.
    """

    def __init__(self, folder: Path, keep: int, home: RunHome | None = None) -> None:
        self._folder = folder
        self._keep = keep
        self._home = home
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / _WRITING, ignore_errors=True)

    def save(self, env_steps: int, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a folder, make it the newest checkpoint, and drop those beyond `keep`."""
        writing = self._folder / _WRITING
        shutil.rmtree(writing, ignore_errors=True)
        writing.mkdir()
        write(writing)
        final = self._publish(writing, f"{_PREFIX}{env_steps:010d}")
        for old in self.newest_first()[self._keep :]:
            shutil.rmtree(old)
        self._take_home(final)
        return final

    def take_over(self, other: Path | RemotePath) -> Path | None:
        """Copy the newest checkpoint of another run's folder of checkpoints, and make it the newest here.

        Frames that it needs come with it. Returns it, or None, with nothing changed, if the other run has none. That
        run may go on meanwhile.
        """
        writing = self._folder / _WRITING
        for _ in range(_COPY_ATTEMPTS):
            shutil.rmtree(writing, ignore_errors=True)
            try:
                name = _copy_newest(other, writing)
                if name is None:
                    return None
                take_over_parts(other.parent / STEP_FRAMES_FOLDER, self._folder.parent / STEP_FRAMES_FOLDER, writing)
            except (FileNotFoundError, shutil.Error):
                continue  # The other run has dropped it for a newer one.
            final = self._publish(writing, name)
            for newer in self.newest_first():
                if newer.name > final.name:
                    shutil.rmtree(newer)
            self._take_home(final)
            return final
        return None

    def set_aside(self, folder: Path) -> None:
        """Take a checkpoint that cannot be read out of the list, and keep it for people to look at."""
        aside = folder.with_name(f"{_DAMAGED}{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        if self._home is not None:
            self._home.forget_checkpoint(folder.name)

    def newest_first(self) -> list[Path]:
        """Complete checkpoints, newest first."""
        return newest_first(self._folder)

    def _take_home(self, checkpoint: Path) -> None:
        if self._home is not None:
            self._home.publish_checkpoint(checkpoint, {path.name for path in self.newest_first()})

    def _publish(self, writing: Path, name: str) -> Path:
        for path in writing.rglob("*"):
            _flush(path)
        final = self._folder / name
        shutil.rmtree(final, ignore_errors=True)
        writing.rename(final)
        fsync_folder(self._folder)
        return final


def newest_first(folder: Place) -> list[Place]:
    """Complete checkpoints in a folder, here or elsewhere, newest first; none if there is no such folder."""
    return sorted(folder.glob(f"{_PREFIX}*"), key=str, reverse=True)


def _copy_newest(other: Path | RemotePath, target: Path) -> str | None:
    """Copy the newest checkpoint in `other`, if there is one, and return its name."""
    if isinstance(other, RemotePath):
        return fetch_newest_checkpoint(other, target)
    newest = max(other.glob(f"{_PREFIX}*"), default=None)
    if newest is not None:
        shutil.copytree(newest, target)
    return newest and newest.name


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
