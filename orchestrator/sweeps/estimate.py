"""What a sweep will do and about what it will cost, before anything starts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from actors.rating.settings import POCKET_PIXELS, RaterSettings
from orchestrator.cluster.gpus import on_processors
from orchestrator.kinds import kind_of
from orchestrator.runs.kind import Work
from orchestrator.sweeps.raters import raters_of, share_raters
from orchestrator.sweeps.search import SweepPlan, Trial
from orchestrator.sweeps.settings import EstimateSettings

TRIAL_CPUS = 1.0
"""Processors of a trial's own process, in which a policy without a GPU learns."""


@dataclass(frozen=True)
class Estimate:
    """Work is exact, at most; hours and cost follow from `sweep.estimate`."""

    num_trials: int
    num_cells: int
    env_steps: int
    updates: int
    ratings: int
    """Questions of all trials. Equal ones are put to the model once, so that it answers fewer."""
    hours: float
    """From start to end."""
    gpu_hours: float
    cpu_hours: float
    cost: float
    concurrency: int


def estimate_sweep(plan: SweepPlan, concurrency: int) -> Estimate:
    """Add up the trials' work; `concurrency` trials run at once."""
    settings = plan.settings.estimate
    plan, _ = share_raters(plan)
    works = [kind_of(trial.experiment).work(trial.experiment) for trial in plan.trials]
    raters = raters_of(plan)
    hours = _hours(works, raters, concurrency, settings)
    held = [(_busy_hours(work, raters, settings), trial) for work, trial in zip(works, plan.trials, strict=True)]
    # A rating server holds its GPUs from the sweep's start to its end.
    gpu_hours = sum(busy * _total(trial, "GPU") for busy, trial in held) + hours * _rater_gpus(raters, settings)
    cpu_hours = sum(busy * (TRIAL_CPUS + _total(trial, "CPU")) for busy, trial in held) + hours * _rater_cpus(raters)
    return Estimate(
        num_trials=len(works),
        num_cells=len(plan.cells),
        env_steps=sum(work.env_steps for work in works),
        updates=sum(work.updates for work in works),
        ratings=sum(work.ratings for work in works),
        hours=hours,
        gpu_hours=gpu_hours,
        cpu_hours=cpu_hours,
        cost=gpu_hours * settings.gpu_hour_price + cpu_hours * settings.cpu_hour_price,
        concurrency=concurrency,
    )


def local_concurrency(plan: SweepPlan) -> int:
    """Trials that the processors of this machine hold at once."""
    plan, _ = share_raters(plan)
    largest = max(TRIAL_CPUS + _total(trial, "CPU") for trial in plan.trials)
    return max(1, min(len(plan.trials), int((os.cpu_count() or 1) // largest)))


def estimate_text(plan: SweepPlan, estimate: Estimate) -> str:
    """The estimate for people."""
    settings = plan.settings.estimate
    lines = [
        f"{plan.name}: {estimate.num_trials} trials in {estimate.num_cells} cells, {estimate.concurrency} at once",
        *([f"environment steps  {estimate.env_steps:,}"] if estimate.env_steps else []),
        *([f"gradient steps     {estimate.updates:,}"] if estimate.updates else []),
        f"ratings            {estimate.ratings:,} at most; equal questions are asked once",
        f"time               about {estimate.hours:,.1f} h",
        f"GPU-hours          about {estimate.gpu_hours:,.1f}",
        f"processor-hours    about {estimate.cpu_hours:,.1f}",
        f"cost               about {estimate.cost:,.2f}",
        f"assumed: {settings.env_steps_per_s:g} env steps/s or {settings.updates_per_s:g} offline gradient steps/s a "
        f"trial, {settings.ratings_per_s:g} ratings/s a replica, "
        f"{settings.gpu_hour_price:g} a GPU-hour, {settings.cpu_hour_price:g} a processor-hour (sweep.estimate)",
    ]
    return "\n".join(lines)


def _total(trial: Trial, resource: str) -> float:
    # What the cluster has is not known yet.
    demands = on_processors(kind_of(trial.experiment).demands(trial.experiment))
    return sum(demand.count * demand.resources.get(resource, 0.0) for demand in demands)


def _hours(
    works: Sequence[Work], raters: Sequence[RaterSettings], concurrency: int, settings: EstimateSettings
) -> float:
    """The longer of two queues: trials for their places, questions for the engines."""
    trials = sum(_busy_hours(work, raters, settings) for work in works) / concurrency
    longest = max(_busy_hours(work, raters, settings) for work in works)
    questions = sum(work.ratings for work in works) / (settings.ratings_per_s * max(1, _replicas(raters))) / 3600.0
    return max(trials, longest, questions)


def _busy_hours(work: Work, raters: Sequence[RaterSettings], settings: EstimateSettings) -> float:
    """Hours of a trial that has the rating server for itself."""
    per_rater = settings.ratings_per_s * _replicas(raters) / max(1, len(raters))
    rating_s = work.ratings / per_rater if work.ratings else 0.0
    steps_s = work.env_steps / settings.env_steps_per_s + work.updates / settings.updates_per_s
    return (steps_s + rating_s) / 3600.0


def _replicas(raters: Sequence[RaterSettings]) -> int:
    return sum(rater.num_replicas for rater in raters)


def _rater_gpus(raters: Sequence[RaterSettings], settings: EstimateSettings) -> float:
    return sum(_replica_gpus(rater, settings) * rater.num_replicas for rater in raters)


def _replica_gpus(rater: RaterSettings, settings: EstimateSettings) -> float:
    if rater.endpoint is not None:
        return 0.0
    if rater.num_gpus is not None:
        return rater.num_gpus
    # The pocket raters run on a processor wherever there is no GPU.
    return 0.0 if rater.model in POCKET_PIXELS else settings.gpus_per_replica * rater.tensor_parallel_size


def _rater_cpus(raters: Sequence[RaterSettings]) -> float:
    return sum(rater.num_cpus * rater.num_replicas for rater in raters if rater.endpoint is None)
