"""Whether a sweep's scheduler fits its search, said before anything starts."""

from collections.abc import Mapping

from orchestrator.errors import SettingsError
from orchestrator.settings.experiment import Experiment
from orchestrator.sweeps.search import SEED, SweepPlan

CHANGEABLE = tuple(
    f"policy.{name}"
    for name in (
        "actor_learning_rate", "critic_learning_rate", "temperature_learning_rate", "discount", "tau", "batch_size",
        "target_update_interval", "updates_per_agent_step",
    )
) + tuple(
    f"reward_model.{name}"
    for name in (
        "loss", "label_smoothing", "sharpness", "class_weights", "stratified", "learning_rate", "batch_size",
        "max_epochs", "min_epochs", "target_accuracy",
    )
)  # fmt: skip
"""Fields that a trial can change when it goes on from a checkpoint; others shape networks or data."""


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
    for name, entry in drawn.items():
        options = entry.choice if isinstance(entry.choice, Mapping) else {}
        fields = [field for option in options.values() for field in option] or [name]
        fixed = [field for field in fields if field not in CHANGEABLE]
        if fixed:
            raise SettingsError(
                f"sweep.scheduler = 'pbt': {fixed[0]} cannot change when a trial takes over another one's checkpoint; "
                f"give it a grid, or draw one of {', '.join(CHANGEABLE)}"
            )
    if not all(isinstance(trial.experiment, Experiment) for trial in plan.trials):
        raise SettingsError(
            "sweep.scheduler = 'pbt': only online experiments can take over one another; use none or asha"
        )
    interval = plan.settings.pbt.interval_env_steps
    for trial in plan.trials:
        for block in ("checkpoint", "evaluation"):
            own = getattr(trial.experiment, block).interval_env_steps
            if own > interval:
                raise SettingsError(
                    f"sweep.pbt.interval_env_steps {interval} is below {block}.interval_env_steps {own}: there would "
                    "be nothing new to compare or to take over; raise the first or lower the second"
                )
