"""A rater to ask: Ray with the rating servers that its settings name, from start to end."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from actors.rating.backend import Needs
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity
from orchestrator.cluster.actors import connected
from orchestrator.cluster.placement import Demand, raters_demand
from orchestrator.ratings import shared_server
from orchestrator.ratings.replicas import Front, start_rating_servers
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import ScoreStore
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.storage.locations import RemotePath


def rating_servers(rater: RaterSettings) -> Sequence[Any] | Front:
    """Whom to ask: servers of one's own, or the shared one that `rater.server` names. Ray is connected."""
    return shared_server.attach(rater) if rater.server else start_rating_servers(rater)


@contextmanager
def asking(
    rater: RaterSettings, ratings_folder: Path | RemotePath, name: str, needs: Needs, others: Sequence[Demand] = ()
) -> Iterator[tuple[ScoreService, RaterIdentity]]:
    """Ray with a rater in it, loaded and found fit for `needs`, until the end of the block. `name` is what a shared
    rater knows the asker by; `others` are demands of the asker's own."""
    with _connected(rater, others):
        service = ScoreService(ScoreStore(ratings_folder), rating_servers(rater), rater, name, needs)
        with _started(service) as identity:
            yield service, identity


@contextmanager
def asking_ratings(
    rater: RaterSettings, store: RatingStore, name: str, needs: Needs
) -> Iterator[tuple[RatingService, RaterIdentity]]:
    """As `asking`, for ratings on a Likert scale, which a store of their own keeps."""
    with _connected(rater):
        service = RatingService(store, rating_servers(rater), rater, name, needs)
        with _started(service) as identity:
            yield service, identity


def _connected(rater: RaterSettings, others: Sequence[Demand] = ()) -> AbstractContextManager[None]:
    return connected([*others, *([] if rater.server else [raters_demand(rater)])])


@contextmanager
def _started(service: ScoreService | RatingService) -> Iterator[RaterIdentity]:
    try:
        print("loading the rater", file=sys.stderr, flush=True)
        identity = service.finish_start()
        if service.relies_on:
            print(service.relies_on, file=sys.stderr, flush=True)
        yield identity
    finally:
        service.close()
