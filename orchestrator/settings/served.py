"""A rater at a `likert serve`: what of its settings the server decides."""

from actors.rating.endpoint.served import look
from actors.rating.models import rater_identity
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity
from orchestrator.errors import SettingsError


def as_served(rater: RaterSettings) -> RaterSettings:
    """The settings, completed by the likert server that `rater.endpoint` names; unchanged for any other rater.

    Raises SettingsError, naming both, for what they ask otherwise than it serves.
    """
    found = None if rater.endpoint is None else look(rater)
    try:
        return rater if found is None else found.agreed(rater)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def expected_identity(rater: RaterSettings) -> RaterIdentity:
    """Which weights will answer, as far as it can be told without starting anything: of an endpoint that is no likert
    server, the name that it is asked for."""
    if rater.endpoint is None:
        return rater_identity(rater)
    found = look(rater)
    return RaterIdentity(rater.model, rater.revision or "endpoint") if found is None else found.identity
