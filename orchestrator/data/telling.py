"""What `likert data` prints."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.data.action_bounds import KnownBounds, recorded_actions, told_bounds, with_bounds
from orchestrator.data.check import Problem
from orchestrator.data.datasets import LABELS_LOCK, TrajectoryDataset
from orchestrator.data.exports.exporting import Survey
from orchestrator.data.metadata import read_info, write_info
from orchestrator.data.schema import DatasetInfo, made_by_older_rules
from orchestrator.errors import LikertError, SettingsError
from orchestrator.screen.counts import counted
from orchestrator.storage.writing import waiting_lock


class DataProblems(LikertError):
    """A data set, or what it is imported from, has something wrong with it."""


def check(folder: Path, limit: int) -> None:
    """Print what a set holds and what is wrong with it, row by row. Raises DataProblems if anything is."""
    dataset = TrajectoryDataset(folder)
    info = dataset.info
    print(
        f"{folder}: {info.source}, {counted(info.num_episodes, 'episode')}, {counted(info.num_transitions, 'action')}, "
        f"{counted(len(dataset.parts), 'part')}; labellers: {', '.join(info.labels) or 'none'}"
    )
    if info.actions.bounds is not None:
        print(f"actions: {told_bounds(info.actions)}; a policy's [-1, 1]")
    if (word := made_by_older_rules(info)) is not None:
        print(f"note: {word}")
    num_wrong = tell(dataset.problems(), limit)
    if num_wrong:
        raise DataProblems(f"{folder} has {counted(num_wrong, 'problem')}; what has none can be read and labelled")
    print("nothing is wrong with it")


def set_bounds(folder: Path, given: Mapping[str, tuple[float, float]]) -> None:
    """Note bounds of a set's actions in its metadata, in place of what stood there, and print them.

    Entries that are not `given` get what the actions show. Raises SettingsError.
    """
    dataset = TrajectoryDataset(folder)
    known = KnownBounds(given)
    known.check(dataset.info.actions)
    if dataset.info.actions.kind == "discrete":
        raise SettingsError(f"{folder}: its actions are discrete, and have no bounds")
    found = recorded_actions((folder / part for part in dataset.parts), len(dataset.info.actions.names))
    if not len(found):
        raise SettingsError(f"{folder} has no action that can be read; `likert data check` says why")
    actions, notes = with_bounds(dataset.info.actions.model_copy(update={"bounds": None}), found, known)
    with waiting_lock(folder / LABELS_LOCK):
        write_info(folder, read_info(folder).model_copy(update={"actions": actions}))
    for note in notes:
        print(f"note: {note}")
    print(f"{folder}: {told_bounds(actions)}. Runs that began before keep to the old ones, and cannot go on")


def tell_made(folder: Path, info: DatasetInfo, num_problems: int = 0) -> None:
    """Say what was made. Raises DataProblems if something of the source could not be imported."""
    held = f"{counted(info.num_episodes, 'episode')}, {counted(info.num_transitions, 'action')}"
    print(f"{folder}: {held} in {counted(info.num_parts, 'part')}")
    if num_problems:
        raise DataProblems(
            f"the source has {counted(num_problems, 'problem')}, named above; all that has none was imported into "
            f"{folder}"
        )


def tell_exported(folder: Path, kind: str, survey: Survey) -> None:
    """Say what was written."""
    beside = f", beside it {', '.join(survey.labellers)}" if survey.labellers else ""
    print(f"{folder}: {kind}, {counted(survey.num_episodes, 'episode')}; the reward is that of {survey.reward}{beside}")


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
