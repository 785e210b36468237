"""The front of a rating server: what trials talk to. It shares the replicas out fairly. A plain class; Ray not needed.

trial A  submit ──┐                                      ┌── replica 0 (an engine)
trial B  submit ──┼── equal keys joined ── fair queue ───┼── replica 1
trial C  submit ──┘      <── take                        └── replica 2
"""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from actors.rating.answer_box import AnswerBox
from actors.rating.asking import Answer, Request
from actors.rating.backend import Needs
from actors.rating.fair_queue import FairQueue
from actors.rating.replica_link import PAUSES_S, TAKE_S, OpenQuestion, Replica, ReplicaLink, ReplicaLost
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity, RatingFailure

log = logging.getLogger(__name__)

LEASE_S = 300.0
"""A client that takes nothing for so long is gone; what only it wanted is dropped."""
RECENT_ANSWERS = 20_000
"""Answers kept in memory: whoever asked writes an answer to the store a moment after it came, and in that moment
another trial may want it."""


class UnknownClient(LookupError):
    """The front does not know this client: it was replaced since, or the client was silent for too long. Join again."""


@dataclass(frozen=True)
class Delivery:
    """What a client gets for a question."""

    outcome: Answer | RatingFailure
    shared: bool
    """The model was not asked for this client: another one wanted the same."""


@dataclass
class TrialCounts:
    """What a trial got from the front, over all its clients."""

    num_asked: int = 0
    """Questions that the model was asked for this trial."""
    num_shared: int = 0
    """Answers that another trial had asked for."""
    num_failed: int = 0
    num_waiting: int = 0
    """Questions in the queue now."""


class RatingFront:
    """Puts the questions of many trials to a few replicas.

    A client joins under its trial's name and weight, submits questions by key, and takes answers. The same key is
    asked once, also while it waits or is under way for another client. `submit` returns only once the trial's queue
    has room again: that is the back-pressure. What a lost replica worked on is asked again, `max_attempts` times in
    all; then it is a RatingFailure. Without any replica for `start_timeout_s`, waiting questions fail too.
    """

    def __init__(self, settings: RaterSettings, replicas: Sequence[Replica]) -> None:
        self._settings = settings
        # A few more than it works on, so that it never waits for the next to travel.
        places = settings.max_in_flight + settings.max_in_flight // 4 + 1
        self._name = uuid.uuid4().hex
        self._links = [ReplicaLink(self, self._name, replica, places) for replica in replicas]
        self._max_waiting = max(256, 2 * places * len(self._links))
        self._queue: FairQueue[OpenQuestion] = FairQueue(
            lambda question: bool(question.clients) and question.link is None
        )
        self._open: dict[str, OpenQuestion] = {}
        self._clients: dict[str, _Client] = {}
        self._trials: dict[str, TrialCounts] = {}
        self._recent: OrderedDict[str, Answer] = OrderedDict()
        self._identity: RaterIdentity | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> RaterIdentity:
        """Load every replica; returns which weights answer. Later calls return at once.

        Raises what keeps a replica from starting, or ValueError if two of them hold different weights.
        """
        self._begin()
        await asyncio.gather(*(asyncio.shield(link.started) for link in self._links))
        if self._identity is None:
            identities = await asyncio.gather(*(link.replica.identity() for link in self._links))
            if len(set(identities)) > 1:
                raise ValueError(f"replicas of the rating server hold different weights: {set(identities)}")
            self._identity = identities[0]
        return self._identity

    async def check(self, needs: Needs) -> str:
        """What a run with these needs relies on, as `RatingServer.check`; every replica finds it out for itself.

        One that is lost just now will do so before its next question. Raises TimeoutError if none comes back within
        `start_timeout_s`.
        """
        await self.start()
        async with asyncio.timeout(self._settings.start_timeout_s):
            while True:
                found = await asyncio.gather(
                    *(link.replica.check(needs) for link in self._links), return_exceptions=True
                )
                for error in found:
                    if isinstance(error, BaseException) and not isinstance(error, ReplicaLost):
                        raise error
                for line in found:
                    if isinstance(line, str):
                        return line
                await asyncio.sleep(PAUSES_S[0])

    def _begin(self) -> None:
        for link in self._links:
            link.begin()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def join(self, trial: str, weight: float) -> str:
        """Name of a new client of `trial`. Questions of a trial count together, with `weight` against other trials."""
        if self._watching is None:
            # It took the place of one that died between two questions: nobody knows that it has to be started.
            self._begin()
        self._queue.set_weight(trial, weight)
        client = f"{trial}/{uuid.uuid4().hex}"
        self._clients[client] = _Client(trial, asyncio.get_running_loop().time())
        self._trials.setdefault(trial, TrialCounts())
        return client

    async def submit(self, client: str, questions: Sequence[tuple[str, Request]]) -> None:
        """Ask (key, request) pairs; returns once there is room for more. Raises UnknownClient."""
        known = self._client(client)
        for key, request in questions:
            self._want(client, known, key, request)
        self._pump()
        while self._queue.num_waiting(known.trial) > self._max_waiting and client in self._clients:
            known.room.clear()
            await known.room.wait()

    async def take(self, client: str, timeout_s: float = TAKE_S) -> list[Delivery]:
        """Answers that came for a client, in no order; none after `timeout_s`. Raises UnknownClient."""
        known = self._client(client)
        answers = await known.box.take(timeout_s)
        known.seen_at = asyncio.get_running_loop().time()
        return answers

    async def leave(self, client: str) -> None:
        """Drop a client and what only it wanted."""
        known = self._clients.pop(client, None)
        if known is None:
            return
        known.room.set()
        for question in list(self._open.values()):
            if client in question.clients:
                question.clients.remove(client)
                if not question.clients and question.link is None:
                    del self._open[question.key]

    async def statistics(self) -> dict[str, Any]:
        """`replicas`: each one's counters, None for a lost one; `trials`: TrialCounts by name, as dictionaries."""
        replicas = await asyncio.gather(*(link.statistics() for link in self._links))
        for trial, counts in self._trials.items():
            counts.num_waiting = self._queue.num_waiting(trial)
        return {"replicas": replicas, "trials": {trial: asdict(counts) for trial, counts in self._trials.items()}}

    async def shutdown(self) -> None:
        """End the replicas for good."""
        if self._watching is not None:
            self._watching.cancel()
        await asyncio.gather(*(link.close() for link in self._links), return_exceptions=True)

    # ------------------------------------------------------------------------------------------- questions

    def _client(self, name: str) -> "_Client":
        known = self._clients.get(name)
        if known is None:
            raise UnknownClient(f"client {name!r} of the rating server is unknown; join again")
        known.seen_at = asyncio.get_running_loop().time()
        return known

    def _want(self, name: str, client: "_Client", key: str, request: Request) -> None:
        recent = self._recent.get(key)
        if recent is not None:
            self._trials[client.trial].num_shared += 1
            client.box.put(Delivery(recent, shared=True))
            return
        question = self._open.setdefault(key, OpenQuestion(key, request))
        if name in question.clients:
            return
        question.clients.append(name)
        if question.link is None:
            # Every trial queues it for itself; the one whose turn comes first asks it for all.
            self._queue.push(client.trial, question)

    def _pump(self) -> None:
        """Hand out questions while there are free places."""
        batches: dict[ReplicaLink, list[OpenQuestion]] = {}
        while link := max((link for link in self._links if link.free), key=lambda link: link.free, default=None):
            question = self._queue.pop()
            if question is None:
                break
            question.link = link
            link.running[question.key] = question
            batches.setdefault(link, []).append(question)
        for link, batch in batches.items():
            link.send(batch)
        for client in self._clients.values():
            if self._queue.num_waiting(client.trial) <= self._max_waiting:
                client.room.set()

    def settle(self, question: "OpenQuestion", outcome: Answer | RatingFailure) -> None:
        """Tell everybody who wanted it."""
        self._open.pop(question.key, None)
        if not isinstance(outcome, RatingFailure):
            self._recent[outcome.key] = outcome
            if len(self._recent) > RECENT_ANSWERS:
                self._recent.popitem(last=False)
        for place, name in enumerate(question.clients):
            client = self._clients[name]
            counts = self._trials[client.trial]
            counts.num_asked += place == 0
            counts.num_shared += place > 0
            counts.num_failed += isinstance(outcome, RatingFailure)
            client.box.put(Delivery(outcome, shared=place > 0))
        # Copies of it in the queues of others are no longer wanted.
        question.clients.clear()

    def settled(self) -> None:
        """Places became free."""
        self._pump()

    def lost(self, questions: Sequence["OpenQuestion"], why: str) -> None:
        """Ask again what a lost replica worked on."""
        for question in reversed(questions):
            question.link = None
            question.num_lost += 1
            if question.num_lost >= self._settings.max_attempts:
                self.settle(question, RatingFailure(question.key, "engine_dead", why, question.num_lost))
                continue
            for name in question.clients:
                self._queue.push(self._clients[name].trial, question, first=True)
            if not question.clients:
                self._open.pop(question.key, None)
        self._pump()

    async def _watch(self) -> None:
        """Drop clients that are gone, and fail what waits when no replica comes back."""
        loop = asyncio.get_running_loop()
        up_at = loop.time()
        while True:
            await asyncio.sleep(1.0)
            now = loop.time()
            for name in [name for name, client in self._clients.items() if now - client.seen_at > LEASE_S]:
                log.warning("client %s took no answer for %g s and is dropped", name, LEASE_S)
                await self.leave(name)
            if any(link.is_up for link in self._links) or not self._open:
                up_at = now
            elif now - up_at > self._settings.start_timeout_s:
                why = f"no replica of the rating server came back within {self._settings.start_timeout_s:g} s"
                for question in list(self._open.values()):
                    self.settle(question, RatingFailure(question.key, "engine_dead", why, question.num_lost))
                self._queue.clear()
                self._pump()


@dataclass
class _Client:
    trial: str
    seen_at: float
    box: AnswerBox[Delivery] = field(default_factory=AnswerBox)
    room: asyncio.Event = field(default_factory=asyncio.Event)
