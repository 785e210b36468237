"""Chains of sub-tasks out of ALFRED's demonstrations: consecutive skills, begun where the expert began them."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from actors.chain_evaluation import Trial
from actors.thor.tasks import ExpertAction, Subtask, ThorTask, subtask_of
from orchestrator.data.recordings.alfred_files import TRAJECTORY_FILE, NotALFRED, parsed, skills_of
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


def chains_of(found: dict[str, Any], name: str, length: int, annotator: int) -> list[ThorTask]:
    """All chains of that many skills of a demonstration whose ends can be told; `found` is its `traj_data.json`.

    Raises NotALFRED, KeyError or IndexError for a file that is not ALFRED's.
    """
    told, scene = parsed(found), found["scene"]
    if not isinstance(scene, dict):
        raise NotALFRED(f"scene is no block, but {type(scene).__name__}")
    expert = [ExpertAction(action.name, action.object_id, action.receptacle_id) for action in told.plan.low_actions]
    sentences = told.annotations[annotator].high_descs
    skills = skills_of(told.plan, len(sentences))
    kinds = told.plan.kinds
    chains = []
    for first in range(len(skills) - length + 1):
        chosen = skills[first : first + length]
        subtasks: list[Subtask] = []
        for skill in chosen:
            text = " ".join(sentences[skill.sentence].split())
            try:
                subtasks.append(subtask_of(kinds[skill.high_idx], text, expert[skill.low.start : skill.low.stop]))
            except ValueError:
                break  # Navigation alone, or nothing that could be judged.
        if len(subtasks) == length and all(subtask.instruction for subtask in subtasks):
            steps = range(chosen[0].low.start, chosen[-1].low.stop)
            before = tuple(expert[: steps.start])
            chains.append(ThorTask(f"{name}/{first}", scene, before, tuple(subtasks), len(steps)))
    return chains


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
