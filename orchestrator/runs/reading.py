"""What reports and figures know about a run, read from its folder alone."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import SettingsError
from orchestrator.runs.layout import (
    CONTROLS,
    EVAL_SUCCESS,
    METRICS_FILE,
    PROGRESS_FILE,
    SETTINGS_FILE,
    control_metric,
)
from orchestrator.settings.experiment import Experiment
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import read_arrays, read_json_lines


@dataclass(frozen=True)
class Series:
    """A metric over environment steps."""

    env_steps: np.ndarray
    """[N] int64, growing."""
    values: np.ndarray
    """[N] float64."""

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class RunData:
    """One run."""

    folder: Path | RemotePath
    experiment: Any
    """Its settings, of its kind's class."""
    rows: list[dict[str, Any]]
    """Lines of the metrics file."""

    @classmethod
    def of(cls, folder: Path | RemotePath, experiment: Experiment) -> "RunData":
        """What the run in `folder` has reached, whose settings are known."""
        return cls(folder, experiment, read_json_lines(folder / METRICS_FILE))

    @property
    def group(self) -> str:
        """Runs that differ in their seed only: the experiment's name."""
        return self.experiment.name

    def series(self, metric: str) -> Series:
        """A metric's values; where a step was logged twice, the last."""
        values = {row["env_step"]: row[metric] for row in self.rows if metric in row}
        steps = sorted(values)
        return Series(np.array(steps, dtype=np.int64), np.array([values[step] for step in steps], dtype=np.float64))

    def control(self, control: str, metric: str = EVAL_SUCCESS) -> float | None:
        """A control's value, or None if it was not evaluated."""
        series = self.series(control_metric(control, metric))
        return float(series.values[-1]) if len(series) else None

    def controls(self, metric: str = EVAL_SUCCESS) -> dict[str, float]:
        """The controls that were evaluated."""
        return {name: value for name in CONTROLS if (value := self.control(name, metric)) is not None}

    def progress(self) -> dict[str, np.ndarray]:
        """Learned reward beside true progress; empty if the run has not written any."""
        path = self.folder / PROGRESS_FILE
        return read_arrays(path) if path.exists() else {}


def _folders_in(folder: Path | RemotePath) -> list[Path | RemotePath]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir()), key=str)


Load = Callable[[Path | RemotePath], Experiment]
"""Reads the settings that a run has written."""


def read_run(folder: Path | RemotePath, load: Load) -> RunData:
    """Read a run's folder. Raises SettingsError if it is none."""
    if not (folder / SETTINGS_FILE).exists():
        raise SettingsError(f"{folder} is not the folder of a run: it has no {SETTINGS_FILE}")
    return RunData.of(folder, load(folder / SETTINGS_FILE))


def find_runs(folders: Iterable[Path | RemotePath], load: Load) -> list[RunData]:
    """Runs among `folders` and right below them; what lies beside them is passed over, as `runs/*` names it too.

    Raises SettingsError if a folder does not exist, or none holds a run.
    """
    found: dict[Path | RemotePath, RunData] = {}
    folders = list(folders)
    for folder in folders:
        if not folder.exists():
            raise SettingsError(f"{folder} does not exist; name folders of runs, such as runs/demo-seed0")
        candidates = [folder, *_folders_in(folder)]
        found |= {run.resolve(): read_run(run, load) for run in candidates if (run / SETTINGS_FILE).exists()}
    if not found:
        raise SettingsError(f"there is no run in {', '.join(map(str, folders))}: none has a {SETTINGS_FILE}")
    return list(found.values())
