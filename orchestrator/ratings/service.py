"""Asking: the store first, then the rating server; every answer is on disk before the run hears of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any
from uuid import uuid4

from actors.rating.asking import AGAIN
from actors.rating.backend import Needs, Refused
from actors.rating.front import Delivery, RatingFront, UnknownClient
from actors.rating.settings import RaterSettings
from algorithms.prompts import words_version
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, Sampling, rating_key
from orchestrator.errors import LikertError, RatingsFailing, SettingsError, disk_errors_told
from orchestrator.ratings.question import Question
from orchestrator.ratings.replicas import ActorReplica, Front, FrontLost
from orchestrator.ratings.store import RatingStore

FLUSH_ANSWERS = 32
"""Answers written as one part of the store, at least, while more are to come within FLUSH_S."""
FLUSH_S = 1.0
"""Seconds that an answer waits for its part at most."""
SUBMIT_QUESTIONS = 64
"""Questions that travel to the rating server together."""
REJOIN_S = 1.0
"""Pause before a server whose front died is asked again."""

Report = Callable[[int, int, int, int], None]
"""Called with the numbers answered, failed, found in the store, and shared with other runs, so far in a session."""


@dataclass(frozen=True)
class SessionAnswers:
    """What a feedback session brought, in the order of its questions."""

    outcomes: list[Rating | RatingFailure]
    num_from_store: int
    duration_s: float
    num_shared: int = 0
    """Answers that the model gave to another run which wanted the same at the same time."""
    stored_keys: frozenset[str] = frozenset()
    """Keys of the answers that the store had."""

    @property
    def num_failed(self) -> int:
        """Questions without an answer."""
        return sum(isinstance(outcome, RatingFailure) for outcome in self.outcomes)


class RatingService:
    """Gets ratings for a run: from the store where the same question was answered before, else from the server.

    `servers` are handles of `RatingServer` actors of the run's own, or a `Front` that it shares with other runs.
    Answers are appended to the store as they arrive, so a run that is killed loses at most those of the last second,
    and asks none of the others again.

    With `needs` a server that someone else runs is tried before anything is asked of it.
    """

    relies_on = ""
    """One line about what such a server does, once it was tried; empty for engines of our own."""

    def __init__(
        self,
        store: RatingStore,
        servers: "Sequence[Any] | Front",
        settings: RaterSettings,
        run: str,
        needs: Needs | None = None,
    ) -> None:
        self._store = store
        self._front: Front
        if isinstance(servers, Sequence):
            self._front = RatingFront(settings, [ActorReplica(server) for server in servers])
        else:
            self._front = servers
        self._settings = settings
        self._run = run
        self._needs = needs
        self._sampling = settings.sampling
        self._starting: Future[RaterIdentity] | None = None
        self._identity: RaterIdentity | None = None
        self._asking: set[Future[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="ratings", daemon=True)
        self._thread.start()
        # Sessions are answered in the order in which they were asked.
        self._in_turn = asyncio.Lock()

    def begin_start(self) -> None:
        """Let the replicas load their model, and return at once."""
        self._starting = asyncio.run_coroutine_threadsafe(self._start(), self._loop)

    def finish_start(self) -> RaterIdentity:
        """Wait until every replica is up. Raises SettingsError with what keeps one from starting, or with what it
        lacks for this run."""
        if self._starting is None:
            self.begin_start()
        assert self._starting is not None
        try:
            self._identity = self._starting.result()
        except LikertError:
            raise
        except Refused as error:
            raise SettingsError(str(error)) from error
        except TimeoutError:
            raise SettingsError(
                f"the rating server was not ready after rater.start_timeout_s = {self._settings.start_timeout_s:g} s; "
                "a large model on a slow disk may need more"
            ) from None
        except Exception as error:  # engines fail to start with errors of every type
            raise SettingsError(f"the rating server did not start: {error}") from error
        return self._identity

    def key(self, request: RatingRequest) -> str:
        """The key of a request under this rater's weights and sampling."""
        return rating_key(request, self.identity, self._sampling, words_version(request.task.agent, request.scale))

    def ask(self, questions: Sequence[Question], report: Report | None = None) -> "Future[SessionAnswers]":
        """Ask in the background. The future holds the answers once all are in the store.

        Its result raises DiskFailing if the store cannot be written.
        """
        asking = self._ask(list(questions), report or (lambda *_: None))
        answers = asyncio.run_coroutine_threadsafe(asking, self._loop)
        self._asking.add(answers)
        answers.add_done_callback(self._asking.discard)
        return answers

    def ask_again(self, questions: Sequence[Question]) -> "Future[list[Rating | RatingFailure]]":
        """Ask the rater itself in the background, whatever the store holds; nothing is stored."""
        answers = asyncio.run_coroutine_threadsafe(self._ask_again(list(questions)), self._loop)
        self._asking.add(answers)
        answers.add_done_callback(self._asking.discard)
        return answers

    @property
    def identity(self) -> RaterIdentity:
        """Which weights answer. Raises RuntimeError before they are there."""
        if self._identity is None:
            raise RuntimeError("start() the service first: a key names the weights that answer")
        return self._identity

    @property
    def sampling(self) -> Sampling:
        """How they are run."""
        return self._sampling

    def statistics(self) -> dict[str, Any]:
        """The server's counters: see `RatingFront.statistics`."""
        return asyncio.run_coroutine_threadsafe(self._front.statistics(), self._loop).result()

    def close(self) -> None:
        """Stop engines of our own, or leave the shared server. A session under way ends; what is stored stays."""
        for answers in list(self._asking):
            answers.cancel()
        try:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    # ------------------------------------------------------------------------------------------- inside the thread

    async def _start(self) -> RaterIdentity:
        async with asyncio.timeout(self._settings.start_timeout_s):
            while True:
                try:
                    identity = await self._front.start()
                    if self._needs is not None and self._identity is None:
                        self.relies_on = await self._front.check(self._needs)
                    return identity
                except FrontLost:
                    await asyncio.sleep(REJOIN_S)

    async def _close(self) -> None:
        async with self._in_turn:
            if self._starting is not None:
                self._starting.cancel()
            try:
                await self._front.shutdown()
            except (FrontLost, TimeoutError):
                pass  # It is gone, or does not react: the run's end takes its processes with it.

    async def _ask(self, questions: list[Question], report: Report) -> SessionAnswers:
        async with self._in_turn:
            started = time.monotonic()
            keys = [self.key(question.request) for question in questions]
            outcomes: dict[str, Rating | RatingFailure] = dict(self._store.lookup(keys))
            stored_keys = frozenset(outcomes)
            num_from_store = sum(key in stored_keys for key in keys)
            # Equal questions of one session are asked once.
            missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in outcomes}
            num_shared = 0

            def tell() -> None:
                found = [outcomes[key] for key in keys if key in outcomes]
                num_failed = sum(isinstance(outcome, RatingFailure) for outcome in found)
                report(len(found) - num_failed, num_failed, num_from_store, num_shared)

            tell()
            async for answers in self._answers(missing):
                await asyncio.to_thread(self._write, missing, [answer.outcome for answer in answers])
                outcomes |= {answer.outcome.key: answer.outcome for answer in answers}
                num_shared += sum(answer.shared for answer in answers)
                tell()
            ordered = [outcomes[key] for key in keys]
            return SessionAnswers(ordered, num_from_store, time.monotonic() - started, num_shared, stored_keys)

    async def _ask_again(self, questions: list[Question]) -> list[Rating | RatingFailure]:
        async with self._in_turn:
            # The front remembers answers by key, and would give the old one again.
            keys = [f"{self.key(question.request)}{AGAIN}{uuid4().hex}" for question in questions]
            outcomes: dict[str, Rating | RatingFailure] = {}
            async for answers in self._answers(dict(zip(keys, questions, strict=True))):
                outcomes |= {answer.outcome.key: answer.outcome for answer in answers}
            return [outcomes[key] for key in keys]

    async def _answers(self, missing: dict[str, Question]) -> AsyncIterator[list[Delivery]]:
        """Yield lists of answers to `missing`, each to be written at once."""
        waiting = dict(missing)
        if waiting:
            # A shared server's front may have been replaced since the last session.
            await self._meet()
        while waiting:
            try:
                # A client for each session: between two it would be silent for longer than the front is patient.
                client = await self._front.join(self._run, self._settings.server_weight)
                async for answers in self._take_all(client, waiting):
                    yield answers
            except (FrontLost, UnknownClient):
                # What it had is lost; what was taken is not asked again.
                await self._meet_again()

    async def _take_all(self, client: str, waiting: dict[str, Question]) -> AsyncIterator[list[Delivery]]:
        """Ask what is `waiting`, and yield answers as they come; what was taken is removed."""
        sending = asyncio.create_task(self._send(client, waiting))
        ready: list[Delivery] = []
        flushed = time.monotonic()
        try:
            while waiting:
                try:
                    arrived = await self._front.take(client, FLUSH_S)
                    if sending.done():
                        sending.result()
                except (FrontLost, UnknownClient):
                    if ready:
                        yield ready
                    raise
                ready += [answer for answer in arrived if waiting.pop(answer.outcome.key, None) is not None]
                if ready and (len(ready) >= FLUSH_ANSWERS or time.monotonic() - flushed > FLUSH_S or not waiting):
                    yield ready
                    ready, flushed = [], time.monotonic()
        finally:
            sending.cancel()
            with suppress(FrontLost):
                await self._front.leave(client)

    async def _send(self, client: str, questions: dict[str, Question]) -> None:
        pairs = [(key, question.request) for key, question in questions.items()]
        for start in range(0, len(pairs), SUBMIT_QUESTIONS):
            await self._front.submit(client, pairs[start : start + SUBMIT_QUESTIONS])

    async def _meet_again(self) -> None:
        """After the front was lost: give it a moment first."""
        await asyncio.sleep(REJOIN_S)
        await self._meet()

    async def _meet(self) -> None:
        """Make sure that the front is there, and that the same weights answer."""
        try:
            identity = await self._start()
        except TimeoutError:
            raise RatingsFailing(
                "the rating server was lost and did not come back within rater.start_timeout_s = "
                f"{self._settings.start_timeout_s:g} s; give the same command again once it is there"
            ) from None
        if identity != self._identity:
            raise SettingsError(
                f"the rating server came back with other weights: {identity.model} {identity.revision} in place of "
                f"{self._identity.model} {self._identity.revision}; give it the model it had, and start again"
            )

    def _write(self, questions: dict[str, Question], answered: list[Rating | RatingFailure]) -> None:
        assert self._identity is not None
        ratings = [(questions[a.key], a) for a in answered if isinstance(a, Rating)]
        failures = [(questions[a.key], a) for a in answered if isinstance(a, RatingFailure)]
        with disk_errors_told(self._store.folder):
            if ratings:
                self._store.append(ratings, self._identity, self._sampling, self._run)
            if failures:
                self._store.append_failures(failures, self._identity, self._sampling, self._run)
