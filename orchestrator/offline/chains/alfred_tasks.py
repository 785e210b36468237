"""Chains of sub-tasks out of ALFRED's demonstrations: consecutive skills, begun where the expert began them."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from actors.chain_evaluation import Trial
from actors.thor.chains import chains_of
from actors.thor.demonstrations import TRAJECTORY_FILE
from actors.thor.tasks import ThorTask
from orchestrator.errors import SettingsError
from orchestrator.offline.chains.chain_tasks import TASK_STREAM, ChainTasks
from orchestrator.offline.evaluation_settings import ChainEvaluationSettings


def plan_thor_tasks(source: Path, settings: ChainEvaluationSettings) -> ChainTasks:
    """Draw the tasks: of a demonstration at most one for each length. The step budget is a multiple of the expert's.

    Raises SettingsError if there are no demonstrations, or too few with chains of a length.
    """
    files = demonstration_files(source)
    trials: list[Trial] = []
    for number, length in enumerate(settings.chain_lengths):
        count = len(range(number, settings.num_tasks, len(settings.chain_lengths)))
        tasks = _tasks(files, source, settings.seed, length)
        found = [task for task, _ in zip(tasks, range(count), strict=False)]
        if len(found) < count:
            raise SettingsError(
                f"evaluation.num_tasks = {settings.num_tasks}: {source} has {len(found)} demonstrations with {length} "
                f"consecutive sub-tasks that can be judged, and {count} are asked for; lower num_tasks, leave that "
                "length out, or name a folder with more by evaluation.thor.source"
            )
        trials += [Trial(task, None, math.ceil(settings.step_budget * task.num_expert_steps)) for task in found]
    whole = settings.instruction == "whole"
    texts = (
        text
        for trial in trials
        for text in ([trial.task.instruction] if whole else [one.instruction for one in trial.task.subtasks])
    )
    # From another place the expert's steps are not known, so the budget stays.
    elsewhere = (Trial(trial.task, number, trial.max_steps) for number, trial in enumerate(trials))
    return ChainTasks(tuple(trials), tuple(elsewhere), tuple(dict.fromkeys(texts)))


def demonstration_files(source: Path) -> list[Path]:
    """Every demonstration below a folder. Raises SettingsError if there is none."""
    files = sorted(source.rglob(TRAJECTORY_FILE))
    if not files:
        raise SettingsError(
            f"evaluation.thor.source = {source}: no {TRAJECTORY_FILE} in it or below; name ALFRED's folder, such as "
            "train/"
        )
    return files


def _tasks(files: list[Path], source: Path, seed: int, length: int) -> Iterator[ThorTask]:
    rng = np.random.default_rng([seed, TASK_STREAM, length])
    for index in rng.permutation(len(files)):
        file = files[index]
        draw, annotation = rng.random(2)
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            annotator = int(annotation * len(found["turk_annotations"]["anns"]))
            chains = chains_of(found, file.parent.relative_to(source).as_posix(), length, annotator)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            continue  # `likert data alfred` names what is wrong with it.
        if chains:
            yield chains[int(draw * len(chains))]
