"""Folders, disks, the tracking server and clocks."""

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.doctor.findings import Unfit
from orchestrator.runs.tracking import check_server, mlflow_uri, public
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.preflight import check_writable
from orchestrator.storage.locations import RemotePath, modified_at, working_copy

MAX_SKEW_S = 5.0
"""Clocks further apart than this make logs and locks hard to trust; object stores refuse some minutes."""


def check_folders(folders: Mapping[str, Path | RemotePath]) -> str:
    """The folders by setting, if files can be written there."""
    for name, folder in folders.items():
        check_writable(name, folder)
    return " and ".join(str(folder) for folder in folders.values())


def check_space(experiments: Sequence[Experiment], check_disk: Callable[[Sequence[Experiment]], None]) -> str:
    """That the disks hold what these experiments may write together, by their kind's `check_disk`."""
    check_disk(experiments)
    free = min(_free(working_copy(experiment.runs_folder)) for experiment in experiments)
    return f"{free / 1e9:.0f} GB free"


def check_tracking(experiment: Experiment, ask_server: Callable[[str], None] = check_server) -> str:
    """Where metrics go, if that can be written to."""
    if not experiment.tracking.enabled:
        return "off (tracking.enabled=false): metrics go to the runs' folders only"
    uri = mlflow_uri(experiment.runs_folder)
    if "MLFLOW_TRACKING_URI" in os.environ:
        ask_server(uri)
        return f"MLflow at {public(uri)}"
    _check_database(working_copy(experiment.runs_folder))
    return f"MLflow in {public(uri)}"


def check_clock(folders: Sequence[Path | RemotePath], now: Callable[[], float] = time.time) -> str:
    """That this machine's clock agrees with those of the machines that keep the folders."""
    worst = max((_skew(folder, now) for folder in folders), key=abs)
    if abs(worst) > MAX_SKEW_S:
        raise Unfit(
            f"this machine's clock is {abs(worst):.0f} s {'behind' if worst > 0 else 'ahead of'} that of its storage",
            "set both clocks by NTP (chronyc tracking, timedatectl)",
        )
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now()))


def _skew(folder: Path | RemotePath, now: Callable[[], float]) -> float:
    """Seconds by which the clock of the folder's machine is ahead of this one's."""
    probe = folder / f".probe-{uuid.uuid4().hex}.tmp"
    before = now()
    probe.write_bytes(b"")
    after = now()
    written = modified_at(probe)
    probe.unlink()
    if written > after:
        return written - after
    # Object stores tell whole seconds.
    return min(0.0, written + 1.0 - before)


def _check_database(folder: Path) -> None:
    path = folder / f".probe-{uuid.uuid4().hex}.db"
    try:
        database = sqlite3.connect(path, timeout=5.0)
        try:
            database.execute("CREATE TABLE probe (one INTEGER)")
            database.commit()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise Unfit(
            f"SQLite cannot work in {folder} ({error}): some network file systems have no locks",
            "start `mlflow server` and set MLFLOW_TRACKING_URI to it, or move runs_folder",
        ) from None
    finally:
        path.unlink(missing_ok=True)


def _free(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
