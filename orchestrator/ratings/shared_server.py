"""A rating server that many runs share: found by name, outliving whoever started it, in a place of its own.

A run uses one by `rater.server: NAME` in its settings; the first to name it starts it. What runs need to know:

    attach(rater, trial)      the server called `rater.server`, started if need be, as something to ask
    find_or_start(rater)      the same without joining it: before a sweep starts its trials
    stop(name)                end it with its engines; `likert rater stop NAME` does this
    list_servers(), status(name)
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.util import list_named_actors
from ray.util.placement_group import PlacementGroup, get_placement_group, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from actors.rating.asking import Request
from actors.rating.backend import Needs
from actors.rating.front import Delivery, RatingFront
from actors.rating.replica_link import TAKE_S
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.prompts import ALL_WORDS_VERSION
from algorithms.ratings import RaterIdentity
from orchestrator.cluster.actors import actor_class
from orchestrator.cluster.gpus import POLICY_SHARE, REWARD_LEARNER_SHARE
from orchestrator.cluster.packing import Demand, GpuWish
from orchestrator.cluster.placement import check_placement, placed_rater, raters_demand, replica_demand
from orchestrator.cluster.replacing import first_line
from orchestrator.errors import SettingsError
from orchestrator.ratings.replicas import SHUTDOWN_S, ActorReplica, FrontLost, answer_of, replica_class

NAMESPACE = "likert"
"""Ray namespace of all shared rating servers, whatever namespace the runs are in."""
ASK_AGAIN_S = 1.0
"""Pause while a server is just ending or coming back."""
LEARNERS_OF_A_RUN = Demand("learners of a run", 1, {}, "", GpuWish(REWARD_LEARNER_SHARE + POLICY_SHARE))
"""What a server leaves to the runs that will ask it, where there is one GPU."""
_PREFIX = "rating-server/"


class SharedFront(RatingFront):
    """The front as a named actor. Ray restarts it; its replicas, which are actors of their own, go on meanwhile."""

    def __init__(self, name: str, settings: RaterSettings, server_class: type[RatingServer]) -> None:
        group = _group(name, settings)
        super().__init__(
            settings,
            [
                ActorReplica(_replica(name, index, settings, group, server_class))
                for index in range(settings.num_replicas)
            ],
        )

    async def join_with(self, trial: str, asked: RaterSettings, prompt_version: str) -> str:
        """`join`, for a run with these settings. Raises ValueError, naming both, if its answers would be others."""
        differences = self._settings.other_answers(asked)
        if prompt_version != ALL_WORDS_VERSION:
            differences.append(f"version of the prompts {ALL_WORDS_VERSION} (asked for: {prompt_version})")
        if differences:
            raise ValueError("; ".join(differences))
        return await self.join(trial, asked.server_weight)

    async def settings(self) -> RaterSettings:
        """The settings it was started with."""
        return self._settings


class AttachedFront:
    """A shared server, as `replicas.Front`, for one run."""

    def __init__(self, rater: RaterSettings, actor: Any, server_class: type[RatingServer] = RatingServer) -> None:
        self._rater = rater
        self._actor = actor
        self._server_class = server_class

    async def start(self) -> RaterIdentity:
        """Wait until it is loaded. A server that cannot start is ended, so that the name is free again."""
        try:
            return await answer_of(self._actor.start.remote(), FrontLost)
        except FrontLost:
            # It comes back, or was ended, by another run for which it could not start: then there is a new one to ask.
            self._actor = await asyncio.to_thread(find_or_start, self._rater, self._server_class)
            raise
        except Exception:
            # Another run may have ended it already.
            with suppress(SettingsError):
                await asyncio.to_thread(stop, _name(self._rater))
            raise

    async def check(self, needs: Needs) -> str:
        """As `RatingFront.check`."""
        return await answer_of(self._actor.check.remote(needs), FrontLost)

    async def join(self, trial: str, weight: float) -> str:
        """Join with all that the settings say; `weight` is among them."""
        try:
            return await answer_of(self._actor.join_with.remote(trial, self._rater, ALL_WORDS_VERSION), FrontLost)
        except ValueError as error:
            raise _refusal(self._rater, error) from None

    async def submit(self, client: str, questions: Sequence[tuple[str, Request]]) -> None:
        """As `RatingFront.submit`."""
        await answer_of(self._actor.submit.remote(client, list(questions)), FrontLost)

    async def take(self, client: str, timeout_s: float = TAKE_S) -> list[Delivery]:
        """As `RatingFront.take`."""
        return await answer_of(self._actor.take.remote(client, timeout_s), FrontLost)

    async def leave(self, client: str) -> None:
        """As `RatingFront.leave`."""
        await answer_of(self._actor.leave.remote(client), FrontLost)

    async def statistics(self) -> dict[str, Any]:
        """As `RatingFront.statistics`."""
        return await answer_of(self._actor.statistics.remote(), FrontLost)

    async def shutdown(self) -> None:
        """Leave the server to others."""


@dataclass(frozen=True)
class ServerStatus:
    """What a shared server does just now."""

    name: str
    model: str
    num_replicas: int
    replicas: list[dict[str, Any] | None]
    """Counters of each replica (`RatingStatistics`); None where it is lost."""
    trials: dict[str, dict[str, int]]
    """Counts of each trial (`TrialCounts`)."""


def find_or_start(rater: RaterSettings, server_class: type[RatingServer] = RatingServer) -> Any:
    """Handle of the actor called `rater.server`, which loads its model from now on.

    Ray must be connected. Raises SettingsError, naming both, if that server gives other answers than these settings
    ask for, or, naming what is missing, if a new one has no place in the cluster.
    """
    name = _name(rater)
    while True:
        try:
            actor = ray.get_actor(_PREFIX + name, NAMESPACE)
        except ValueError:
            rater = with_place(rater)
            actor = _start(name, rater, server_class)
        try:
            differences = ray.get(actor.settings.remote()).other_answers(rater)
        except ActorUnavailableError:
            time.sleep(ASK_AGAIN_S)  # It is being started again.
            continue
        except ActorDiedError as error:
            if "creation task" in str(error):
                raise SettingsError(f"rater.server {name!r} could not be made: {first_line(error)}") from None
            time.sleep(ASK_AGAIN_S)  # It was being stopped; its name is free in a moment.
            continue
        if differences:
            raise _refusal(rater, ValueError("; ".join(differences)))
        actor.start.remote()
        return actor


def with_place(rater: RaterSettings) -> RaterSettings:
    """`rater` with its GPUs in numbers, as a new server is started. Raises SettingsError, naming what is missing, if it
    has no place in the cluster."""
    rater = placed_rater(rater, [LEARNERS_OF_A_RUN])
    check_placement([raters_demand(rater)], own_place=True)
    return rater


def attach(rater: RaterSettings, server_class: type[RatingServer] = RatingServer) -> AttachedFront:
    """The server called `rater.server`, started if need be, for `RatingService`. Raises as `find_or_start`."""
    return AttachedFront(rater, find_or_start(rater, server_class), server_class)


def stop(name: str) -> None:
    """End a server, its engines and its place in the cluster. Raises SettingsError if there is none of that name."""
    if name not in list_servers():
        raise SettingsError(f"there is no rating server called {name!r}; {_existing()}")
    names = [actor["name"] for actor in list_named_actors(all_namespaces=True) if actor["namespace"] == NAMESPACE]
    front = ray.get_actor(_PREFIX + name, NAMESPACE)
    # First the one who would start the others again.
    ray.kill(front)
    actors = [ray.get_actor(found, NAMESPACE) for found in names if found.startswith(f"{_PREFIX}{name}/")]
    ray.wait([actor.shutdown.remote() for actor in actors], num_returns=len(actors) or 1, timeout=SHUTDOWN_S)
    for actor in actors:
        ray.kill(actor)
    try:
        remove_placement_group(get_placement_group(_PREFIX + name))
    except ValueError:
        pass  # The front died before it had made one.


def list_servers() -> list[str]:
    """Names of the servers in the cluster."""
    actors = [actor["name"] for actor in list_named_actors(all_namespaces=True) if actor["namespace"] == NAMESPACE]
    return sorted(name.removeprefix(_PREFIX) for name in actors if name.startswith(_PREFIX) and name.count("/") == 1)


def status(name: str) -> ServerStatus:
    """What the server called `name` does. Raises SettingsError if there is none."""
    try:
        actor = ray.get_actor(_PREFIX + name, NAMESPACE)
    except ValueError:
        raise SettingsError(f"there is no rating server called {name!r}; {_existing()}") from None
    settings, statistics = ray.get([actor.settings.remote(), actor.statistics.remote()])
    return ServerStatus(name, settings.model, settings.num_replicas, statistics["replicas"], statistics["trials"])


def _start(name: str, rater: RaterSettings, server_class: type[RatingServer]) -> Any:
    # Beside the driver, which on a cluster is the head: the one node that is never taken away.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor = actor_class(
        SharedFront,
        {},
        name=_PREFIX + name,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        max_restarts=-1,
        max_concurrency=10_000,
        scheduling_strategy=here,
    )
    return actor.remote(name, rater, server_class)


def _group(name: str, rater: RaterSettings) -> PlacementGroup:
    """The server's own place in the cluster, made by the first life of its front."""
    try:
        return get_placement_group(_PREFIX + name)
    except ValueError:
        bundles = [replica_demand(rater)] * rater.num_replicas
        return placement_group(bundles, name=_PREFIX + name, lifetime="detached")


def _replica(
    name: str, index: int, rater: RaterSettings, group: PlacementGroup, server_class: type[RatingServer]
) -> Any:
    actor = replica_class(
        server_class,
        rater,
        name=f"{_PREFIX}{name}/replica-{index}",
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",
        scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index),
    )
    return actor.remote(rater)


def _name(rater: RaterSettings) -> str:
    if rater.server is None:
        raise SettingsError("rater.server: no name of a rating server is given")
    return rater.server


def _refusal(rater: RaterSettings, error: ValueError) -> SettingsError:
    return SettingsError(
        f"rater.server {rater.server!r} serves other ratings than these settings ask for: {error}. Give another "
        f"rater.server, change the settings, or end that server with `likert rater stop {rater.server}`"
    )


def _existing() -> str:
    names = list_servers()
    return f"there are {', '.join(names)}" if names else "there are none in this cluster"
