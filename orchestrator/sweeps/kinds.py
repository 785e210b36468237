"""The one place that knows kinds of experiment: how a trial of each runs, what it takes and how it is judged.

Another kind is another class here and another line in `_KINDS`; the rest of a sweep does not look inside experiments.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.rating.settings import RaterSettings
from algorithms.feedback import FeedbackSchedule
from orchestrator.cluster.placement import Demand, demands_of
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.runs.layout import EVAL_SUCCESS, chain_metric
from orchestrator.runs.tracking import ParentRun
from orchestrator.screen.run_progress import RunProgress
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import AnyExperiment
from orchestrator.settings.preflight import check_disk, check_model, check_opengl, check_same_run, check_writable

TRIAL_CPUS = 1.0
"""Processors of a trial's own process, in which a policy without a GPU learns."""


@dataclass(frozen=True)
class Work:
    """What a trial does, at most."""

    env_steps: int = 0
    updates: int = 0
    """Gradient steps of an offline run; those of an online run go with its environment steps."""
    ratings: int = 0
    """Questions asked; those whose answers are in the store, or that another trial asks too, cost nothing."""


class TrialKind(Protocol):
    """What a sweep needs to know of a kind of experiment."""

    reuses_process: bool
    """Whether a process may run one trial after another, which saves starting it; else its end frees all it held."""

    def run(self, experiment: Any, progress: RunProgress, parent: ParentRun | None) -> None:
        """Run to the end, from the newest checkpoint in the run's folder, in this process; Ray is connected."""

    def demands(self, experiment: Any) -> list[Demand]:
        """What it asks of the cluster beside its own process."""

    def rater(self, experiment: Any) -> RaterSettings | None:
        """Who rates while it runs."""

    def length(self, experiment: Any) -> int:
        """Steps to its end, as its progress and its metrics count them."""

    def score(self, experiment: Any) -> str:
        """The metric, in [0, 1], by which trials are compared; higher is better."""

    def work(self, experiment: Any) -> Work:
        """What it does."""

    def check_same_run(self, experiment: Any) -> None:
        """Raise SettingsError if its folder holds a run with other settings."""

    def check_machine(self, experiments: Sequence[Any]) -> None:
        """Raise SettingsError, with the remedy, if this machine cannot run all of these."""


class OnlineTrials:
    """ERL-VLM: the online loop."""

    reuses_process = False

    def run(self, experiment: Experiment, progress: RunProgress, parent: ParentRun | None) -> None:
        """`likert run` without its own Ray and screen."""
        # Here, since it brings torch and RLlib, which the process that starts trials does without.
        from orchestrator.online.launch import run_on_cluster

        run_on_cluster(experiment, progress, parent)

    def demands(self, experiment: Experiment) -> list[Demand]:
        """Rollout workers, learners, and engines unless they are shared."""
        return demands_of(experiment)

    def rater(self, experiment: Experiment) -> RaterSettings:
        """Its block `rater`."""
        return experiment.rater

    def length(self, experiment: Experiment) -> int:
        """Environment steps."""
        return experiment.total_env_steps

    def score(self, experiment: Experiment) -> str:
        """Share of evaluation episodes with success."""
        return EVAL_SUCCESS

    def work(self, experiment: Experiment) -> Work:
        """Ratings by the experiment's own schedule."""
        schedule = FeedbackSchedule(experiment.feedback, experiment.total_env_steps)
        last = experiment.total_env_steps - 1
        if schedule.due(last):
            schedule.begin(last)
        return Work(env_steps=experiment.total_env_steps, ratings=schedule.num_asked)

    def check_same_run(self, experiment: Experiment) -> None:
        """As for `likert run`."""
        check_same_run(experiment)

    def check_machine(self, experiments: Sequence[Experiment]) -> None:
        """Every model, and the disk for all runs together."""
        for experiment in {experiment.rater.model_dump_json(): experiment for experiment in experiments}.values():
            if experiment.rater.endpoint is None:
                check_model(experiment)
        check_writable("runs_folder", experiments[0].runs_folder)
        check_writable("ratings_folder", experiments[0].ratings_folder)
        check_disk(*experiments)
        # With a cluster the frames are drawn on other machines, which say themselves what they lack.
        if not os.environ.get("RAY_ADDRESS"):
            check_opengl()


class OfflineTrials:
    """RG-VLM: a policy from labelled data. A trial may take no longer than its process takes to start."""

    reuses_process = True

    def run(self, experiment: OfflineExperiment, progress: RunProgress, parent: ParentRun | None) -> None:
        """`likert run` without its own Ray and screen."""
        from orchestrator.offline.launch import run_offline_on_cluster

        run_offline_on_cluster(experiment, progress, parent)

    def demands(self, experiment: OfflineExperiment) -> list[Demand]:
        """Evaluation workers, and a learner with a GPU."""
        from orchestrator.offline.launch import offline_demands

        return offline_demands(experiment)

    def rater(self, experiment: OfflineExperiment) -> None:
        """Nobody: the labels are in the data."""
        return None

    def length(self, experiment: OfflineExperiment) -> int:
        """Gradient steps."""
        return experiment.total_updates

    def score(self, experiment: OfflineExperiment) -> str:
        """Proportion of sub-tasks completed, from the last of the experiment's starts."""
        return chain_metric(experiment.evaluation.starts[-1], "proportion")

    def work(self, experiment: OfflineExperiment) -> Work:
        """Gradient steps alone; evaluation is not counted."""
        return Work(updates=experiment.total_updates)

    def check_same_run(self, experiment: OfflineExperiment) -> None:
        """As for `likert run`."""
        from orchestrator.offline.preflight import OFFLINE_CHANGEABLE

        check_same_run(experiment, OFFLINE_CHANGEABLE)

    def check_machine(self, experiments: Sequence[OfflineExperiment]) -> None:
        """Every run's data and labels."""
        from orchestrator.offline.preflight import check_offline

        for experiment in experiments:
            check_offline(experiment)


_KINDS: dict[type, TrialKind] = {Experiment: OnlineTrials(), OfflineExperiment: OfflineTrials()}


def kind_of(experiment: AnyExperiment) -> TrialKind:
    """How trials of this experiment run."""
    return _KINDS[type(experiment)]
