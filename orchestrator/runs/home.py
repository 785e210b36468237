"""A run's folder that is remote: the run works on a copy on its own machine, and every checkpoint takes it home.

A checkpoint's manifest, with size and digest of each file, is written last and checked before anything is restored: a
checkpoint without one was never finished, one that does not match is damaged, and either way the one before is taken.
Of two processes that work on one run the later one wins; the earlier one stops when it next has something to save.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orchestrator.errors import SettingsError
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, STEP_FRAMES_FOLDER
from orchestrator.storage.locations import RemotePath, working_copy
from orchestrator.storage.writing import write_json

log = logging.getLogger(__name__)

OWNER_FILE = "owner.json"
"""Who works on the run: the last process that began."""
MANIFEST_SUFFIX = ".manifest.json"
TRANSFERS = 8
"""Files that travel at once."""

Fingerprint = dict[str, Any]


class RunHome:
    """Where a run's folder is at home. For a folder of this machine there is nothing to do, and nothing is done."""

    def __init__(self, folder: Path | RemotePath) -> None:
        """Take over a remote folder, and bring its files and readable checkpoints here. Raises StorageFailing."""
        self.folder = working_copy(folder)
        self._remote = folder if isinstance(folder, RemotePath) else None
        self._token = uuid.uuid4().hex
        self._sent: dict[str, tuple[int, int]] = {}
        if self._remote is not None:
            self._take_over()
            self._fetch_files()
            self._fetch_checkpoints()

    def publish(self) -> None:
        """Take home what has changed, checkpoints apart. Raises SettingsError if another process has the run now."""
        if self._remote is None:
            return
        self._check_owner()
        files = self._files()
        changed = {name: state for name, state in files.items() if self._sent.get(name) != state}
        _together(lambda name: (self._remote / name).upload(self.folder / name), changed)
        self._sent |= changed
        # Frames of steps that the replay has dropped.
        gone = [name for name in self._sent.keys() - files if name.startswith(f"{STEP_FRAMES_FOLDER}/")]
        _together(lambda name: (self._remote / name).unlink(missing_ok=True), gone)
        for name in gone:
            del self._sent[name]

    def publish_checkpoint(self, checkpoint: Path, kept: Iterable[str]) -> None:
        """Take a checkpoint home, the run's other files first; there, too, only those named in `kept` stay."""
        if self._remote is None:
            return
        self.publish()
        home = self._checkpoints
        self.forget_checkpoint(checkpoint.name)
        names = [path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if path.is_file()]
        _together(lambda name: (home / checkpoint.name / name).upload(checkpoint / name), names)
        manifest = {name: _fingerprint(checkpoint / name) for name in names}
        self._check_owner()
        write_json(home / f"{checkpoint.name}{MANIFEST_SUFFIX}", manifest)
        for path in home.iterdir():
            name = path.name.removesuffix(MANIFEST_SUFFIX)
            if name not in kept:
                self.forget_checkpoint(name)

    def forget_checkpoint(self, name: str) -> None:
        """Delete a checkpoint at home, its manifest first, so that it is never taken for whole."""
        if self._remote is not None:
            (self._checkpoints / f"{name}{MANIFEST_SUFFIX}").unlink(missing_ok=True)
            (self._checkpoints / name).remove_tree()

    def finish(self) -> None:
        """Take the rest home at the end of a run, and delete the copy here."""
        if self._remote is not None:
            self.publish()
            _empty(self.folder)

    def address(self, path: Path) -> Path | RemotePath:
        """Where a file of the working folder is to be found by others."""
        return path if self._remote is None else self._remote / path.relative_to(self.folder).as_posix()

    @property
    def _checkpoints(self) -> RemotePath:
        return self._remote / CHECKPOINTS_FOLDER

    def _take_over(self) -> None:
        who = f"process {os.getpid()} on {os.uname().nodename}"
        write_json(self._remote / OWNER_FILE, {"token": self._token, "who": who, "since": time.time()})

    def _check_owner(self) -> None:
        owner = json.loads((self._remote / OWNER_FILE).read_text())
        if owner["token"] != self._token:
            raise SettingsError(
                f"run folder {self._remote} was taken over by {owner['who']}, so this process stops. One process works "
                "on a run at a time: change `name` or `seed` for another run"
            )

    def _fetch_files(self) -> None:
        # What an earlier run left here may be older than what is at home.
        _empty(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        names = [name for name in self._remote.files() if _is_run_file(name)]
        _together(lambda name: _download(self._remote / name, self.folder / name), names)
        self._sent = self._files()

    def _fetch_checkpoints(self) -> None:
        manifests = sorted(self._checkpoints.glob(f"*{MANIFEST_SUFFIX}"), key=lambda path: path.name)
        damaged = []
        for path in manifests:
            name = path.name.removesuffix(MANIFEST_SUFFIX)
            target = self.folder / CHECKPOINTS_FOLDER / name
            damage = _fetch_checkpoint(self._checkpoints / name, path, target)
            if damage:
                log.warning("checkpoint %s is damaged (%s) and left out", self._checkpoints / name, damage)
                shutil.rmtree(target, ignore_errors=True)
                damaged.append(name)
        if damaged and len(damaged) == len(manifests):
            raise SettingsError(
                f"none of the checkpoints in {self._checkpoints} is whole; the warnings above say why. Delete the "
                "run's folder to start again: the ratings stay in the store and are not asked again"
            )

    def _files(self) -> dict[str, tuple[int, int]]:
        paths = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        states = {name: path.stat() for name, path in paths.items() if _is_run_file(name)}
        return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


def fetch_newest_checkpoint(checkpoints: RemotePath, target: Path) -> str | None:
    """Copy the newest whole checkpoint of a remote run to the folder `target`, and return its name if there is one."""
    for path in sorted(checkpoints.glob(f"*{MANIFEST_SUFFIX}"), key=lambda path: path.name, reverse=True):
        name = path.name.removesuffix(MANIFEST_SUFFIX)
        if not _fetch_checkpoint(checkpoints / name, path, target):
            return name
        shutil.rmtree(target, ignore_errors=True)
    return None


def _fetch_checkpoint(source: RemotePath, manifest: RemotePath, target: Path) -> str | None:
    """Bring a checkpoint here; what is wrong with it, or None."""
    try:
        files: dict[str, Fingerprint] = json.loads(manifest.read_text())
        _together(lambda name: _download(source / name, target / name), files)
    except (FileNotFoundError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    wrong = [name for name, expected in files.items() if _fingerprint(target / name) != expected]
    return f"{wrong[0]} is not what was written" if wrong else None


def _fingerprint(path: Path) -> Fingerprint:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _download(source: RemotePath, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.download(target)


def _is_run_file(name: str) -> bool:
    first, _, _ = name.partition("/")
    return first not in (CHECKPOINTS_FOLDER, OWNER_FILE) and not any(part.startswith(".") for part in name.split("/"))


def _empty(folder: Path) -> None:
    """Delete all in a folder but what starts with a dot: the lock that this process holds."""
    for path in folder.glob("[!.]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _together(work: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(work, names))
