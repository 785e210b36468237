"""`likert sweep`: everything is checked before anything starts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.kinds import kind_of
from orchestrator.sweeps.estimate import estimate_sweep, estimate_text, local_concurrency
from orchestrator.sweeps.scheduler_rules import check_scheduler
from orchestrator.sweeps.search import SweepPlan, load_sweep
from orchestrator.sweeps.sweep_folder import SweepFolder


def sweep(file: Path, overrides: Sequence[str], resume: bool, dry_run: bool) -> None:
    """Run the sweep in `file`, or say what it would do. Raises SettingsError, TrialsFailed."""
    plan = load_sweep(file, overrides)
    warnings = check_scheduler(plan)
    if dry_run:
        print(estimate_text(plan, estimate_sweep(plan, plan.settings.concurrency or local_concurrency(plan))))
        for warning in warnings:
            print(f"warning: {warning}")
        return
    plan = settled(plan)
    check_sweep(plan)
    SweepFolder(plan).check(resume)
    from orchestrator.sweeps.driver import run_sweep

    run_sweep(plan, resume)


def settled(plan: SweepPlan) -> SweepPlan:
    """The plan with what others decide of its trials' settings. Raises SettingsError if they do not agree."""
    trials = [replace(one, experiment=kind_of(one.experiment).settled(one.experiment)) for one in plan.trials]
    return replace(plan, trials=trials)


def check_sweep(plan: SweepPlan) -> None:
    """Raise SettingsError, with the remedy, if this machine cannot run some trial of the sweep."""
    experiments = [trial.experiment for trial in plan.trials]
    for kind in {kind_of(experiment) for experiment in experiments}:
        kind.check_machine([experiment for experiment in experiments if kind_of(experiment) is kind])
