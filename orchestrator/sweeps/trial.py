"""One trial, inside the process that Ray Tune starts for it."""

import gc
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune

from orchestrator.errors import SettingsError
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.home import RunHome
from orchestrator.runs.kind import Kind
from orchestrator.runs.layout import CHECKPOINTS_FOLDER
from orchestrator.runs.tracking import ParentRun
from orchestrator.screen.run_progress import RunProgress
from orchestrator.storage.locations import RemotePath, parse_location
from orchestrator.storage.writing import FolderLock, write_json
from orchestrator.sweeps.search import SweepPlan, Trial, with_values
from orchestrator.sweeps.trial_folder import read_record, write_record

REPORT_S = 2.0
"""Numbers that merely grow are reported this often; a new success rate at once."""
POINTER_S = 30.0
"""The same, where each report leaves a file behind."""
LOCK_S = 120.0
"""Time that an earlier process of the same trial may take to end."""

_POINTER_FILE = "takes_over.json"

Report = Callable[[dict[str, Any]], None]


def run_trial(
    config: Mapping[str, Any], plan: SweepPlan, parent: ParentRun | None, kinds: Mapping[str, Kind]
) -> dict[str, Any]:
    """Run a trial to its end, from its newest checkpoint; what Ray Tune calls.

    Tune's name for it says which, since `config["start"]` becomes that of another one when this one takes over its
    values. Only the folder of the trial says where it stands, so that it makes no difference who died and who starts
    it again. `kinds` has the kind of each trial by name.
    """
    # A process may have run another trial before, whose networks hold each other; Python alone frees them late.
    gc.collect()
    start = config["start"]
    trial = plan.trial(tune.get_context().get_trial_name())
    kind = kinds[trial.name]
    folder = trial.experiment.run_folder
    with _locked(folder):
        if start["values"] != dict(trial.values):
            trial = with_values(plan, trial, start["values"])
            write_record(folder, replace(read_record(folder), values=trial.values))
        _take_over(trial, tune.get_checkpoint())
        progress = TrialProgress(trial.name, kind.length(trial.experiment))
        with progress.reported(*_reporter(plan, trial)):
            kind.run(trial.experiment, progress, parent)
        write_record(folder, replace(read_record(folder), outcome="finished", asked_model=progress.asked_model))
    return progress.metrics()


class TrialProgress(RunProgress):
    """A trial's progress, shown by the process that started it.

    A thread reports it, since Tune takes its time over each report, and updates come from several threads.
    """

    def __init__(self, title: str, length: int) -> None:
        super().__init__(title, length, enabled=False)
        self._news = threading.Event()
        self._over = False
        self._judged: dict[str, Any] = {}

    @property
    def asked_model(self) -> int:
        """Questions put to the model so far."""
        return max(0, self._state.answered + self._state.failed - self._state.from_store - self._state.shared)

    def metrics(self) -> dict[str, Any]:
        """What the table shows and schedulers compare; without a success rate before the first evaluation. Where
        success is unknown, the return stands for it, and as `env_return` beside it.

        `judged_at` is the step of that evaluation: by now the trial may be further.
        """
        state = self._state
        metrics = {
            "env_steps": state.env_steps,
            "phase": state.phase,
            "asked": state.asked,
            "shared": state.from_store + state.shared,
            "asked_model": self.asked_model,
        }
        return metrics | self._judged

    def update(self, **changes: Any) -> None:
        """As `RunProgress.update`."""
        super().update(**changes)
        told = changes.keys() & {"success", "env_return"}
        if told:
            # Trials are compared by one metric, whichever of the two their world tells.
            known = {name: getattr(self._state, name) for name in told}
            score = known.get("success", self._state.env_return)
            self._judged = known | {"success": score, "judged_at": self._state.env_steps}
            self._news.set()

    @contextmanager
    def reported(self, report: Report, interval_s: float) -> Iterator[None]:
        """Report what changes, meanwhile; evaluations at once."""
        thread = threading.Thread(target=self._keep_reporting, args=(report, interval_s), name="report", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over = True
            self._news.set()
            thread.join()

    def _keep_reporting(self, report: Report, interval_s: float) -> None:
        reported: dict[str, Any] = {}
        while not self._over:
            metrics = self.metrics()
            if metrics != reported:
                report(metrics)
                reported = metrics
            self._news.wait(interval_s)
            self._news.clear()


def _reporter(plan: SweepPlan, trial: Trial) -> tuple[Report, float]:
    """How a trial reports, and the seconds between two reports.

    What population-based training takes over is a pointer: checkpoints stay where they are. It wants one with every
    report and none may go while a trial waits to start from it, so they are all kept, and made less often.
    """
    if plan.settings.scheduler != "pbt":
        return tune.report, REPORT_S

    def report(metrics: dict[str, Any]) -> None:
        with TemporaryDirectory() as folder:
            write_json(Path(folder) / _POINTER_FILE, {"run_folder": str(trial.experiment.run_folder)})
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))

    return report, POINTER_S


def _take_over(trial: Trial, pointer: tune.Checkpoint | None) -> None:
    """Go on from another trial's newest checkpoint, if that is what Tune gave this one."""
    if pointer is None:
        return
    with pointer.as_directory() as folder:
        other = parse_location(json.loads((Path(folder) / _POINTER_FILE).read_text())["run_folder"])
    if other != trial.experiment.run_folder:
        home = RunHome(trial.experiment.run_folder)
        own = Checkpoints(home.folder / CHECKPOINTS_FOLDER, trial.experiment.checkpoint.keep, home)
        own.take_over(other / CHECKPOINTS_FOLDER)


@contextmanager
def _locked(folder: Path | RemotePath) -> Iterator[None]:
    """Keep others out of the trial's folder; wait for a process of the same trial that is just being ended."""
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            lock = FolderLock(folder)
            break
        except SettingsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
    with lock:
        yield
