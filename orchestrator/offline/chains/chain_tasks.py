"""Which chains of sub-tasks a policy is judged by: the same for every run that is compared."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from actors.babyai.environment import ChainEnvironment, ChainTask
from actors.babyai.expert import solvable_starts, solvable_tasks
from actors.babyai.level import THEN
from actors.chain_evaluation import Trial
from orchestrator.data.babyai import BabyAIDataSettings, task_of
from orchestrator.data.schema import DatasetInfo
from orchestrator.errors import SettingsError
from orchestrator.offline.evaluation_settings import ChainEvaluationSettings, Start

TASKS_RULE = 2
"""Raised whenever the same settings would deal out other tasks, or judge them otherwise."""
TASK_STREAM = 5
"""Sets the tasks that are drawn anew apart from whatever else is drawn."""


@dataclass(frozen=True)
class ChainTasks:
    """Tasks from each kind of start, and what a policy will read in them."""

    trials: tuple[Trial, ...]
    """With the starts as recorded."""
    randomised: tuple[Trial, ...]
    """The same tasks with starts drawn anew."""
    texts: tuple[str, ...]

    def trials_from(self, start: Start) -> list[Trial]:
        """The trials from a kind of start."""
        return list(self.trials if start == "fixed" else self.randomised)


def babyai_settings(info: DatasetInfo) -> BabyAIDataSettings:
    """What made the data set. Raises SettingsError if it is not of BabyAI: only its levels can be entered again."""
    if info.source != "babyai":
        raise SettingsError(
            f"data.path: the set is from {info.source!r}, and evaluation.environment is 'babyai'. Nothing but BabyAI's "
            "own levels can be entered again: judge by held-out episodes with evaluation={environment: none} "
            "(docs/offline.md), or for a set of ALFRED set evaluation.environment to thor (docs/alfred.md)"
        )
    return BabyAIDataSettings.model_validate(info.settings)


def plan_tasks(made: BabyAIDataSettings, episode_ids: tuple[str, ...], settings: ChainEvaluationSettings) -> ChainTasks:
    """Draw the tasks and let BabyAI's bot do each, from each of its starts, for its number of steps from there.

    Raises SettingsError if the data set does not have enough chains of a length.
    """
    trials: list[Trial] = []
    for number, length in enumerate(settings.chain_lengths):
        count = len(range(number, settings.num_tasks, len(settings.chain_lengths)))
        candidates = _candidates(made, episode_ids, settings, length)
        try:
            found = solvable_tasks(made.babyai, made.seed, candidates, count)
        except StopIteration:
            raise _too_few(settings, length, count) from None
        trials += [Trial(task, None, math.ceil(settings.step_budget * steps)) for task, steps in found]
    return ChainTasks(tuple(trials), _from_elsewhere(made, trials, settings), tuple(_texts(made, trials, settings)))


def _from_elsewhere(
    made: BabyAIDataSettings, trials: list[Trial], settings: ChainEvaluationSettings
) -> tuple[Trial, ...]:
    if "randomised" not in settings.starts:
        return ()
    tasks = [trial.task for trial in trials]
    try:
        starts = solvable_starts(made.babyai, made.seed, tasks)
    except ValueError as error:
        raise SettingsError(f"evaluation.starts has randomised: {error}; leave it out, or set another seed") from None
    return tuple(
        Trial(task, start_seed, math.ceil(settings.step_budget * steps))
        for task, (start_seed, steps) in zip(tasks, starts, strict=True)
    )


def _candidates(
    made: BabyAIDataSettings, episode_ids: tuple[str, ...], settings: ChainEvaluationSettings, length: int
) -> Iterator[ChainTask]:
    rng = np.random.default_rng([settings.seed, TASK_STREAM, length])
    if settings.split != made.split:
        first = int(rng.integers(2**30))
        return (ChainTask(settings.split, index, length) for index in itertools.count(first))
    recorded = dict.fromkeys(task for name in episode_ids if (task := task_of(made, name)).chain_length == length)
    tasks = list(recorded)
    return iter([tasks[index] for index in rng.permutation(len(tasks))])


def _texts(made: BabyAIDataSettings, trials: list[Trial], settings: ChainEvaluationSettings) -> list[str]:
    environment = ChainEnvironment(made.babyai, made.seed, with_frames=False, measures=False)
    found: dict[str, None] = {}
    for trial in trials:
        _, info = environment.reset(options={"task": trial.task})
        whole = info["instruction"]
        found |= dict.fromkeys([whole] if settings.instruction == "whole" else whole.split(THEN))
    return list(found)


def _too_few(settings: ChainEvaluationSettings, length: int, count: int) -> SettingsError:
    return SettingsError(
        f"evaluation.num_tasks = {settings.num_tasks}: the data set has fewer than {count} chains of {length} "
        "sub-tasks that BabyAI's bot completes; lower num_tasks, leave that length out, or set evaluation.split to "
        "held_out"
    )
