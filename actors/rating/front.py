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
from typing import Any, Protocol

from actors.rating.answer_box import AnswerBox
from actors.rating.fair_queue import FairQueue
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest

log = logging.getLogger(__name__)

TAKE_S = 10.0
"""A taking that brings nothing comes back after this, so that both sides know of each other."""
STUCK_S = 60.0
"""A replica that is this late with coming back is hung as a whole process, and replaced."""
LEASE_S = 300.0
"""A client that takes nothing for so long is gone; what only it wanted is dropped."""
RECENT_ANSWERS = 20_000
"""Answers kept in memory: whoever asked writes an answer to the store a moment after it came, and in that moment
another trial may want it."""
PAUSES_S = (0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts to start a replica that was lost; the last one repeats."""


class ReplicaLost(Exception):
    """The process of a replica died, or its node did. What it worked on is lost."""


class UnknownClient(LookupError):
    """The front does not know this client: it was replaced since, or the client was silent for too long. Join again."""


class Replica(Protocol):
    """An engine somewhere. Every method may raise ReplicaLost; a lost one comes back, and is started again."""

    async def start(self) -> None:
        """Load what answers; at once if it is there."""

    async def identity(self) -> RaterIdentity:
        """Which weights answer."""

    async def submit(self, front: str, questions: Sequence[tuple[str, RatingRequest]]) -> None:
        """As `RatingServer.submit`."""

    async def take(self, front: str, timeout_s: float) -> list[Rating | RatingFailure]:
        """As `RatingServer.take`."""

    async def statistics(self) -> dict[str, Any]:
        """As `RatingServer.statistics`."""

    async def kill(self) -> None:
        """End its process by force; another takes its place."""

    async def shutdown(self) -> None:
        """Give everything back, for good."""


@dataclass(frozen=True)
class Answer:
    """What a client gets for a question."""

    outcome: Rating | RatingFailure
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
        self._links = [_Link(self, self._name, replica, places) for replica in replicas]
        self._max_waiting = max(256, 2 * places * len(self._links))
        self._queue: FairQueue[_Question] = FairQueue(lambda question: bool(question.clients) and question.link is None)
        self._open: dict[str, _Question] = {}
        self._clients: dict[str, _Client] = {}
        self._trials: dict[str, TrialCounts] = {}
        self._recent: OrderedDict[str, Rating] = OrderedDict()
        self._identity: RaterIdentity | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> RaterIdentity:
        """Load every replica; returns which weights answer. Later calls return at once.

        Raises what keeps a replica from starting, or ValueError if two of them hold different weights.
        """
        for link in self._links:
            link.begin()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        await asyncio.gather(*(asyncio.shield(link.started) for link in self._links))
        if self._identity is None:
            identities = await asyncio.gather(*(link.replica.identity() for link in self._links))
            if len(set(identities)) > 1:
                raise ValueError(f"replicas of the rating server hold different weights: {set(identities)}")
            self._identity = identities[0]
        return self._identity

    async def join(self, trial: str, weight: float) -> str:
        """Name of a new client of `trial`. Questions of a trial count together, with `weight` against other trials."""
        self._queue.set_weight(trial, weight)
        client = f"{trial}/{uuid.uuid4().hex}"
        self._clients[client] = _Client(trial, asyncio.get_running_loop().time())
        self._trials.setdefault(trial, TrialCounts())
        return client

    async def submit(self, client: str, questions: Sequence[tuple[str, RatingRequest]]) -> None:
        """Ask (key, request) pairs; returns once there is room for more. Raises UnknownClient."""
        known = self._client(client)
        for key, request in questions:
            self._want(client, known, key, request)
        self._pump()
        while self._queue.num_waiting(known.trial) > self._max_waiting and client in self._clients:
            known.room.clear()
            await known.room.wait()

    async def take(self, client: str, timeout_s: float = TAKE_S) -> list[Answer]:
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

    def _want(self, name: str, client: "_Client", key: str, request: RatingRequest) -> None:
        recent = self._recent.get(key)
        if recent is not None:
            self._trials[client.trial].num_shared += 1
            client.box.put(Answer(recent, shared=True))
            return
        question = self._open.setdefault(key, _Question(key, request))
        if name in question.clients:
            return
        question.clients.append(name)
        if question.link is None:
            # Every trial queues it for itself; the one whose turn comes first asks it for all.
            self._queue.push(client.trial, question)

    def _pump(self) -> None:
        """Hand out questions while there are free places."""
        batches: dict[_Link, list[_Question]] = {}
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

    def settle(self, question: "_Question", outcome: Rating | RatingFailure) -> None:
        """Tell everybody who wanted it."""
        self._open.pop(question.key, None)
        if isinstance(outcome, Rating):
            self._recent[outcome.key] = outcome
            if len(self._recent) > RECENT_ANSWERS:
                self._recent.popitem(last=False)
        for place, name in enumerate(question.clients):
            client = self._clients[name]
            counts = self._trials[client.trial]
            counts.num_asked += place == 0
            counts.num_shared += place > 0
            counts.num_failed += isinstance(outcome, RatingFailure)
            client.box.put(Answer(outcome, shared=place > 0))
        # Copies of it in the queues of others are no longer wanted.
        question.clients.clear()

    def settled(self) -> None:
        """Places became free."""
        self._pump()

    def lost(self, questions: Sequence["_Question"], why: str) -> None:
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
    box: AnswerBox[Answer] = field(default_factory=AnswerBox)
    room: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class _Question:
    key: str
    request: RatingRequest
    clients: list[str] = field(default_factory=list)
    """Who wants it, the first one first."""
    link: "_Link | None" = None
    """Where it is under way."""
    num_lost: int = 0


class _Link:
    """A replica as the front sees it: up or not, with so many free places."""

    def __init__(self, front: RatingFront, name: str, replica: Replica, places: int) -> None:
        self.replica = replica
        self.running: dict[str, _Question] = {}
        self.is_up = False
        self._front = front
        self._name = name
        self._places = places
        self._life: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self.started: asyncio.Future[None]
        """Done once it was up for the first time, or with what keeps it from that."""

    @property
    def free(self) -> int:
        """Questions that may be sent now."""
        return self._places - len(self.running) if self.is_up else 0

    def begin(self) -> None:
        """Start it, unless that is under way or done."""
        if self._life is None or self._life.done():
            self.started = asyncio.get_running_loop().create_future()
            self._life = asyncio.create_task(self._live())

    def send(self, questions: list[_Question]) -> None:
        """Let it work on these."""
        task = asyncio.create_task(self._send([(question.key, question.request) for question in questions]))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def statistics(self) -> dict[str, Any] | None:
        """Its counters, or None while it is lost."""
        try:
            return await self.replica.statistics() if self.is_up else None
        except ReplicaLost:
            return None

    async def close(self) -> None:
        """End it for good."""
        self.is_up = False
        for task in (self._life, *self._sending):
            if task is not None:
                task.cancel()
        await self.replica.shutdown()

    async def _live(self) -> None:
        num_lost = 0
        while True:
            try:
                await self.replica.start()
                self.is_up = True
                if not self.started.done():
                    self.started.set_result(None)
                self._front.settled()
                while True:
                    await self._take()
                    num_lost = 0
            except ReplicaLost as error:
                if not self.started.done() and num_lost + 1 == len(PAUSES_S):
                    self.started.set_exception(error)
                    return
                self._give_up(f"a replica of the rating server was lost: {error}")
            except Exception as error:  # noqa: BLE001 - whatever keeps an engine from starting
                if not self.started.done():
                    self.started.set_exception(error)
                    return
                # It ran before, so what is wrong may pass, as a disk or a node that comes back.
                self._give_up(f"a replica of the rating server failed: {type(error).__name__}: {error}")
            await asyncio.sleep(PAUSES_S[min(num_lost, len(PAUSES_S) - 1)])
            num_lost += 1

    async def _take(self) -> None:
        try:
            outcomes = await asyncio.wait_for(self.replica.take(self._name, TAKE_S), TAKE_S + STUCK_S)
        except TimeoutError:
            await self.replica.kill()
            raise ReplicaLost(f"its process did not answer for {TAKE_S + STUCK_S:g} s and was killed") from None
        for outcome in outcomes:
            question = self.running.pop(outcome.key, None)
            if question is not None:
                self._front.settle(question, outcome)
        if outcomes:
            self._front.settled()

    async def _send(self, questions: list[tuple[str, RatingRequest]]) -> None:
        try:
            await self.replica.submit(self._name, questions)
        except ReplicaLost:
            # Its life notices by itself. What was sent after that would wait for ever, so it goes back here.
            lost = [self.running.pop(key) for key, _ in questions if key in self.running]
            self._front.lost(lost, "a replica of the rating server was lost")

    def _give_up(self, why: str) -> None:
        self.is_up = False
        lost, self.running = list(self.running.values()), {}
        log.warning("%s; %d questions are asked again", why, len(lost))
        self._front.lost(lost, why)
