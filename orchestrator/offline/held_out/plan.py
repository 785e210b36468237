"""About how long judging by held-out episodes takes."""

import math
from collections.abc import Collection, Mapping

import numpy as np

from algorithms.fitted_q import FittedQPlan
from algorithms.policies import LanguageIQL
from algorithms.transitions import Transitions
from orchestrator.offline.held_out.judge import BATCHES_AT_ONCE, ROWS_AT_ONCE
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.plan import Part, each, seconds_of


def held_out_parts(
    experiment: OfflineExperiment,
    policy: LanguageIQL,
    made_up: Transitions,
    held_out: Collection[str],
    lengths: Mapping[str, int],
) -> tuple[list[Part], list[str]]:
    """What takes time, and what is to be said of it.

    Measured on transitions that are made up; `lengths` are those of episodes that were looked at, by name.
    """
    settings = experiment.held_out
    assert settings is not None
    known = [length for name, length in lengths.items() if name in held_out] or list(lengths.values())
    actions = round(float(np.mean(known)) * len(held_out))
    history = experiment.policy.network.history
    rows = np.arange(min(ROWS_AT_ONCE, len(made_up)))
    action_s = seconds_of(lambda: policy.predict(made_up.batch(rows, history))) / len(rows)
    evaluations = 1 + math.ceil(experiment.total_updates / settings.interval_updates)
    judged = evaluations * actions
    parts = [Part("evaluation", judged * action_s, each(judged, "held-out action", action_s))]
    if settings.fitted_q is not None:
        times = evaluations - 1 if settings.fitted_q.when == "always" else 1
        updates = times * settings.fitted_q.updates
        update_s = _fitted_q_s(experiment, policy, made_up)
        parts.append(Part("fitted-Q evaluation", updates * update_s, each(updates, "update", update_s)))
    return parts, [f"{len(held_out):,} episodes are held out to judge by"]


def _fitted_q_s(experiment: OfflineExperiment, policy: LanguageIQL, made_up: Transitions) -> float:
    rows = np.arange(experiment.policy.batch_size) % len(made_up)
    batch = made_up.batch(rows, experiment.policy.network.history)
    batch |= {name: batch[name][:, None] for name in ("reward", "reward_known")}
    plan = FittedQPlan(experiment.policy.discount, (0.0,), (1.0,), BATCHES_AT_ONCE, experiment.seed)
    return seconds_of(lambda: policy.fitted_q(plan, [[batch] * BATCHES_AT_ONCE], [batch])) / BATCHES_AT_ONCE
