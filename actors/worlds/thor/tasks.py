"""Which of ALFRED's demonstrations a task's episodes are about, and what can be done in them."""

import functools
import json
import re
from pathlib import Path

import numpy as np

from actors.thor.chains import chains_of
from actors.thor.demonstrations import TRAJECTORY_FILE
from actors.thor.settings import ACTION_NAMES, NO_OBJECT
from actors.thor.tasks import ThorTask, class_of
from actors.worlds.thor.settings import ThorTaskSettings
from actors.worlds.world import WorldError

INTERACTIONS = tuple(name for name in ACTION_NAMES if name.endswith("Object") or name.startswith("ToggleObject"))
"""Actions that are about an object."""
_FLOOR_PLAN = re.compile(r"FloorPlan(\d+)$")


@functools.lru_cache(maxsize=4)
def tasks_of(settings: str) -> tuple[ThorTask, ...]:
    """The tasks that a `ThorTaskSettings`, as JSON, draws: the same in every process. Of a demonstration at most one.

    Raises WorldError if there are too few.
    """
    task = ThorTaskSettings.model_validate_json(settings)
    files = sorted(task.alfred.source.rglob(TRAJECTORY_FILE))
    if not files:
        raise WorldError(
            f"task.alfred.source = {task.alfred.source}: no {TRAJECTORY_FILE} in it or below; name ALFRED's folder, "
            "such as train/"
        )
    rng, found = np.random.default_rng(task.tasks_seed), []
    for index in rng.permutation(len(files)):
        drawn = _drawn(task, files[index], rng.random(2))
        if drawn is not None:
            found.append(drawn)
        if len(found) == task.num_tasks:
            return tuple(found)
    where = "" if task.floor_plans is None else f" in floor plans {task.floor_plans[0]} to {task.floor_plans[1]}"
    raise WorldError(
        f"task.num_tasks = {task.num_tasks}: {task.alfred.source} has {len(found)} demonstrations with "
        f"{', '.join(task.chain)} one after the other{where}; lower num_tasks, or name a folder with more by "
        "task.alfred.source"
    )


def objects_of(task: ThorTaskSettings, tasks: tuple[ThorTask, ...]) -> tuple[str, ...]:
    """Classes of objects by number, the first of them none."""
    acted_on = {class_of(one) for chain in tasks for one in chain.acted_on}
    return (NO_OBJECT, *(task.objects or sorted(acted_on)))


def pairs_of(objects: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Choices: numbers of an action and of an object's class, each pair that can make sense."""
    pairs = [(number, 0) for number, name in enumerate(ACTION_NAMES) if name not in INTERACTIONS]
    for number, name in enumerate(ACTION_NAMES):
        if name in INTERACTIONS:
            pairs += [(number, thing) for thing in range(1, len(objects))]
    return tuple(pairs)


def _drawn(task: ThorTaskSettings, file: Path, draws: np.ndarray) -> ThorTask | None:
    """A chain of a demonstration, in an annotator's words; None if it has none of these kinds in these rooms."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not _in_rooms(task, found["scene"]["floor_plan"]):
            return None
        annotator = int(draws[0] * len(found["turk_annotations"]["anns"]))
        name = file.parent.relative_to(task.alfred.source).as_posix()
        chains = chains_of(found, name, len(task.chain), annotator)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None  # `likert data alfred` names what is wrong with it.
    fitting = [chain for chain in chains if tuple(one.kind for one in chain.subtasks) == task.chain]
    return fitting[int(draws[1] * len(fitting))] if fitting else None


def _in_rooms(task: ThorTaskSettings, floor_plan: str) -> bool:
    if task.floor_plans is None:
        return True
    matched = _FLOOR_PLAN.search(floor_plan)
    return matched is not None and task.floor_plans[0] <= int(matched[1]) <= task.floor_plans[1]
