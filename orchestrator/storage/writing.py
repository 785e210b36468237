"""The one place that writes files: write aside, flush to disk, rename, flush the folder.

Whoever reads sees the old file or the new one, never a part, whatever is killed in between. Remote files
(`orchestrator.storage.locations`) keep the same promise.
"""

import fcntl
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from orchestrator.errors import SettingsError
from orchestrator.storage.locations import RemotePath, working_copy

TEMPORARY_SUFFIX = ".tmp"
"""Ends the name of every file or folder that is being written; such names also start with a dot."""
STALE_AFTER_S = 3600.0
"""A temporary file this old was left by a process that died: no write takes an hour."""


def write_atomic(path: Path | RemotePath, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Write a file at once, making its folder if need be. `content` is bytes, or writes to the file it is given."""
    if isinstance(path, RemotePath):
        path.write_bytes(_in_memory(content) if callable(content) else content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """Folders that are made for `folder` within go away again if an error leaves nothing in them."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield
    except BaseException:
        for one in missing:
            with suppress(OSError):
                one.rmdir()
        raise


def write_text(path: Path | RemotePath, text: str) -> None:
    """Write UTF-8 text at once."""
    write_atomic(path, text.encode())


def write_json(path: Path | RemotePath, value: Any) -> None:
    """Write a JSON file at once. Raises ValueError for NaN and infinity, which JSON has not."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_arrays(path: Path | RemotePath, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz` file at once. Object arrays are refused, so that reading needs no pickle."""
    if any(np.asarray(array).dtype.hasobject for array in arrays.values()):
        raise TypeError("arrays of Python objects are not written: they could be read with pickle only")
    # numpy seeks while it writes, so the archive is made in memory.
    write_atomic(path, _in_memory(lambda buffer: np.savez(buffer, **arrays)))


def read_arrays(path: Path | RemotePath) -> dict[str, np.ndarray]:
    """Read what `write_arrays` wrote."""
    source = io.BytesIO(path.read_bytes()) if isinstance(path, RemotePath) else path
    with np.load(source, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def append_json_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one object to a file of JSON lines. A kill may tear the last line, which readers then leave out."""
    with path.open("ab") as file:
        file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_json_lines(path: Path | RemotePath) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines, without a last line that was torn. No file is an empty list.

    Raises ValueError, naming file and line, for any other line that is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not a JSON object; delete that line") from None
    return rows


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of JSON lines at once."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder safe against a power cut; a file's own bytes are flushed by whoever wrote them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale_temporaries(folder: Path | RemotePath, older_than_s: float = STALE_AFTER_S) -> int:
    """Remove what killed writers left in `folder` (not below it), and return how many. Others may be writing there.

    Remote folders are left alone: in an object store nothing is left, and elsewhere clocks need not agree.
    """
    if isinstance(folder, RemotePath) or not folder.is_dir():
        return 0
    num_removed = 0
    for path in folder.glob(f".*{TEMPORARY_SUFFIX}"):
        try:
            if time.time() - path.lstat().st_mtime < older_than_s:
                continue
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except FileNotFoundError:
            continue  # Its writer was alive after all and has just renamed it, or another process cleans too.
        num_removed += 1
    return num_removed


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Let one process at a time past, on this machine; others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class FolderLock:
    """Keeps a second process out of a run's folder; the system lets go of it however the first one ends."""

    def __init__(self, folder: Path | RemotePath) -> None:
        """Take the lock, for a remote folder that of its working copy.

        Raises SettingsError if another holds it, or if the folder cannot be made or written to.
        """
        folder = working_copy(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / ".lock").open("a+")
        except OSError as error:
            raise SettingsError(
                f"{folder} must be a folder that can be written to ({error.strerror}); move what is in the way, change "
                "its rights, or change `runs_folder` or `name`"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise SettingsError(
                f"run folder {folder} is in use by another process ({holder}); wait for it, or change `name` or `seed`"
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others in."""
        self._file.close()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _in_memory(write: Callable[[BinaryIO], None]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _temporary_beside(path: Path) -> Path:
    # In the same folder, because a rename is atomic within one file system only.
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
