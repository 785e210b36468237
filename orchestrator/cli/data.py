"""`likert data ...`: trajectory data sets. Heavy imports stand inside the commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.plain_command import plain

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Trajectory data sets: make, import and check.")

Out = Annotated[Path, typer.Argument(help="Folder for the data set.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY.PATH=VALUE", help="Settings.")]


@data.command()
@plain
def check(
    folder: Annotated[Path, typer.Argument(help="A data set.")],
    limit: Annotated[int, typer.Option(min=1, help="Print this many problems.")] = 100,
) -> None:
    """Say what is wrong with a data set, row by row. Exit code 1 if anything is."""
    from orchestrator.data import telling

    telling.check(folder, limit)


@data.command()
@plain
def babyai(out: Out, settings: Overrides = None) -> None:
    """Make demonstrations of BabyAI chains, such as `likert data babyai data/babyai num_episodes=1000`.

    Stopped, the same command goes on. The settings stand in docs/datasets.md.
    """
    from orchestrator.cluster.tasks import spread
    from orchestrator.data.babyai import BabyAIDataSettings, generate
    from orchestrator.data.telling import tell_made

    chosen = _settings(BabyAIDataSettings, settings, "These settings of BabyAI data cannot be used", out)
    tell_made(out, generate(chosen, out, spread))


@data.command()
@plain
def alfred(
    source: Annotated[Path, typer.Argument(help="ALFRED's folder, such as train/, with traj_data.json files below.")],
    out: Out,
    settings: Overrides = None,
) -> None:
    """Import ALFRED demonstrations: a trajectory for each skill and annotator, navigation at its front."""
    from orchestrator.data.alfred import AlfredSettings, import_alfred
    from orchestrator.data.telling import tell_made

    chosen = _settings(AlfredSettings, settings, "These settings of the import cannot be used", out)
    tell_made(out, *import_alfred(source, out, chosen))


@data.command()
@plain
def lerobot(
    source: Annotated[Path, typer.Argument(help="A LeRobotDataset of version 3: the folder with meta/ and data/.")],
    out: Out,
    settings: Overrides = None,
) -> None:
    """Import a LeRobotDataset of version 3, such as `likert data lerobot SOURCE data/robot every=10`."""
    from orchestrator.data.lerobot import LeRobotSettings, import_lerobot
    from orchestrator.data.telling import tell_made

    chosen = _settings(LeRobotSettings, settings, "These settings of the import cannot be used", out)
    tell_made(out, *import_lerobot(source, out, chosen))


def _settings(model: Any, overrides: list[str] | None, title: str, out: Path) -> Any:
    """Settings of class `model`, once the data set's folder can be written to. Raises SettingsError."""
    from orchestrator.settings.loading import load_overrides
    from orchestrator.settings.preflight import check_writable

    settings = load_overrides(model, overrides or [], title)
    check_writable("folder", out)
    return settings
