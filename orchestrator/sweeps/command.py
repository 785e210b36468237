"""`likert sweep`: everything is checked before anything starts."""

import os
from collections.abc import Sequence
from pathlib import Path

import typer

from orchestrator.preflight import check_disk, check_model, check_opengl, check_writable
from orchestrator.sweeps.estimate import estimate_sweep, estimate_text, local_concurrency
from orchestrator.sweeps.scheduler_rules import check_scheduler
from orchestrator.sweeps.search import SweepPlan, load_sweep
from orchestrator.sweeps.sweep_folder import SweepFolder


def sweep(file: Path, overrides: Sequence[str], resume: bool, dry_run: bool) -> None:
    """Run the sweep in `file`, or say what it would do. Raises SettingsError, TrialsFailed."""
    plan = load_sweep(file, overrides)
    warnings = check_scheduler(plan)
    if dry_run:
        typer.echo(estimate_text(plan, estimate_sweep(plan, plan.settings.concurrency or local_concurrency(plan))))
        for warning in warnings:
            typer.echo(f"warning: {warning}")
        return
    check_sweep(plan)
    SweepFolder(plan).check(resume)
    from orchestrator.sweeps.driver import run_sweep

    run_sweep(plan, resume)


def check_sweep(plan: SweepPlan) -> None:
    """Raise SettingsError, with the remedy, if this machine cannot run some trial of the sweep."""
    experiments = [trial.experiment for trial in plan.trials]
    for experiment in {experiment.rater.model_dump_json(): experiment for experiment in experiments}.values():
        if experiment.rater.endpoint is None:
            check_model(experiment)
    check_writable("runs_folder", plan.folder)
    check_writable("ratings_folder", experiments[0].ratings_folder)
    check_disk(*experiments)
    if not os.environ.get("RAY_ADDRESS"):
        check_opengl()
