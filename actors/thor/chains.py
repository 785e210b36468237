"""Chains of sub-tasks out of one of ALFRED's demonstrations: consecutive skills whose ends can be told."""

from typing import Any

from actors.thor.demonstrations import NotALFRED, parsed, skills_of
from actors.thor.tasks import ExpertAction, Subtask, ThorTask, subtask_of


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
            ids = (one.receptacle_id or one.object_id for one in expert[steps.start : steps.stop])
            acted_on = tuple(dict.fromkeys(one for one in ids if one))
            chains.append(ThorTask(f"{name}/{first}", scene, before, tuple(subtasks), len(steps), acted_on))
    return chains
