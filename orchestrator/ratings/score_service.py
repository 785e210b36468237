"""Asking about a stream of windows: the store first, then the rating server; each answer is stored before it counts."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from actors.rating.asking import request_key
from actors.rating.backend import Needs
from actors.rating.front import UnknownClient
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity, RatingFailure
from algorithms.scores import Scores
from orchestrator.errors import disk_errors_told
from orchestrator.ratings.replicas import Front, FrontLost
from orchestrator.ratings.score_store import AskedWindow, ScoreStore
from orchestrator.ratings.service import FLUSH_ANSWERS, FLUSH_S, SUBMIT_QUESTIONS, RatingService

T = TypeVar("T")
SHORT_S = 0.1
"""While windows are still being made, answers are waited for so long before looking at those again."""
SPARE = 2
"""So many times what the engines work on at once is under way, so that they never wait for the next."""


@dataclass(frozen=True)
class WindowAnswer:
    """What came of one window. `tag` is what the asker gave it."""

    tag: Any
    outcome: Scores | RatingFailure
    from_store: bool


class ScoreService(RatingService):
    """As `RatingService`, for windows of actions, which come in a stream and are answered in any order.

    However many windows there are, a bounded number of them is in memory.
    """

    def __init__(
        self,
        store: ScoreStore,
        servers: "Sequence[Any] | Front",
        settings: RaterSettings,
        name: str,
        needs: Needs | None = None,
    ) -> None:
        super().__init__(store, servers, settings, name, needs)  # type: ignore[arg-type]
        self._scores = store
        self._max_open = SPARE * settings.max_in_flight * settings.num_replicas
        self._client = ""
        """What the front knows the stream under way by."""

    def stream(self, windows: Iterable[tuple[Any, AskedWindow] | None]) -> Iterator[WindowAnswer]:
        """Answers to pairs of a tag and a window, as they come. Raises DiskFailing if the store cannot be written.

        None among `windows` says that no window is there yet: meanwhile answers are taken and stored.
        """
        source = iter(windows)
        under_way = _UnderWay()
        self._do(self._join())
        exhausted = False
        while not exhausted or under_way.windows:
            room = self._max_open - under_way.num
            batch: list[tuple[Any, AskedWindow]] = []
            if room > 0 and not exhausted:
                batch, exhausted = _take(source, min(room, SUBMIT_QUESTIONS))
            yield from self._begin(batch, under_way)
            if under_way.windows:
                can_read_on = room > 0 and not exhausted
                yield from self._collect(under_way, 0.0 if batch else SHORT_S if can_read_on else FLUSH_S)
        # A stream that is broken off does not come here: the front forgets a client that stays silent.
        with suppress(FrontLost):
            self._do(self._front.leave(self._client))

    # ------------------------------------------------------------------------------------------- in the caller's thread

    def _begin(self, batch: list[tuple[Any, AskedWindow]], under_way: "_UnderWay") -> Iterator[WindowAnswer]:
        keys = [self._score_key(window) for _, window in batch]
        known = self._scores.lookup(keys)
        new: list[str] = []
        for key, (tag, window) in zip(keys, batch, strict=True):
            if key in known:
                yield WindowAnswer(tag, known[key], from_store=True)
            elif under_way.add(key, tag, window):
                new.append(key)
        if new:
            self._submit(new, under_way)

    def _submit(self, keys: list[str], under_way: "_UnderWay") -> None:
        pairs = [(key, under_way.windows[key].request) for key in keys]
        try:
            self._do(self._front.submit(self._client, pairs))
        except (FrontLost, UnknownClient):
            self._ask_again(under_way)

    def _collect(self, under_way: "_UnderWay", timeout_s: float) -> Iterator[WindowAnswer]:
        try:
            arrived = self._do(self._front.take(self._client, timeout_s))
        except (FrontLost, UnknownClient):
            self._ask_again(under_way)
            return
        under_way.ready += [a.outcome for a in arrived if a.outcome.key in under_way.windows]
        is_late = time.monotonic() - under_way.flushed_at > FLUSH_S
        if len(under_way.ready) >= FLUSH_ANSWERS or is_late or len(under_way.ready) == len(under_way.windows):
            yield from self._flush(under_way)

    def _flush(self, under_way: "_UnderWay") -> Iterator[WindowAnswer]:
        under_way.flushed_at = time.monotonic()
        # The same answer may come twice where a server was lost in between.
        ready = {outcome.key: outcome for outcome in under_way.ready}
        under_way.ready = []
        identity = self._known_identity()
        answers = [(under_way.windows[key], a) for key, a in ready.items() if isinstance(a, Scores)]
        failures = [(under_way.windows[key], a) for key, a in ready.items() if isinstance(a, RatingFailure)]
        with disk_errors_told(self._scores.folder):
            if answers:
                self._scores.append(answers, identity, self._sampling)
            if failures:
                self._scores.append_failures(failures, identity, self._sampling)
        for key, outcome in ready.items():
            for place, tag in enumerate(under_way.pop(key)):
                yield WindowAnswer(tag, outcome, from_store=place > 0)

    def _ask_again(self, under_way: "_UnderWay") -> None:
        """After the server's front was lost: join anew, and ask all that has no answer."""
        self._do(self._meet_again())
        self._do(self._join())
        answered = {outcome.key for outcome in under_way.ready}
        self._submit([key for key in under_way.windows if key not in answered], under_way)

    async def _join(self) -> None:
        while True:
            try:
                self._client = await self._front.join(self._run, self._settings.server_weight)
                return
            except FrontLost:
                await self._meet_again()

    def _score_key(self, window: AskedWindow) -> str:
        return request_key(window.request, self._known_identity(), self._sampling)

    def _known_identity(self) -> RaterIdentity:
        if self._identity is None:
            raise RuntimeError("start() the service first: a key names the weights that answer")
        return self._identity

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class _UnderWay:
    """Windows that are asked and not yet answered, each key once."""

    def __init__(self) -> None:
        self.windows: dict[str, AskedWindow] = {}
        self.ready: list[Scores | RatingFailure] = []
        self.flushed_at = time.monotonic()
        self._tags: dict[str, list[Any]] = {}

    @property
    def num(self) -> int:
        """Windows that wait, those with equal keys each counted."""
        return sum(map(len, self._tags.values()))

    def add(self, key: str, tag: Any, window: AskedWindow) -> bool:
        """Remember a window; True if its key is new."""
        self._tags.setdefault(key, []).append(tag)
        return self.windows.setdefault(key, window) is window

    def pop(self, key: str) -> list[Any]:
        """Forget a key; the tags of those who wanted it."""
        del self.windows[key]
        return self._tags.pop(key)


def _take(source: Iterator[T | None], number: int) -> tuple[list[T], bool]:
    """Up to `number` items, fewer if None comes; and whether the source has no more."""
    batch: list[T] = []
    for item in source:
        if item is None:
            return batch, False
        batch.append(item)
        if len(batch) == number:
            return batch, False
    return batch, True
