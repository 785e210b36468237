"""The rating servers of a sweep: one for all trials that ask the same model in the same way."""

from collections.abc import Sequence
from dataclasses import replace

from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from orchestrator.kinds import kind_of
from orchestrator.ratings import shared_server
from orchestrator.sweeps.search import SweepPlan, Trial


def share_raters(plan: SweepPlan) -> tuple[SweepPlan, list[RaterSettings]]:
    """The plan with a name in every trial's `rater.server`, and the servers that the sweep starts and ends itself.

    A name that the settings give stands: such a server is found or started too, and stays when the sweep ends.
    """
    own: list[RaterSettings] = []

    def shared(trial: Trial) -> Trial:
        rater = kind_of(trial.experiment).rater(trial.experiment)
        if rater is None or rater.server is not None:
            return trial
        known = next((server for server in own if not server.other_answers(rater)), None)
        if known is None:
            name = plan.name if not own else f"{plan.name}-{len(own) + 1}"
            known = rater.model_copy(update={"server": name})
            own.append(known)
        named = rater.model_copy(update={"server": known.server})
        return replace(trial, experiment=trial.experiment.model_copy(update={"rater": named}))

    trials = [shared(trial) for trial in plan.trials]
    return replace(plan, trials=trials), own


def raters_of(plan: SweepPlan) -> list[RaterSettings]:
    """A rater for each name among the trials'; none where nobody rates."""
    raters = [kind_of(trial.experiment).rater(trial.experiment) for trial in plan.trials]
    return list({rater.server: rater for rater in raters if rater is not None}.values())


def start_raters(raters: Sequence[RaterSettings], server_class: type[RatingServer]) -> None:
    """Let every server load its model, if it is not there already. Raises SettingsError if one has no place."""
    for rater in raters:
        shared_server.find_or_start(rater, server_class)


def stop_raters(raters: list[RaterSettings]) -> None:
    """End these servers; one that is gone already is none."""
    there = shared_server.list_servers()
    for rater in raters:
        if rater.server in there:
            shared_server.stop(rater.server)
