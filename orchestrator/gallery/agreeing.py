"""How far one person agrees with the models, on what this person has rated without knowing their answers."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from algorithms.scales import CANNOT_TELL
from orchestrator.gallery.index import Entry, Task


def agreed(
    entries: Sequence[Entry], tasks: Sequence[Task], said: Mapping[str, Sequence[Mapping[str, Any]]], person: str
) -> list[dict[str, Any]]:
    """By task and model, from those of the entries of which the model and the person said a level; with their keys.

    `said` is what people said, by the question's key, from the earliest. Only the first opinion of a person counts, and
    that only if the model's answer was not known; of how many it was is `known`.
    """
    # Here, since it brings scikit-learn, and a page that nobody rates on does without.
    from orchestrator.reports.agreement.measures import against

    pairs: dict[tuple[int, str, str], list[tuple[str, int, int]]] = defaultdict(list)
    known: Counter[tuple[int, str, str]] = Counter()
    for entry in entries:
        first = next((row for row in said.get(entry.key, ()) if row["person"] == person), None)
        if first is None or None in (levels := (first["level"], entry.level)):
            continue
        if tasks[entry.task].compares and CANNOT_TELL in levels:
            continue
        group = entry.task, str(entry.row["model"]), str(entry.row["mode"])
        known[group] += first["answer_seen"]
        if not first["answer_seen"]:
            pairs[group].append((entry.key, *levels))
    found = []
    for group, num_known in known.items():
        (task, model, mode), both = group, pairs[group]
        number = CANNOT_TELL if tasks[task].compares else len(tasks[task].words)
        mine, models = np.array([levels for _, *levels in both], dtype=np.int64).reshape(-1, 2).T
        agreement = against(mine[None], models, number)
        found.append(
            {
                "task": task,
                "model": model,
                "mode": mode,
                "items": agreement.num_items,
                "known": num_known,
                "same": str(agreement.same),
                "kappa": str(agreement.kappa),
                "alpha": str(agreement.alpha),
                "table": agreement.table.tolist(),
                "keys": [key for key, *_ in both],
            }
        )
    return found
