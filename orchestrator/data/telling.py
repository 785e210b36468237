"""What `likert data` prints."""

from collections.abc import Iterable
from pathlib import Path

from orchestrator.data.check import Problem
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import DatasetInfo, made_by_older_rules
from orchestrator.errors import LikertError


class DataProblems(LikertError):
    """A data set, or what it is imported from, has something wrong with it."""


def check(folder: Path, limit: int) -> None:
    """Print what a set holds and what is wrong with it, row by row. Raises DataProblems if anything is."""
    dataset = TrajectoryDataset(folder)
    info = dataset.info
    print(
        f"{folder}: {info.source}, {info.num_episodes:,} episodes, {info.num_transitions:,} actions, "
        f"{len(dataset.parts)} parts; labellers: {', '.join(info.labels) or 'none'}"
    )
    if (word := made_by_older_rules(info)) is not None:
        print(f"note: {word}")
    num_wrong = tell(dataset.problems(), limit)
    if num_wrong:
        raise DataProblems(f"{folder} has {num_wrong:,} problems; what has none can be read and labelled")
    print("nothing is wrong with it")


def tell_made(folder: Path, info: DatasetInfo, num_problems: int = 0) -> None:
    """Say what was made. Raises DataProblems if something of the source could not be imported."""
    print(f"{folder}: {info.num_episodes:,} episodes, {info.num_transitions:,} actions in {info.num_parts} parts")
    if num_problems:
        raise DataProblems(
            f"the source has {num_problems:,} problems, each named above; all that has none was imported into {folder}"
        )


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
