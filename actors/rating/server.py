"""The rating server: questions in, ratings or failures out. A plain class, to be run as it is or as a Ray actor."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from actors.rating.answer_box import AnswerBox
from actors.rating.asking import (
    AGAIN,
    Answer,
    Completion,
    PromptQuestion,
    Question,
    Request,
    question_about,
    request_key,
)
from actors.rating.backend import Backend, Needs, RaterError, ServerError, TransientError
from actors.rating.settings import RaterSettings
from actors.rating.statistics import StatisticsRecorder
from algorithms.prompts import Prompt
from algorithms.ratings import RaterIdentity, RatingFailure

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 10.0
"""Pauses between attempts double up to this."""


def make_backend(settings: RaterSettings) -> Backend:
    """The backend that the settings ask for: a client of `rater.endpoint`, or an engine of our own."""
    if settings.endpoint is not None:
        from actors.rating.endpoint.client import EndpointBackend

        return EndpointBackend(settings)
    from actors.rating.engine.host import EngineHost
    from actors.rating.supervisor import SupervisedBackend

    return SupervisedBackend(EngineHost(settings), settings.stall_timeout_s, settings.start_timeout_s)


class RatingServer:
    """Rates what it is shown, many questions at once.

    A question takes up to `max_attempts` attempts within `deadline_s`, which runs from when the question gets one of
    the `max_in_flight` places. What has no usable answer then is a RatingFailure, never a Rating.

    `backend` replaces the one that the settings ask for; `first_pause_s` is the pause before the second attempt.
    """

    def __init__(self, settings: RaterSettings, backend: Backend | None = None, first_pause_s: float = 0.5) -> None:
        self._settings = settings
        self._backend = backend or make_backend(settings)
        self._first_pause_s = first_pause_s
        self._identity: RaterIdentity | None = None
        self._starting: asyncio.Task[None] | None = None
        self._loads_when_asked = settings.start == "when_asked"
        self._places = asyncio.Semaphore(settings.max_in_flight)
        self._recorder = StatisticsRecorder()
        self._asked_by = ""
        self._box: AnswerBox[Answer | RatingFailure] = AnswerBox()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load and warm up what answers, unless that is left for the first question. Later calls return at once.

        Raises ValueError if the model does not fit, or whatever else keeps it from starting.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        starting = self._starting
        try:
            await asyncio.shield(starting)
        except BaseException:
            # The next call tries again, unless it was only this caller who gave up waiting.
            if starting.done() and self._starting is starting:
                self._starting = None
            raise

    async def check(self, needs: Needs) -> str:
        """One line about what a run with these needs relies on; empty for an engine of our own. Starts the server.

        Raises Refused, with the remedy, if what answers can not meet them, and ServerError if it does not answer.
        """
        await self.start()
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                async for attempt in self._attempts():
                    with attempt:
                        return await self._backend.check(needs)
        except TimeoutError:
            raise ServerError(
                f"{self._settings.endpoint or self._settings.model} gave no answer to a first small question within "
                f"rater.deadline_s = {self._settings.deadline_s:g} s"
            ) from None
        raise AssertionError("tenacity ends by an answer or an error")

    async def rate(self, requests: Sequence[Request]) -> list[Answer | RatingFailure]:
        """Rate all, in the order of the requests. Starts the server if that was not done."""
        return list(await asyncio.gather(*(self.rate_one(request) for request in requests)))

    async def rate_each(self, requests: Sequence[Request]) -> AsyncIterator[tuple[int, Answer | RatingFailure]]:
        """Yield (index of the request, outcome) as answers come, so that each can be stored at once."""

        async def numbered(index: int) -> tuple[int, Answer | RatingFailure]:
            return index, await self.rate_one(requests[index])

        tasks = [asyncio.create_task(numbered(index)) for index in range(len(requests))]
        try:
            for next_done in asyncio.as_completed(tasks):
                yield await next_done
        finally:
            for task in tasks:
                task.cancel()

    async def submit(self, front: str, questions: Sequence[tuple[str, Request]]) -> None:
        """Rate (key, request) pairs in the background, for `front` to `take`.

        One front at a time: what an earlier one has not taken is dropped, for nobody would ask for it.
        """
        box = self._box_of(front)
        for key, request in questions:
            task = asyncio.create_task(self._rate_into(box, key, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def take(self, front: str, timeout_s: float) -> list[Answer | RatingFailure]:
        """Answers to what `front` submitted, in no order; none after `timeout_s`."""
        return await self._box_of(front).take(timeout_s)

    async def rate_one(self, request: Request) -> Answer | RatingFailure:
        """Rate one segment, or score one window's actions."""
        await self.start()
        key = request_key(request, await self.identity(), self._settings.sampling)
        return await self._in_a_place(question_about(request, key))

    async def complete(
        self, prompt: Prompt, images: tuple[bytes, ...], choices: tuple[str, ...]
    ) -> Completion | RatingFailure:
        """Answer a prompt that somebody else wrote, with choices by one of them."""
        await self.start()
        return await self._in_a_place(PromptQuestion("", prompt, images, choices))

    async def identity(self) -> RaterIdentity:
        """Which weights answer, or will. Starts the server if that was not done."""
        await self.start()
        assert self._identity is not None
        return self._identity

    async def statistics(self) -> dict[str, Any]:
        """Counters since the server was made: `RatingStatistics` as a dictionary."""
        return self._recorder.read(self._backend.restarts).as_dict()

    async def shutdown(self) -> None:
        """Give everything back, the engine's processes included."""
        await self._backend.close()

    async def _start(self) -> None:
        if not self._loads_when_asked:
            await self._backend.start()
        # Naming local weights reads them whole.
        self._identity = await asyncio.to_thread(self._backend.identity)

    def _box_of(self, front: str) -> AnswerBox[Answer | RatingFailure]:
        if self._asked_by != front:
            self._asked_by, self._box = front, AnswerBox()
        return self._box

    async def _rate_into(self, box: AnswerBox[Answer | RatingFailure], key: str, request: Request) -> None:
        try:
            outcome = await self.rate_one(request)
            if outcome.key == key.partition(AGAIN)[0]:
                outcome = replace(outcome, key=key)
            else:
                detail = (
                    f"versions differ: the rating server calls this question {outcome.key[:12]}, the run {key[:12]}"
                )
                outcome = RatingFailure(key, "refused", detail, 1)
        except Exception as error:  # noqa: BLE001 - an engine that cannot be started fails in many ways
            outcome = RatingFailure(key, "engine_dead", f"{type(error).__name__}: {error}", 1)
        box.put(outcome)

    async def _in_a_place(self, question: Question) -> Any:
        """Ask once there is room. What it brings is an answer to this kind of question, or a RatingFailure.

        Raises what keeps a model from loading that waited for its first question.
        """
        if self._loads_when_asked:
            # Before the question's own time begins.
            await self._backend.start()
            self._loads_when_asked = False
        async with self._places:
            outcome = None
            self._recorder.begin()
            try:
                outcome = await self._ask_within_deadline(question)
            finally:
                self._recorder.end(outcome)
            return outcome

    async def _ask_within_deadline(self, question: Question) -> Answer | Completion | RatingFailure:
        deadline = asyncio.timeout(self._settings.deadline_s)
        try:
            async with deadline:
                return await self._ask_with_retries(question)
        except TimeoutError as error:
            if not deadline.expired():
                return _unexpected(question, error)
            last = f"; before that: {question.last_error}" if question.last_error else ""
            return question.failure("timeout", f"no answer within deadline_s = {self._settings.deadline_s:g} s{last}")
        except RaterError as error:
            return question.failure(error.cause, str(error))
        except Exception as error:  # noqa: BLE001 - one question's fault must not take the others' answers with it
            return _unexpected(question, error)

    def _attempts(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self._settings.max_attempts),
            wait=wait_exponential_jitter(
                multiplier=self._first_pause_s, max=LONGEST_PAUSE_S, jitter=self._first_pause_s
            ),
            reraise=True,
        )

    async def _ask_with_retries(self, question: Question) -> Answer | Completion:
        async for attempt in self._attempts():
            with attempt:
                question.attempts += 1
                try:
                    return await question.attempt(self._backend)
                except TransientError as error:
                    question.last_error = str(error)
                    raise
        raise AssertionError("tenacity ends by an answer or an error")


def _unexpected(question: Question, error: Exception) -> RatingFailure:
    log.error("unexpected error while rating", exc_info=error)
    return question.failure("server_error", f"unexpected {type(error).__name__}: {error}")
