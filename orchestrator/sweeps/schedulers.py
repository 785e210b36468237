"""Ray Tune's schedulers, as a sweep's settings name them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler

from orchestrator.kinds import kind_of
from orchestrator.sweeps.search import SweepPlan
from orchestrator.sweeps.settings import SearchEntry

TIME = "judged_at"
METRIC = "success"
History = Sequence[tuple[int, float]]
"""(environment steps, success) at a trial's evaluations."""


def make_scheduler(plan: SweepPlan, history_of: Callable[[str], History]) -> TrialScheduler:
    """The scheduler of a launch; `history_of` gives what a trial, by name, has reached in earlier launches."""
    settings = plan.settings
    if settings.scheduler == "asha":
        longest = max(kind_of(trial.experiment).length(trial.experiment) for trial in plan.trials)
        return ResumedAsha(
            history_of,
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            max_t=longest,
            grace_period=settings.asha.grace_env_steps,
            reduction_factor=settings.asha.reduction_factor,
            # A trial that has come so far stops by itself, and does so with a last checkpoint.
            stop_last_trials=False,
        )
    if settings.scheduler == "pbt":
        values = {name: _mutation(entry) for name, entry in plan.search.items() if entry.drawn}
        return PopulationBasedTraining(
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            perturbation_interval=settings.pbt.interval_env_steps,
            hyperparam_mutations={"start": {"values": values}},
            custom_explore_fn=partial(_within_bounds, dict(plan.search)),
            quantile_fraction=settings.pbt.quantile,
            resample_probability=settings.pbt.resample_probability,
            # Trials report before their first evaluation, and then have no success rate yet.
            require_attrs=False,
            log_config=False,
        )
    return FIFOScheduler()


class ResumedAsha(ASHAScheduler):
    """Successive halving that knows what trials reached before the sweep was stopped.

    Tune's own way to resume is not used: what a trial has reached stands in its folder.
    """

    def __init__(self, history_of: Callable[[str], History], **options: Any) -> None:
        super().__init__(**options)
        self._history_of = history_of

    def recall(self, name: str) -> None:
        """Count a trial that is done, and will not be added."""
        self._recall(name, name)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """As Tune's; the trial's earlier evaluations count under its new id."""
        super().on_trial_add(tune_controller, trial)
        self._recall(trial.custom_trial_name, trial.trial_id)

    def _recall(self, name: str, trial_id: str) -> None:
        bracket = self._brackets[0]
        for env_steps, success in self._history_of(name):
            bracket.on_result(SimpleNamespace(trial_id=trial_id), env_steps, success)


def _within_bounds(search: Mapping[str, SearchEntry], config: dict[str, Any]) -> dict[str, Any]:
    """Tune multiplies values without regard to where they come from; here they go back into their range."""
    values = config["start"]["values"]
    for name, entry in search.items():
        if bounds := entry.uniform or entry.loguniform or entry.integers:
            low, high = bounds
            values[name] = min(max(values[name], low), high)
    return config


def _mutation(entry: SearchEntry) -> Any:
    if entry.choice is not None:
        return list(entry.choice)
    if entry.uniform is not None:
        return tune.uniform(*entry.uniform)
    if entry.loguniform is not None:
        return tune.loguniform(*entry.loguniform)
    low, high = entry.integers
    return tune.randint(low, high + 1)
