"""The formats that a data set can be exported to."""

from pathlib import Path

from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.exports.exporting import ExportSettings, Survey, Write, export
from orchestrator.data.exports.lerobot import write_lerobot
from orchestrator.data.exports.minari import write_minari

FORMATS: dict[str, Write] = {"lerobot": write_lerobot, "minari": write_minari}


def export_to(source: Path, folder: Path, settings: ExportSettings) -> Survey:
    """Write the set in `source` into `folder`. Raises SettingsError, and then `folder` is as it was."""
    return export(TrajectoryDataset(source), folder, settings, FORMATS[settings.format])
