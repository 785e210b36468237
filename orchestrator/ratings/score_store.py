"""The store's answers about windows of actions: two tables beside those of ratings. See docs/labelling.md.

The guarantees are those of `rating_store`: whole parts only, several writers, equal keys are one row, and failures in a
table of their own.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.rating.asking import prompt_version
from algorithms.progress import ProgressRequest
from algorithms.ratings import RaterIdentity, RatingFailure, Sampling
from algorithms.scores import ScoreRequest, Scores
from orchestrator.ratings.schema import image_hash, now
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.parquet_parts import PartsTable

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning. A store of a newer version is refused."""

_REQUEST_FIELDS = [
    pa.field("images", pa.list_(pa.string()), nullable=False),
    pa.field("prompt_version", pa.string(), nullable=False),
    pa.field("instruction", pa.string(), nullable=False),
    pa.field("actions", pa.list_(pa.string()), nullable=False),
    pa.field("mode", pa.string(), nullable=False),
    pa.field("frame_note", pa.string(), nullable=False),
    pa.field("model", pa.string(), nullable=False),
    pa.field("revision", pa.string(), nullable=False),
    pa.field("temperature", pa.float64(), nullable=False),
    pa.field("max_analysis_tokens", pa.int32(), nullable=False),
    pa.field("seed", pa.int64(), nullable=False),
    pa.field("min_pixels", pa.int64(), nullable=False),
    pa.field("max_pixels", pa.int64(), nullable=False),
    pa.field("precision", pa.string(), nullable=False),
    pa.field("dataset", pa.string(), nullable=False),
    pa.field("episode_id", pa.string(), nullable=False),
    pa.field("first_action", pa.int32(), nullable=False),
    pa.field("asked_at", pa.timestamp("us", tz="UTC"), nullable=False),
]
SCORES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        # One after the other for each action in logits mode; of True and False, of yes and no; else empty.
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("analysis", pa.string(), nullable=False),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("completion_tokens", pa.int32(), nullable=False),
        pa.field("latency_s", pa.float64(), nullable=False),
        *_REQUEST_FIELDS,
    ]
)
SCORE_FAILURES = pa.schema(
    [
        pa.field("failure_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        *_REQUEST_FIELDS,
    ]
)
_ANSWER_COLUMNS = ["scores", "probabilities", "analysis", "prompt_tokens", "completion_tokens", "latency_s"]


@dataclass(frozen=True)
class AskedWindow:
    """A request, and which window of which trajectory it is about; action 0 where it is about the whole."""

    request: ScoreRequest | ProgressRequest
    dataset: str
    episode_id: str
    first_action: int


class ScoreStore:
    """Tables `scores` and `score_failures` in a store's folder. Methods may be called from several threads."""

    def __init__(self, folder: Path | RemotePath) -> None:
        """Open the store in `folder`. Raises StoreVersionError if it is too new."""
        self.folder = folder
        self._scores = PartsTable(self.folder / "scores", "scores", SCORES, "key", SCHEMA_VERSION)
        self._failures = PartsTable(
            self.folder / "score_failures", "score_failures", SCORE_FAILURES, "failure_id", SCHEMA_VERSION
        )
        self._lock = threading.RLock()
        self._scores.refresh()

    def __len__(self) -> int:
        """Answers known at the last look."""
        return len(self._scores)

    def lookup(self, keys: Iterable[str]) -> dict[str, Scores]:
        """The answers that the store holds among `keys`, those of other processes included."""
        with self._lock:
            rows = self._scores.read(keys, _ANSWER_COLUMNS)
        return {key: _scores_of(row) for key, row in rows.items()}

    def append(
        self, answers: Sequence[tuple[AskedWindow, Scores]], identity: RaterIdentity, sampling: Sampling
    ) -> None:
        """Write answers; they are on disk when this returns. A key that is there already keeps its first answer.

        Raises TypeError if one is no Scores.
        """
        asked_at = now()
        rows: dict[str, dict[str, Any]] = {}
        for window, scores in answers:
            if not isinstance(scores, Scores):
                raise TypeError(f"a {type(scores).__name__} is never stored as scores")
            row = {name: getattr(scores, name) for name in _ANSWER_COLUMNS}
            row["probabilities"] = [value for one in scores.probabilities for value in one]
            rows.setdefault(scores.key, {"key": scores.key, **row, **_columns(window, identity, sampling, asked_at)})
        with self._lock:
            self._scores.refresh()
            self._scores.append([row for key, row in rows.items() if key not in self._scores])

    def append_failures(
        self, failures: Sequence[tuple[AskedWindow, RatingFailure]], identity: RaterIdentity, sampling: Sampling
    ) -> None:
        """Write questions that got no answer. Raises TypeError if one is no RatingFailure."""
        if any(not isinstance(failure, RatingFailure) for _, failure in failures):
            raise TypeError("append_failures takes failures only; answers go to append")
        asked_at = now()
        rows = [
            {"failure_id": uuid.uuid4().hex, **asdict(failure), **_columns(window, identity, sampling, asked_at)}
            for window, failure in failures
        ]
        with self._lock:
            self._failures.append(rows)

    def compact(self) -> dict[str, tuple[int, int]]:
        """Merge small parts; number of parts before and after, by table. Labellings may go on meanwhile."""
        with self._lock:
            return {"scores": self._scores.compact(), "score_failures": self._failures.compact()}

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Windows that have scores, by data set, mode and model."""
        found: Counter[tuple[str, str, str]] = Counter()
        for row in self.rows(["dataset", "mode", "model"]):
            found[row["dataset"], row["mode"], row["model"]] += 1
        return dict(found)

    def failure_counts(self) -> dict[tuple[str, str], int]:
        """Questions that failed, by data set and cause."""
        found = Counter((row["dataset"], row["cause"]) for row in self.failures(["dataset", "cause"]))
        return dict(found)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every answer once, in the order of writing."""
        with self._lock:
            for part in self._scores.scan(columns):
                yield from part

    def failures(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every failed question, in the order of writing."""
        with self._lock:
            for part in self._failures.scan(columns):
                yield from part


def _scores_of(row: dict[str, Any]) -> Scores:
    number = len(row["probabilities"]) // max(1, len(row["scores"]))
    flat = row["probabilities"]
    return Scores(
        key=row["key"],
        scores=tuple(row["scores"]),
        probabilities=tuple(tuple(flat[start : start + number]) for start in range(0, len(flat), number or 1)),
        analysis=row["analysis"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        latency_s=row["latency_s"],
    )


def _columns(window: AskedWindow, identity: RaterIdentity, sampling: Sampling, asked_at: Any) -> dict[str, Any]:
    request = window.request
    return {
        "images": [image_hash(png) for png in request.images],
        "prompt_version": prompt_version(request),
        "instruction": request.instruction,
        "actions": list(request.actions),
        "mode": request.mode,
        "frame_note": request.frame_note,
        "model": identity.model,
        "revision": identity.revision,
        **asdict(sampling),
        "dataset": window.dataset,
        "episode_id": window.episode_id,
        "first_action": window.first_action,
        "asked_at": asked_at,
    }
