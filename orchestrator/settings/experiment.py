"""What every experiment has, of whatever kind; the fields of a kind's own stand in `settings.py` of its room."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from algorithms.settings import PositiveInt, Settings
from orchestrator.storage.locations import Location, RemotePath, working_copy


class CheckpointSettings(Settings):
    """Which checkpoints stay; a kind adds how often they are written."""

    keep: PositiveInt = 2
    """Latest checkpoints kept."""


class TrackingSettings(Settings):
    """Where metrics go. `MLFLOW_TRACKING_URI` names a server; else an SQLite file beside the runs."""

    enabled: bool = True
    """Log to MLflow."""
    experiment: Annotated[str, Field(min_length=1)] = "likert"
    """MLflow experiment name."""


class Experiment(Settings):
    """One run. `orchestrator.kinds` has the classes that a settings file can be of."""

    kind: str
    """Which kind it is; tells `likert run` and `likert sweep` how it goes."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    """Name of the run's folder and of its MLflow run; the seed is appended."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds all that is drawn."""
    runs_folder: Location = Path("runs")
    """Holds a folder per run, and the SQLite tracking file. An address such as `s3://bucket/runs` keeps checkpoints
    where every machine reaches them."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    tracking: TrackingSettings = TrackingSettings()

    @property
    def run_folder(self) -> Path | RemotePath:
        """Where this run keeps everything it writes, the ratings apart."""
        return self.runs_folder / f"{self.name}-seed{self.seed}"

    @property
    def working_folder(self) -> Path:
        """Where a run writes while it goes on: its folder, or a copy on this machine of one that is remote."""
        return working_copy(self.run_folder)
