"""What `likert data` does and prints."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from orchestrator.data.check import Problem
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.importing import print_result
from orchestrator.data.schema import DatasetInfo
from orchestrator.errors import LikertError
from orchestrator.settings.loading import load_overrides
from orchestrator.settings.preflight import check_writable


class DataProblems(LikertError):
    """A data set has something wrong with it."""


def make_babyai(folder: Path, overrides: Sequence[str]) -> None:
    """Make BabyAI demonstrations. Raises SettingsError."""
    from orchestrator.data.babyai import BabyAIDataSettings, generate

    settings = load_overrides(BabyAIDataSettings, overrides, "These settings of BabyAI data cannot be used")
    check_writable("folder", folder)
    _tell_made(folder, generate(settings, folder))


def import_alfred_set(source: Path, folder: Path, overrides: Sequence[str]) -> None:
    """Import ALFRED's layout. Raises SettingsError."""
    from orchestrator.data.alfred import AlfredSettings, import_alfred

    settings = load_overrides(AlfredSettings, overrides, "These settings of the import cannot be used")
    check_writable("folder", folder)
    print_result(folder, *import_alfred(source, folder, settings))


def import_lerobot_set(source: Path, folder: Path, overrides: Sequence[str]) -> None:
    """Import a LeRobotDataset. Raises SettingsError."""
    from orchestrator.data.lerobot import LeRobotSettings, import_lerobot

    settings = load_overrides(LeRobotSettings, overrides, "These settings of the import cannot be used")
    check_writable("folder", folder)
    print_result(folder, *import_lerobot(source, folder, settings))


def check(folder: Path, limit: int) -> None:
    """Print what a set holds and what is wrong with it, row by row. Raises DataProblems if anything is."""
    dataset = TrajectoryDataset(folder)
    info = dataset.info
    print(
        f"{folder}: {info.source}, {info.num_episodes:,} episodes, {info.num_transitions:,} actions, "
        f"{len(dataset.parts)} parts; labellers: {', '.join(info.labels) or 'none'}"
    )
    num_wrong = tell(dataset.problems(), limit)
    if num_wrong:
        raise DataProblems(f"{folder} has {num_wrong:,} problems; what has none can be read and labelled")
    print("nothing is wrong with it")


def _tell_made(folder: Path, info: DatasetInfo) -> None:
    print(f"{folder}: {info.num_episodes:,} episodes, {info.num_transitions:,} actions in {info.num_parts} parts")


def tell(problems: Iterable[Problem], limit: int) -> int:
    """Print problems and notes, at most `limit` of them, and return how many problems there are."""
    number = num_wrong = 0
    for number, problem in enumerate(problems, start=1):
        num_wrong += not problem.is_note
        if number <= limit:
            print(problem)
    if number > limit:
        print(f"... and {number - limit:,} more; --limit {number} shows them all")
    return num_wrong
