"""A Ray that we start on this machine ourselves: where it keeps its files, and which workers it starts, how nice."""

import os
import socket
import uuid
from pathlib import Path

from orchestrator.errors import SettingsError

SOCKET_PATH_BYTES = 107
"""What Linux lets the path of a Unix socket be; Ray binds some below its folder for temporary files."""
PROBE_BYTES = 2**20
"""Logs of Ray's first seconds take about as much."""
NICENESS = "RAY_worker_niceness"
PRESTARTED = "RAY_prestart_worker_first_driver"

_REMEDY = (
    "Set RAY_TMPDIR to a short folder on a disk of this machine, such as RAY_TMPDIR=/tmp: Ray takes it before TMPDIR, "
    "which may stay as it is for all else"
)


def temporary_folder() -> Path:
    """The folder below which a Ray of our own keeps sockets, logs and what memory cannot hold.

    It is made if need be. Raises SettingsError, with the remedy, if Ray cannot start there.
    """
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = Path(os.environ.get(name) or "/tmp")
    title = f"{name} = {os.environ.get(name, '/tmp')!r}"
    if os.environ.get(name) == "" or not folder.is_absolute():
        raise SettingsError(f"{title}: Ray's folder for temporary files must be named from the root (/). {_REMEDY}")
    longest = SOCKET_PATH_BYTES - len(_socket_below(""))
    given = len(os.fsencode(os.environ.get(name, "/tmp").rstrip("/")))
    if given > longest:
        raise SettingsError(
            f"{title}: this is {given} bytes long, and Ray needs a folder for temporary files of {longest} or fewer, "
            f"because the paths of the sockets that it makes below may have {SOCKET_PATH_BYTES}. {_REMEDY}"
        )
    try:
        _try_out(folder)
    except OSError as error:
        raise SettingsError(
            f"{title}: Ray cannot keep its temporary files there ({error.strerror or error}). {_REMEDY}"
        ) from None
    return folder


def let_workers_be_as_nice_as_we() -> None:
    """Before Ray is started here. What it adds to the niceness of its workers is 15 by default: they would starve."""
    os.environ.setdefault(NICENESS, "0")


def start_no_idle_workers() -> None:
    """Before Ray is started here. It would start two workers at once, in case they are wanted: but what we make has an
    environment of its own, and so a new process, and they would load Ray and wait to the end."""
    os.environ.setdefault(PRESTARTED, "0")


def _socket_below(folder: str) -> str:
    """A socket of the session that this process would start; Ray's names have this length."""
    return f"{folder}/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"


def _try_out(folder: Path) -> None:
    """Raise OSError if a file, or a socket, cannot be made in what Ray would use."""
    folder.mkdir(parents=True, exist_ok=True)
    # Another user's Ray may have made this already.
    inside = folder / "ray" if (folder / "ray").exists() else folder
    probe = inside / f".likert-{uuid.uuid4().hex[:8]}"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
        probe.unlink()
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.fsencode(probe))
    finally:
        probe.unlink(missing_ok=True)
