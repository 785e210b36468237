"""A replica of a rating server as its front sees it: up or lost, with so many free places."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from actors.rating.asking import Answer, Request
from actors.rating.backend import Needs
from algorithms.ratings import RaterIdentity, RatingFailure

log = logging.getLogger(__name__)

TAKE_S = 10.0
"""A taking that brings nothing comes back after this, so that both sides know of each other."""
STUCK_S = 180.0
"""A replica that is this late with coming back is hung as a whole process, and replaced."""
PAUSES_S = (0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts to start a replica that was lost; the last one repeats."""


class ReplicaLost(Exception):
    """The process of a replica died, or its node did. What it worked on is lost."""


class Replica(Protocol):
    """An engine somewhere. Every method may raise ReplicaLost; a lost one comes back, and is started again."""

    async def start(self) -> None:
        """Load what answers; at once if it is there."""

    async def identity(self) -> RaterIdentity:
        """Which weights answer."""

    async def check(self, needs: Needs) -> str:
        """As `RatingServer.check`."""

    async def submit(self, front: str, questions: Sequence[tuple[str, Request]]) -> None:
        """As `RatingServer.submit`."""

    async def take(self, front: str, timeout_s: float) -> list[Answer | RatingFailure]:
        """As `RatingServer.take`."""

    async def statistics(self) -> dict[str, Any]:
        """As `RatingServer.statistics`."""

    async def kill(self) -> None:
        """End its process by force; another takes its place."""

    async def shutdown(self) -> None:
        """Give everything back, for good."""


class Settler(Protocol):
    """What a link tells the front."""

    def settle(self, question: "OpenQuestion", outcome: Answer | RatingFailure) -> None:
        """A question has its answer."""

    def settled(self) -> None:
        """Places became free."""

    def lost(self, questions: Sequence["OpenQuestion"], why: str) -> None:
        """These were under way when the replica was lost."""


@dataclass(eq=False)
class OpenQuestion:
    """A question that somebody waits for."""

    key: str
    request: Request
    clients: list[str] = field(default_factory=list)
    """Who wants it, the first one first."""
    link: "ReplicaLink | None" = None
    """Where it is under way."""
    num_lost: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether it should be handed out."""
        return bool(self.clients) and self.link is None


class ReplicaLink:
    """A replica as the front sees it: up or not, with so many free places."""

    def __init__(self, front: Settler, name: str, replica: Replica, places: int) -> None:
        self.replica = replica
        self.running: dict[str, OpenQuestion] = {}
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

    def send(self, questions: list[OpenQuestion]) -> None:
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

    async def _send(self, questions: list[tuple[str, Request]]) -> None:
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
