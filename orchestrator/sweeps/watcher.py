"""What Ray Tune tells of its trials, turned into the table, the trials' records, and the end of a budget."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.sweeps.search import SweepPlan
from orchestrator.sweeps.sweep_folder import SweepFolder
from orchestrator.sweeps.table import SweepTable
from orchestrator.sweeps.trial_folder import write_record

KEEP_ELAPSED_S = 30.0
"""A driver that is killed forgets at most so much of the time it has used."""
LONGEST_REASON = 400
"""Characters of an error shown for a trial."""


class BudgetReached(BaseException):
    """A budget is used up. Not an Exception, so that it passes through Tune as Ctrl-C does: trials can go on later."""


class Watcher(tune.Callback):
    """Watches one launch."""

    def __init__(self, plan: SweepPlan, folder: SweepFolder, table: SweepTable) -> None:
        self._plan = plan
        self._folder = folder
        self._table = table
        self._began = time.monotonic()
        self._before_s = folder.elapsed_s()
        self._kept_at = self._began
        self.failures: dict[str, str] = {}
        """Why trials have failed for good in this launch, by name."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles callbacks into its own state, which nothing of ours reads.
        return {}

    @property
    def elapsed_s(self) -> float:
        """Time of all launches so far."""
        return self._before_s + time.monotonic() - self._began

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A process was asked for."""
        self._table.update(_name(trial), status="running", phase="starting")

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Show where it stands."""
        score = "env_return" if "env_return" in result else "success"
        shown = ("phase", "env_steps", score, "asked", "shared", "asked_model")
        self._table.update(_name(trial), status="running", **{name: result[name] for name in shown if name in result})

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """It failed, and is started again."""
        self._table.update(_name(trial), status="waiting", phase="")
        self._table.note(f"{_name(trial)} failed and is started again: {_reason(trial)}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """It failed once too often."""
        self.failures[_name(trial)] = _reason(trial)
        self._table.update(_name(trial), status="failed", phase="")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """It is done: it says so itself, or else the scheduler has stopped it."""
        planned = self._plan.trial(_name(trial))
        record = self._folder.record(planned)
        if not record.is_done:
            asked = self._table.states[planned.name].asked_model
            record = replace(record, outcome="stopped", asked_model=asked)
            write_record(planned.experiment.run_folder, record)
        self._table.update(planned.name, status=record.outcome, phase="")

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Stop when a budget is used up. Raises BudgetReached."""
        now = time.monotonic()
        if now - self._kept_at > KEEP_ELAPSED_S:
            self._kept_at = now
            self._folder.keep_elapsed(self.elapsed_s)
        budget = self._plan.settings.budget
        asked = sum(state.asked_model for state in self._table.states.values())
        finished = self._table.count("finished") + self._table.count("stopped")
        if finished == len(self._plan.trials):
            return
        if budget.hours is not None and self.elapsed_s >= 3600.0 * budget.hours:
            raise BudgetReached(f"sweep.budget.hours = {budget.hours:g} is used up")
        if budget.ratings is not None and asked >= budget.ratings:
            raise BudgetReached(f"sweep.budget.ratings = {budget.ratings:,} is used up: the model was asked {asked:,}")
        if budget.trials is not None and finished >= budget.trials:
            raise BudgetReached(f"sweep.budget.trials = {budget.trials} is used up")


def _name(trial: Any) -> str:
    return trial.custom_trial_name


def _reason(trial: Any) -> str:
    """The last line of what Tune has written of a trial's failure."""
    path = trial.error_file
    lines = Path(path).read_text(errors="replace").strip().splitlines() if path and Path(path).exists() else []
    text = next((line.strip() for line in reversed(lines) if line.strip()), "no reason is known")
    return text[:LONGEST_REASON]
