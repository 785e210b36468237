"""How far one person agrees with the models, on what this person has rated without knowing their answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from algorithms.scales import CANNOT_TELL
from orchestrator.gallery.index import Entry, Task


def agreed(
    entries: Sequence[Entry], tasks: Sequence[Task], said: Mapping[str, Sequence[Mapping[str, Any]]], person: str
) -> list[dict[str, Any]]:
    """By task and model, from those of the entries that have a level of both, and the keys of these.

    `said` is what people said, by the question's key, from the earliest. Only the first opinion of a person counts.
    """
    # Here, since it brings scikit-learn, and a page that nobody rates on does without.
    from orchestrator.reports.agreement.measures import against

    pairs: dict[tuple[int, str, str], list[tuple[str, int, int]]] = {}
    for entry in entries:
        own = [row for row in said.get(entry.key, ()) if row["person"] == person]
        levels = (own[0]["level"] if own else None), entry.level
        known = not own or own[0]["answer_seen"] or None in levels
        if known or (tasks[entry.task].compares and CANNOT_TELL in levels):
            continue
        group = entry.task, str(entry.row["model"]), str(entry.row["mode"])
        pairs.setdefault(group, []).append((entry.key, *levels))
    found = []
    for (task, model, mode), both in pairs.items():
        number = CANNOT_TELL if tasks[task].compares else len(tasks[task].words)
        mine, models = np.array([levels for _, *levels in both], dtype=np.int64).T
        agreement = against(mine[None], models, number)
        found.append(
            {
                "task": task,
                "model": model,
                "mode": mode,
                "items": agreement.num_items,
                "same": str(agreement.same),
                "kappa": str(agreement.kappa),
                "alpha": str(agreement.alpha),
                "table": agreement.table.tolist(),
                "keys": [key for key, *_ in both],
            }
        )
    return found
