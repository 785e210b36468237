"""Running a sweep: Ray Tune starts trials, this process watches them, and their folders say where they stand.

Tune's own state is not what a sweep resumes from: it would fix the number of trials at once and pickle what draws on
the screen. Each launch gives Tune the trials that are not done; each trial goes on from its own checkpoint.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from orchestrator.cluster.actors import connect
from orchestrator.cluster.address import ray_address
from orchestrator.cluster.gpus import gpus_by_kind, settled
from orchestrator.cluster.placement import Demand, bundles_of, most_that_fit, raters_demand, settle
from orchestrator.errors import TrialsFailed
from orchestrator.kinds import kind_of
from orchestrator.runs.kind import Kind
from orchestrator.runs.layout import EVAL_RETURN
from orchestrator.runs.tracking import Status
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import FolderLock
from orchestrator.sweeps.estimate import TRIAL_CPUS, local_concurrency
from orchestrator.sweeps.raters import raters_of, share_raters, start_raters, stop_raters
from orchestrator.sweeps.scheduler_rules import check_scheduler
from orchestrator.sweeps.schedulers import ResumedAsha, make_scheduler
from orchestrator.sweeps.search import SweepPlan, Trial
from orchestrator.sweeps.summary import score_name, write_summary
from orchestrator.sweeps.sweep_folder import SweepFolder
from orchestrator.sweeps.table import SweepTable, TrialState
from orchestrator.sweeps.tracking import SweepRun, open_sweep_run
from orchestrator.sweeps.trial import run_trial
from orchestrator.sweeps.watcher import BudgetReached, Watcher

TUNE_FOLDER = "tune"
"""Ray Tune's own files, in the sweep's folder, which all nodes see: errors, and pointers to checkpoints."""
_TUNE_ENVIRONMENT = {
    # Metrics go to files and to MLflow of ours.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # There is no success rate before the first evaluation.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Ctrl-C means to us what it means everywhere.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run_sweep(
    plan: SweepPlan,
    resume: bool = False,
    kind: Kind | None = None,
    server_class: type[RatingServer] = RatingServer,
) -> None:
    """Run a sweep to its end, or go on with one, and write its summary.

    Raises SettingsError before anything starts if something does not fit, and TrialsFailed at the end if trials did
    not come to theirs. `kind` and `server_class` replace how trials run and who rates.
    """
    folder = SweepFolder(plan)
    folder.check(resume)
    with FolderLock(plan.folder):
        folder.check(resume)
        plan, own_raters = share_raters(replace(plan, trials=folder.trials()))
        folder.write_plan()
        states = {trial.name: _state_of(folder, trial) for trial in plan.trials}
        table = SweepTable(plan.name, states, score=score_name(plan))
        with table:
            for warning in check_scheduler(plan):
                table.note(f"warning: {warning}")
            sweep = _Sweep(plan, folder, table, kind, server_class)
            sweep.run(own_raters)


class _Sweep:
    """One launch."""

    def __init__(
        self,
        plan: SweepPlan,
        folder: SweepFolder,
        table: SweepTable,
        kind: Kind | None,
        server_class: type[RatingServer],
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._table = table
        self._kind = kind
        self._server_class = server_class
        self._waiting = [trial for trial in plan.trials if not folder.record(trial).is_done]
        self._watcher = Watcher(plan, folder, table)
        self._gpus: Mapping[str, float] = {}
        """What one of each kind of a trial's actors takes of a GPU, where the settings leave it to the cluster."""
        self._raters: Sequence[RaterSettings] = ()
        """The rating servers, with GPUs in numbers."""

    def run(self, own_raters: list[Any]) -> None:
        """From connecting to Ray to the summary."""
        tracked: SweepRun | None = None
        status: Status = "KILLED"
        try:
            tracked = open_sweep_run(self._plan)
            if self._waiting:
                self._run_trials(tracked, own_raters)
            failed = self._watcher.failures
            status = "FAILED" if failed else "FINISHED"
        except BudgetReached as reached:
            self._table.note(f"{reached}; --resume goes on once the budget in the settings is larger")
        except KeyboardInterrupt:
            self._table.note("stopped; the same command with --resume goes on")
            raise
        except BaseException:
            status = "FAILED"
            raise
        finally:
            self._folder.keep_elapsed(self._watcher.elapsed_s)
            self._conclude(tracked, status)
        if self._watcher.failures:
            raise TrialsFailed(_failure_message(self._watcher.failures, len(self._plan.trials)))

    def _run_trials(self, tracked: SweepRun | None, own_raters: list[Any]) -> None:
        concurrency = self._connect()
        try:
            start_raters(self._raters, self._server_class)
            self._table.note(f"{len(self._waiting)} of {len(self._plan.trials)} trials to run, {concurrency} at once")
            self._tuner(tracked, concurrency).fit()
        finally:
            if ray.is_initialized():
                stop_raters(own_raters)
                ray.shutdown()

    def _connect(self) -> int:
        """Join or start Ray, settle who gets what of its GPUs, and return how many trials it is to run at once."""
        raters, asked = raters_of(self._plan), self._plan.settings.concurrency
        servers = [raters_demand(rater) for rater in raters]
        trial = max((self._demands(trial) for trial in self._waiting), key=_cpus)
        most = min(asked or len(self._waiting), len(self._waiting))
        own_ray = not (ray.is_initialized() or ray_address())
        if own_ray and asked is None:
            most = min(most, local_concurrency(self._plan))
        needed = [*servers, *_times(most if asked else 1, trial)]
        connect([*servers, *_times(most, trial)], needed)
        found = settle(needed)
        servers, trial = found[: len(servers)], found[len(servers) :]
        if asked is None:
            # What one trial needs is there: that was checked. Others wait for their turn, or for its share of a GPU.
            most = max(1, most_that_fit(lambda number: [*servers, *_times(number, trial)], most))
        self._gpus = gpus_by_kind(trial)
        self._raters = [
            rater if rater.num_gpus is not None else rater.model_copy(update={"num_gpus": server.num_gpus})
            for rater, server in zip(raters, servers, strict=True)
        ]
        return most

    def _demands(self, trial: Trial) -> list[Demand]:
        demands = self._kind_of(trial).demands(trial.experiment)
        return [Demand("trial", 1, {"CPU": TRIAL_CPUS}, "sweep.concurrency"), *demands]

    def _kind_of(self, trial: Trial) -> Kind:
        return self._kind or kind_of(trial.experiment)

    def _tuner(self, tracked: SweepRun | None, concurrency: int) -> tune.Tuner:
        os.environ.update(_TUNE_ENVIRONMENT)
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(concurrency)
        storage = self._folder.path / TUNE_FOLDER
        if isinstance(storage, RemotePath):
            storage.remove_tree()
        else:
            shutil.rmtree(storage, ignore_errors=True)
        parent = tracked.parent if tracked else None
        # Tune pickles what it is given: plain data, and nothing of this launch.
        bundles = {trial.name: self._bundles(trial) for trial in self._waiting}
        kinds = {trial.name: self._kind_of(trial) for trial in self._waiting}
        trainable = tune.with_resources(
            tune.with_parameters(run_trial, plan=self._plan, parent=parent, kinds=kinds),
            lambda config: bundles[config["start"]["trial"]],
        )
        starts = [{"trial": trial.name, "values": dict(trial.values)} for trial in self._waiting]
        return tune.Tuner(
            trainable,
            param_space={"start": tune.grid_search(starts)},
            tune_config=tune.TuneConfig(
                scheduler=self._scheduler(),
                max_concurrent_trials=concurrency,
                reuse_actors=self._reuses_processes(),
                trial_name_creator=_name_of,
                trial_dirname_creator=_name_of,
            ),
            run_config=tune.RunConfig(
                name="launch",
                storage_path=str(storage),
                failure_config=tune.FailureConfig(max_failures=self._plan.settings.max_failures),
                callbacks=[self._watcher],
                verbose=0,
            ),
        )

    def _reuses_processes(self) -> bool:
        # The other schedulers stop trials in mid-work, whose processes are not free at once.
        return self._plan.settings.scheduler == "none" and all(
            self._kind_of(trial).reuses_process for trial in self._waiting
        )

    def _scheduler(self) -> Any:
        scheduler = make_scheduler(self._plan, self._folder.history)
        if isinstance(scheduler, ResumedAsha):
            for trial in self._plan.trials:
                if self._folder.record(trial).is_done:
                    scheduler.recall(trial.name)
        return scheduler

    def _bundles(self, trial: Trial) -> tune.PlacementGroupFactory:
        """Places for a trial's own process and for its actors."""
        demands = self._kind_of(trial).demands(trial.experiment)
        demands = settled(demands, lambda demand: self._gpus.get(demand.kind, 0.0))
        return tune.PlacementGroupFactory(bundles_of({"CPU": TRIAL_CPUS}, demands))

    def _conclude(self, tracked: SweepRun | None, status: Status) -> None:
        """Summary and MLflow, whatever happened."""
        metrics = write_summary(self._plan, self._folder, self._table.note)
        if tracked is not None:
            tracked.finish(status, self._statuses(), metrics, self._folder.local)

    def _statuses(self) -> dict[str, Status]:
        outcomes = {trial.name: self._folder.record(trial).outcome for trial in self._plan.trials}
        return {
            name: "FINISHED" if outcome == "finished" else "FAILED" if name in self._watcher.failures else "KILLED"
            for name, outcome in outcomes.items()
        }


def _state_of(folder: SweepFolder, trial: Trial) -> TrialState:
    record = folder.record(trial)
    history = folder.history(trial.name)
    kind = kind_of(trial.experiment)
    length = kind.length(trial.experiment)
    score = "env_return" if kind.score(trial.experiment) == EVAL_RETURN else "success"
    return TrialState(
        total_env_steps=length,
        status=record.outcome if record.is_done else "waiting",
        env_steps=length if record.outcome == "finished" else 0,
        **({score: history[-1][1]} if history else {}),
        asked_model=record.asked_model,
    )


def _name_of(trial: Any) -> str:
    return trial.config["start"]["trial"]


def _cpus(demands: Sequence[Demand]) -> tuple[float, float]:
    def total(name: str) -> float:
        return sum(demand.count * demand.resources.get(name, 0.0) for demand in demands)

    return total("GPU"), total("CPU")


def _times(number: int, demands: Sequence[Demand]) -> list[Demand]:
    return [replace(demand, count=number * demand.count) for demand in demands]


def _failure_message(failures: dict[str, str], num_trials: int) -> str:
    lines = "\n".join(f"  {name}: {reason}" for name, reason in list(failures.items())[:5])
    return (
        f"{len(failures)} of {num_trials} trials failed:\n{lines}\n"
        "Mend what they name; the same command with --resume goes on with them from their last checkpoints"
    )
