"""The sweep's own run at MLflow, with its trials' runs below it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.runs.tracking import (
    PARENT,
    ParentRun,
    Status,
    find_or_make_run,
    log_metrics,
    log_settings,
    mlflow_uri,
    open_experiment,
    public,
    unusable,
)
from orchestrator.sweeps.search import SweepPlan
from orchestrator.sweeps.sweep_folder import SWEEP_FILE

log = logging.getLogger(__name__)


class SweepRun:
    """The parent. Whatever MLflow does once the sweep has begun, the sweep goes on."""

    def __init__(self, client: Any, parent: ParentRun) -> None:
        self._client = client
        self.parent = parent

    def finish(self, status: Status, trials: Mapping[str, Status], metrics: Mapping[str, float], folder: Path) -> None:
        """Close the sweep's run and those of its trials that are still open, each with the status that fits.

        `trials` is by name; `metrics` and the files right in `folder` are the sweep's results.
        """
        try:
            self._close_trials(trials)
            log_metrics(self._client, self.parent.run_id, metrics)
            for path in sorted(folder.glob("summary*")):
                self._client.log_artifact(self.parent.run_id, str(path))
            self._client.set_terminated(self.parent.run_id, status)
        except Exception as error:  # noqa: BLE001 - tracking must not turn a finished sweep into a failed one.
            log.warning("MLflow failed (%s); the sweep's results are in %s", public(str(error)), folder)

    def _close_trials(self, trials: Mapping[str, Status]) -> None:
        """A trial whose process was killed could not close its run itself."""
        found = self._client.search_runs(
            [self.parent.experiment_id], f"tags.`{PARENT}` = '{self.parent.run_id}'", max_results=1000
        )
        for run in found:
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, trials.get(run.info.run_name, "KILLED"))


def open_sweep_run(plan: SweepPlan) -> SweepRun | None:
    """Find the sweep's run at MLflow, or make it; None if tracking is off. Raises SettingsError."""
    first = plan.trials[0].experiment
    if not first.tracking.enabled:
        return None
    # Beside other runs, and not in the sweep's folder, so that one MLflow shows all.
    uri = mlflow_uri(plan.folder.parent)
    try:
        client, experiment_id = open_experiment(uri, first.model_copy(update={"runs_folder": plan.folder.parent}))
        run = find_or_make_run(client, experiment_id, plan.folder, public(uri))
        settings = {
            "sweep": plan.settings.model_dump(mode="json"),
            "search": {name: entry.model_dump(mode="json", exclude_unset=True) for name, entry in plan.search.items()},
            "num_trials": len(plan.trials),
        }
        log_settings(client, run, settings, (plan.folder / SWEEP_FILE).read_text())
    except Exception as error:  # noqa: BLE001 - whatever a server lacks, the remedy is the user's.
        raise unusable(uri, error) from None
    return SweepRun(client, ParentRun(run.info.run_id, experiment_id, uri))
