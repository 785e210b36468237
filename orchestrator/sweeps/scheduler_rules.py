"""Whether a sweep's scheduler fits its search, said before anything starts."""

from collections.abc import Mapping

from orchestrator.errors import SettingsError
from orchestrator.kinds import KINDS, kind_of
from orchestrator.sweeps.search import SEED, SweepPlan


def check_scheduler(plan: SweepPlan) -> list[str]:
    """Warnings about the plan's scheduler. Raises SettingsError if it cannot work with the plan's search."""
    settings = plan.settings
    if settings.scheduler == "none":
        return []
    if settings.scheduler == "pbt":
        _check_population(plan)
    if SEED in plan.search:
        return [
            f"sweep.scheduler is {settings.scheduler} and seeds are searched: trials that are slow at first are "
            + ("stopped" if settings.scheduler == "asha" else "replaced")
            + ", so what is left of a cell's seeds is its luckier ones. The summary over seeds will be too good. For a "
            "study use sweep.scheduler=none"
        ]
    return []


def _check_population(plan: SweepPlan) -> None:
    drawn = {name: entry for name, entry in plan.search.items() if entry.drawn}
    if not drawn:
        raise SettingsError(
            "sweep.scheduler = 'pbt': nothing in `search` is drawn, so there is nothing to change; give a field "
            "choice, uniform, loguniform or integers, or use scheduler none or asha"
        )
    kinds = [kind_of(trial.experiment) for trial in plan.trials]
    if not all(kind.taken_over for kind in kinds):
        names = " and ".join(name for name, kind in KINDS.items() if kind.taken_over)
        raise SettingsError(
            f"sweep.scheduler = 'pbt': only {names} experiments can take over one another; use none or asha"
        )
    free = [field for field in kinds[0].taken_over if all(field in kind.taken_over for kind in kinds)]
    for name, entry in drawn.items():
        options = entry.choice if isinstance(entry.choice, Mapping) else {}
        fields = [field for option in options.values() for field in option] or [name]
        fixed = [field for field in fields if field not in free]
        if fixed:
            raise SettingsError(
                f"sweep.scheduler = 'pbt': {fixed[0]} cannot change when a trial takes over another one's checkpoint; "
                f"give it a grid, or draw one of {', '.join(free)}"
            )
    interval = plan.settings.pbt.interval_env_steps
    for kind, trial in zip(kinds, plan.trials, strict=True):
        for setting, own in kind.intervals(trial.experiment).items():
            if own > interval:
                raise SettingsError(
                    f"sweep.pbt.interval_env_steps {interval} is below {setting} {own}: there would "
                    "be nothing new to compare or to take over; raise the first or lower the second"
                )
