"""Who rates for a run, and when a model of its own loads. Without torch: whoever loads takes longest to be there, and
so begins first."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from actors.rating.settings import RaterSettings
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.asking import rating_servers
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.layout import CHECKPOINTS_FOLDER


@dataclass(frozen=True)
class Ratings:
    """The rating server of a run, and the store before it."""

    store: RatingStore
    service: RatingService
    loads_when_asked: bool = False
    """A model of the run's own waits for the first question that the store does not answer."""


@contextmanager
def ratings_of(here: OnlineExperiment) -> Iterator[Ratings | None]:
    """Who rates for a run, from the moment that it begins to load; None if nobody is asked.

    `here` is the experiment as placed.
    """
    if not here.asks_rater:
        yield None
        return
    store = RatingStore(here.ratings_folder)
    rater = settled_start(here, store)
    servers = rating_servers(rater)
    needs = QuestionMaker(here).needs
    service = RatingService(store, servers, rater, here.run_folder.name, needs)
    try:
        service.begin_start()
        yield Ratings(store, service, rater.start == "when_asked")
    finally:
        service.close()


def settled_start(here: OnlineExperiment, store: RatingStore) -> RaterSettings:
    """Its block `rater` with `start` decided."""
    rater = here.rater
    if rater.start != "auto":
        return rater
    own = rater.endpoint is None and rater.server is None
    anew = not (here.run_folder / CHECKPOINTS_FOLDER).exists()
    known = own and anew and any(row["run"] == here.run_folder.name for row in store.rows(["run"]))
    return rater.model_copy(update={"start": "when_asked" if known else "at_once"})
