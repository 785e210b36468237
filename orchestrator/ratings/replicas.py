"""Rating actors: making those of a run's own, and how `actors.rating.front` sees them.

Calls go over Ray, with Ray's errors put into our words.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from actors.rating.asking import Answer, Request
from actors.rating.backend import Needs
from actors.rating.engine.environment import engine_environment
from actors.rating.front import Delivery
from actors.rating.replica_link import TAKE_S, ReplicaLost
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity, RatingFailure
from orchestrator.cluster.actors import actor_class
from orchestrator.cluster.placement import ONE_THREAD, placed_rater, replica_demand

SHUTDOWN_S = 30.0
"""Time that a replica gets to end its engine."""


def start_rating_servers(rater: RaterSettings) -> list[Any]:
    """One actor per replica, of a run's own; each starts its engine when `start` is called. Ray restarts dead ones."""
    rater = placed_rater(rater)
    actor = replica_class(RatingServer, rater)
    return [actor.remote(rater) for _ in range(rater.num_replicas)]


def replica_class(server_class: type[RatingServer], rater: RaterSettings, **options: Any) -> Any:
    """The Ray actor of a replica; `options` are Ray's own."""
    return actor_class(
        server_class,
        replica_demand(rater),
        ONE_THREAD | engine_environment(),
        max_restarts=-1,
        # Calls wait inside the server, which bounds the work; the actor itself must accept them all.
        max_concurrency=4 * rater.max_in_flight + 16,
        **options,
    )


class FrontLost(Exception):
    """The process of a shared rating server's front died, or its node did. Ray starts it again; join again."""


class Front(Protocol):
    """What a run asks: a `RatingFront` in this process, or one in an actor."""

    async def start(self) -> RaterIdentity:
        """Wait until all replicas are loaded."""

    async def check(self, needs: Needs) -> str:
        """As `RatingFront.check`."""

    async def join(self, trial: str, weight: float) -> str:
        """As `RatingFront.join`."""

    async def submit(self, client: str, questions: Sequence[tuple[str, Request]]) -> None:
        """As `RatingFront.submit`."""

    async def take(self, client: str, timeout_s: float = TAKE_S) -> list[Delivery]:
        """As `RatingFront.take`."""

    async def leave(self, client: str) -> None:
        """As `RatingFront.leave`."""

    async def statistics(self) -> dict[str, Any]:
        """As `RatingFront.statistics`."""

    async def shutdown(self) -> None:
        """Let go of it: replicas of our own end, a shared server stays."""


class ActorReplica:
    """A `RatingServer` in an actor that Ray restarts."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def start(self) -> None:
        await answer_of(self._actor.start.remote(), ReplicaLost)

    async def identity(self) -> RaterIdentity:
        return await answer_of(self._actor.identity.remote(), ReplicaLost)

    async def check(self, needs: Needs) -> str:
        return await answer_of(self._actor.check.remote(needs), ReplicaLost)

    async def submit(self, front: str, questions: Sequence[tuple[str, Request]]) -> None:
        await answer_of(self._actor.submit.remote(front, list(questions)), ReplicaLost)

    async def take(self, front: str, timeout_s: float) -> list[Answer | RatingFailure]:
        return await answer_of(self._actor.take.remote(front, timeout_s), ReplicaLost)

    async def statistics(self) -> dict[str, Any]:
        return await answer_of(self._actor.statistics.remote(), ReplicaLost)

    async def kill(self) -> None:
        ray.kill(self._actor, no_restart=False)

    async def shutdown(self) -> None:
        await asyncio.wait_for(answer_of(self._actor.shutdown.remote(), ReplicaLost), SHUTDOWN_S)


async def answer_of(call: Awaitable[Any], lost: type[Exception]) -> Any:
    """What a call brings. Raises what the method raised, or `lost` if its process is gone."""
    try:
        return await call
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except RayError as error:
        raise lost(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}") from None
