"""What a rating server counts."""

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

from actors.rating.asking import Answer, Completion
from algorithms.ratings import RatingFailure

LATENCY_WINDOW = 10_000
"""Latest answers that the latency percentiles are taken over."""


@dataclass(frozen=True)
class RatingStatistics:
    """A server's counters since it was made."""

    num_rated: int
    num_failed: int
    failures: dict[str, int]
    """Failed questions by cause."""
    num_in_flight: int
    ratings_per_s: float
    """Ratings per second of work, that is of time with a question in flight."""
    prompt_tokens: int
    completion_tokens: int
    latency_p50_s: float
    """Median time to an answer, waiting for a free place not counted; 0 before the first answer."""
    latency_p95_s: float
    num_restarts: int
    """Times that the engine had to be started again."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON and for metrics."""
        return asdict(self)


class StatisticsRecorder:
    """Counts outcomes, and the time during which there was something to do."""

    def __init__(self) -> None:
        self._num_rated = 0
        self._failures: Counter[str] = Counter()
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._latencies_s: deque[float] = deque(maxlen=LATENCY_WINDOW)
        self._num_in_flight = 0
        self._busy_s = 0.0
        self._busy_since = 0.0

    def begin(self) -> None:
        """A question is taken up."""
        if self._num_in_flight == 0:
            self._busy_since = time.perf_counter()
        self._num_in_flight += 1

    def end(self, outcome: Answer | Completion | RatingFailure | None) -> None:
        """It is answered, has failed, or (None) was dropped by whoever asked."""
        self._num_in_flight -= 1
        if self._num_in_flight == 0:
            self._busy_s += time.perf_counter() - self._busy_since
        if isinstance(outcome, RatingFailure):
            self._failures[outcome.cause] += 1
        elif outcome is not None:
            self._num_rated += 1
            self._prompt_tokens += outcome.prompt_tokens
            self._completion_tokens += outcome.completion_tokens
            self._latencies_s.append(outcome.latency_s)

    def read(self, num_restarts: int) -> RatingStatistics:
        """The counters now."""
        busy_s = self._busy_s + (time.perf_counter() - self._busy_since if self._num_in_flight else 0.0)
        return RatingStatistics(
            num_rated=self._num_rated,
            num_failed=self._failures.total(),
            failures=dict(self._failures),
            num_in_flight=self._num_in_flight,
            ratings_per_s=self._num_rated / busy_s if busy_s else 0.0,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            latency_p50_s=percentile(self._latencies_s, 0.50),
            latency_p95_s=percentile(self._latencies_s, 0.95),
            num_restarts=num_restarts,
        )


def percentile(values: "deque[float] | list[float]", share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0
