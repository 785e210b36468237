"""The one place that knows kinds of experiment: how a trial of each runs, what it takes and what it costs.

Another kind is another class here and another line in `_KINDS`; the rest of a sweep does not look inside experiments.
"""

from dataclasses import dataclass
from typing import Protocol

from algorithms.feedback import FeedbackSchedule
from orchestrator.placement import Demand, demands_of
from orchestrator.progress import RunProgress
from orchestrator.settings import Experiment
from orchestrator.tracking import ParentRun


@dataclass(frozen=True)
class Work:
    """What a trial does, at most."""

    env_steps: int
    ratings: int
    """Questions asked; those whose answers are in the store, or that another trial asks too, cost nothing."""
    num_cpus: float
    """Processors it takes, its own process included and the rating server not."""
    num_gpus: float


class TrialKind(Protocol):
    """What a sweep needs to know of a kind of experiment."""

    def run(self, experiment: Experiment, progress: RunProgress, parent: ParentRun | None) -> None:
        """Run to the end, from the newest checkpoint in the run's folder, in this process; Ray is connected."""

    def demands(self, experiment: Experiment) -> list[Demand]:
        """What it asks of the cluster beside its own process."""

    def work(self, experiment: Experiment) -> Work:
        """What it does."""


class OnlineTrials:
    """ERL-VLM: the online loop."""

    def run(self, experiment: Experiment, progress: RunProgress, parent: ParentRun | None) -> None:
        """`likert run` without its own Ray and screen."""
        # Here, since it brings torch and RLlib, which the process that starts trials does without.
        from orchestrator.launch import run_on_cluster

        run_on_cluster(experiment, progress, parent)

    def demands(self, experiment: Experiment) -> list[Demand]:
        """Rollout workers, learners, and engines unless they are shared."""
        return demands_of(experiment)

    def work(self, experiment: Experiment) -> Work:
        """Ratings by the experiment's own schedule."""
        schedule = FeedbackSchedule(experiment.feedback, experiment.total_env_steps)
        last = experiment.total_env_steps - 1
        if schedule.due(last):
            schedule.begin(last)
        demands = self.demands(experiment)

        def total(name: str) -> float:
            return sum(demand.count * demand.resources.get(name, 0.0) for demand in demands)

        return Work(experiment.total_env_steps, schedule.num_asked, TRIAL_CPUS + total("CPU"), total("GPU"))


TRIAL_CPUS = 1.0
"""Processors of a trial's own process, in which a policy without a GPU learns."""

_KINDS: dict[type, TrialKind] = {Experiment: OnlineTrials()}


def kind_of(experiment: Experiment) -> TrialKind:
    """How trials of this experiment run."""
    return _KINDS[type(experiment)]
