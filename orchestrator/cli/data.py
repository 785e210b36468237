"""`likert data ...`: trajectory data sets. Heavy imports stand inside the commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.plain_command import plain
from orchestrator.errors import SettingsError

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
def bounds(
    folder: Annotated[Path, typer.Argument(help="A data set with continuous actions.")],
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="ENTRY=LOW,HIGH", help="Bounds of entries; others as actions show.")
    ] = None,
) -> None:
    """Set what a policy's [-1, 1] stands for, such as `likert data bounds data/robot gripper=0,100`.

    Importers do so; this is for sets that have no bounds, or wrong ones.
    """
    from orchestrator.data.telling import set_bounds

    set_bounds(folder, dict(_bounds_of(entry) for entry in entries or []))


@data.command()
@plain
def babyai(out: Out, settings: Overrides = None) -> None:
    """Make demonstrations of BabyAI chains, such as `likert data babyai data/babyai num_episodes=1000`.

    Stopped, the same command goes on. The settings stand in docs/datasets.md.
    """
    from orchestrator.cluster.tasks import spread
    from orchestrator.data.babyai import BabyAIDataSettings, generate
    from orchestrator.data.telling import tell_made

    with _written_to(out):
        tell_made(out, generate(_settings(BabyAIDataSettings, settings, "of BabyAI data"), out, spread))


@data.command()
@plain
def alfred(
    source: Annotated[Path, typer.Argument(help="ALFRED's folder, such as train/, with traj_data.json files below.")],
    out: Out,
    settings: Overrides = None,
) -> None:
    """Import ALFRED demonstrations: a trajectory for each skill and annotator, navigation at its front.

    Exit code 1 if something was left out.
    """
    from orchestrator.data.recordings.alfred import AlfredSettings, import_alfred
    from orchestrator.data.telling import tell_made

    with _written_to(out):
        tell_made(out, *import_alfred(source, out, _settings(AlfredSettings, settings, "of the import")))


@data.command()
@plain
def lerobot(
    source: Annotated[Path, typer.Argument(help="A LeRobotDataset of version 2 or 3: the folder with meta/, data/.")],
    out: Out,
    settings: Overrides = None,
) -> None:
    """Import a LeRobotDataset of version 2 or 3, such as `likert data lerobot SOURCE data/robot every=10`.

    Exit code 1 if something was left out.
    """
    from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
    from orchestrator.data.telling import tell_made

    with _written_to(out):
        tell_made(out, *import_lerobot(source, out, _settings(LeRobotSettings, settings, "of the import")))


@data.command()
@plain
def minari(
    source: Annotated[Path, typer.Argument(help="A Minari data set: the folder with data/metadata.json.")],
    out: Out,
    settings: Overrides = None,
) -> None:
    """Import a Minari data set with pictures, HDF5 or Arrow, such as `likert data minari SOURCE data/set camera=image`.

    Exit code 1 if something was left out.
    """
    from orchestrator.data.recordings.minari import MinariSettings, import_minari
    from orchestrator.data.telling import tell_made

    with _written_to(out):
        tell_made(out, *import_minari(source, out, _settings(MinariSettings, settings, "of the import")))


@data.command()
@plain
def robomimic(
    source: Annotated[Path, typer.Argument(help="A robomimic file, such as image.hdf5, with pictures in it.")],
    out: Out,
    settings: Overrides = None,
) -> None:
    """Import a robomimic HDF5 file, such as `likert data robomimic FILE data/lift instruction='lift the cube'`.

    Exit code 1 if something was left out.
    """
    from orchestrator.data.recordings.arrays import ArraySettings
    from orchestrator.data.recordings.robomimic import import_robomimic
    from orchestrator.data.telling import tell_made

    with _written_to(out):
        tell_made(out, *import_robomimic(source, out, _settings(ArraySettings, settings, "of the import")))


@data.command()
@plain
def rlds(
    source: Annotated[
        Path, typer.Argument(help="A TFDS folder of RLDS: the one with features.json, such as .../1.0.0.")
    ],
    out: Out,
    settings: Overrides = None,
) -> None:
    """Import RLDS, as Open X-Embodiment has it: `likert data rlds bridge/1.0.0 data/bridge camera=observation/image_0`.

    Exit code 1 if something was left out.
    """
    from orchestrator.data.recordings.rlds import RldsSettings, import_rlds
    from orchestrator.data.telling import tell_made

    with _written_to(out):
        tell_made(out, *import_rlds(source, out, _settings(RldsSettings, settings, "of the import")))


@data.command()
@plain
def export(
    folder: Annotated[Path, typer.Argument(help="A data set.")],
    out: Annotated[Path, typer.Argument(help="A folder that is empty, or not there yet.")],
    settings: Overrides = None,
) -> None:
    """Write a data set as others read it, with rewards: `likert data export data/robot OUT format=lerobot`.

    format=minari for Minari. The settings stand in docs/datasets.md.
    """
    from orchestrator.data.exports.exporting import ExportSettings
    from orchestrator.data.exports.formats import export_to
    from orchestrator.data.telling import tell_exported

    with _written_to(out):
        chosen = _settings(ExportSettings, settings, "of the export")
        tell_exported(out, chosen.format, export_to(folder, out, chosen))


def _bounds_of(entry: str) -> tuple[str, tuple[float, float]]:
    name, _, values = entry.rpartition("=")
    try:
        low, high = (float(value) for value in values.split(","))
        if name:
            return name, (low, high)
    except ValueError:
        pass
    raise SettingsError(f"{entry}: must be ENTRY=LOW,HIGH with two numbers, such as gripper=0,100")


def _settings(model: Any, overrides: list[str] | None, what: str) -> Any:
    """Settings of class `model`. Raises SettingsError."""
    from orchestrator.settings.loading import load_overrides

    return load_overrides(model, overrides or [], f"These settings {what} cannot be used")


@contextmanager
def _written_to(out: Path) -> Iterator[None]:
    """For work that writes a set into `out`; a folder in which nothing was written is not left behind.

    Raises SettingsError if it cannot be written to.
    """
    from orchestrator.settings.preflight import check_writable
    from orchestrator.storage.writing import no_empty_folder

    with no_empty_folder(out):
        check_writable("folder", out)
        yield
