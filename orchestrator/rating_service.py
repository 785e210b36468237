"""Asking: the store first, then the rating servers; every answer is on disk before the run hears of it."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import ray
from ray.exceptions import RayActorError

from actors.rating.settings import RaterSettings
from algorithms.prompts import PROMPT_VERSION
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, rating_key
from orchestrator.errors import SettingsError
from orchestrator.questions import Question
from orchestrator.rating_store import RatingStore

FLUSH_ANSWERS = 32
"""Answers written as one part of the store."""
FLUSH_S = 1.0
"""Seconds that an answer waits for its part at most."""

Report = Callable[[int, int, int], None]
"""Called with the numbers answered, failed and found in the store so far in a session."""


@dataclass(frozen=True)
class SessionAnswers:
    """What a feedback session brought, in the order of its questions."""

    outcomes: list[Rating | RatingFailure]
    num_from_store: int
    duration_s: float

    @property
    def num_failed(self) -> int:
        """Questions without an answer."""
        return sum(isinstance(outcome, RatingFailure) for outcome in self.outcomes)


class RatingService:
    """Gets ratings for a run: from the store where the same question was answered before, else from the servers.

    `servers` are handles of `RatingServer` actors. Answers are appended to the store as they arrive, so a run that is
    killed loses at most those of the last second, and asks none of the others again.
    """

    def __init__(self, store: RatingStore, servers: Sequence[Any], settings: RaterSettings, run: str) -> None:
        self._store = store
        self._servers = list(servers)
        self._settings = settings
        self._run = run
        self._sampling = settings.sampling
        self._starting: list[Any] = []
        self._identity: RaterIdentity | None = None
        # One thread: sessions are answered in the order in which they were asked.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ratings")

    def begin_start(self) -> None:
        """Let the servers load their model, and return at once."""
        self._starting = [server.start.remote() for server in self._servers]

    def finish_start(self) -> RaterIdentity:
        """Wait until every server is up. Raises SettingsError with what keeps one from starting."""
        try:
            ray.get(self._starting, timeout=self._settings.start_timeout_s)
        except ray.exceptions.GetTimeoutError:
            raise SettingsError(
                f"the rating server was not ready after rater.start_timeout_s = {self._settings.start_timeout_s:g} s; "
                "a large model on a slow disk may need more"
            ) from None
        except ray.exceptions.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            raise SettingsError(f"the rating server did not start: {cause}") from cause
        self._identity = ray.get(self._servers[0].identity.remote())
        return self._identity

    def key(self, request: RatingRequest) -> str:
        """The key of a request under this rater's weights and sampling."""
        if self._identity is None:
            raise RuntimeError("start() the service first: a key names the weights that answer")
        return rating_key(request, self._identity, self._sampling, PROMPT_VERSION)

    def ask(self, questions: Sequence[Question], report: Report | None = None) -> "Future[SessionAnswers]":
        """Ask in the background. The future holds the answers once all are in the store."""
        return self._thread.submit(self._ask, list(questions), report or (lambda *_: None))

    def statistics(self) -> list[dict[str, Any]]:
        """Each server's counters."""
        return ray.get([server.statistics.remote() for server in self._servers])

    def close(self) -> None:
        """Stop the engines. Waits for a session in progress."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        stops = [server.shutdown.remote() for server in self._servers]
        ray.wait(stops, num_returns=len(stops), timeout=30.0)

    def _ask(self, questions: list[Question], report: Report) -> SessionAnswers:
        started = time.monotonic()
        keys = [self.key(question.request) for question in questions]
        outcomes: dict[str, Rating | RatingFailure] = dict(self._store.lookup(keys))
        num_from_store = sum(key in outcomes for key in keys)
        # Equal questions of one session are asked once.
        missing = {key: question for key, question in zip(keys, questions, strict=True) if key not in outcomes}
        num_failed = 0
        report(0, 0, num_from_store)
        for answered in self._stream(missing):
            self._write(missing, answered)
            outcomes |= {outcome.key: outcome for outcome in answered}
            num_failed += sum(isinstance(outcome, RatingFailure) for outcome in answered)
            report(len(outcomes) - num_failed, num_failed, num_from_store)
        return SessionAnswers([outcomes[key] for key in keys], num_from_store, time.monotonic() - started)

    def _stream(self, missing: dict[str, Question]):
        """Yield lists of answers to `missing`, each small enough to be written at once."""
        window = 2 * self._settings.max_in_flight * len(self._servers)
        servers = cycle(self._servers)
        waiting = list(reversed(missing.items()))
        running: dict[Any, str] = {}
        ready: list[Rating | RatingFailure] = []
        flushed = time.monotonic()
        while waiting or running:
            while waiting and len(running) < window:
                key, question = waiting.pop()
                running[next(servers).rate.remote([question.request])] = key
            done, _ = ray.wait(list(running), num_returns=1, timeout=FLUSH_S)
            done, _ = ray.wait(list(running), num_returns=len(running), timeout=0) if done else ([], None)
            ready += [_outcome(reference, running.pop(reference)) for reference in done]
            if ready and (len(ready) >= FLUSH_ANSWERS or time.monotonic() - flushed > FLUSH_S):
                yield ready
                ready, flushed = [], time.monotonic()
        if ready:
            yield ready

    def _write(self, questions: dict[str, Question], answered: list[Rating | RatingFailure]) -> None:
        assert self._identity is not None
        ratings = [(questions[a.key], a) for a in answered if isinstance(a, Rating)]
        failures = [(questions[a.key], a) for a in answered if isinstance(a, RatingFailure)]
        if ratings:
            self._store.append(ratings, self._identity, self._sampling, self._run)
        if failures:
            self._store.append_failures(failures, self._identity, self._sampling, self._run)


def _outcome(reference: Any, key: str) -> Rating | RatingFailure:
    """The answer behind a reference, under the key that the run knows it by."""
    try:
        (outcome,) = ray.get(reference)
    except RayActorError as error:
        return RatingFailure(key, "engine_dead", f"the rating server's actor died: {type(error).__name__}", 1)
    if outcome.key != key:
        raise RuntimeError(f"a rating server answered {outcome.key[:12]} to question {key[:12]}: versions differ")
    return outcome
