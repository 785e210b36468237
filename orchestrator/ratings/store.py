"""The rating store: every answer with its provenance, and every picture once, in Parquet. See docs/rating_store.md.

Several runs may share a store and write at once. A failed question has a table of its own and is never among ratings.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algorithms.ratings import RaterIdentity, Rating, RatingFailure, Sampling
from orchestrator.ratings.question import Question
from orchestrator.ratings.schema import (
    FAILURES,
    IMAGES,
    RATING_COLUMNS,
    RATINGS,
    SCHEMA_VERSION,
    StoredRating,
    failure_row,
    image_hash,
    image_row,
    now,
    rating_of,
    rating_row,
    stored_rating,
)
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.parquet_parts import PartsTable

log = logging.getLogger(__name__)


@dataclass
class StoreCounts:
    """What a store holds."""

    images: int = 0
    levels: dict[tuple[str, tuple[str, ...]], list[int]] = field(default_factory=dict)
    """Instruction and words of the scale, to the number of ratings of each level, worst first."""
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Model and revision, to the number of ratings."""
    runs: Counter[str] = field(default_factory=Counter)
    """Run that asked, to the number of ratings."""
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Instruction and cause, to the number of failed questions."""

    @property
    def ratings(self) -> int:
        """Ratings in all."""
        return sum(self.models.values())


class RatingStore:
    """A folder with three tables: `images`, `ratings` and `failures`. Methods may be called from several threads."""

    def __init__(self, folder: Path | RemotePath) -> None:
        """Open the store in `folder`; the folder is made by the first rating. Raises StoreVersionError if too new."""
        self.folder = folder
        self._images = PartsTable(self.folder / "images", "images", IMAGES, "sha256", SCHEMA_VERSION)
        self._ratings = PartsTable(self.folder / "ratings", "ratings", RATINGS, "key", SCHEMA_VERSION)
        self._failures = PartsTable(self.folder / "failures", "failures", FAILURES, "failure_id", SCHEMA_VERSION)
        self._lock = threading.RLock()
        for table in (self._images, self._ratings, self._failures):
            table.refresh()

    def __len__(self) -> int:
        """Ratings known at the last look."""
        return len(self._ratings)

    def lookup(self, keys: Iterable[str]) -> dict[str, Rating]:
        """The ratings that the store holds among `keys`, those of other processes included."""
        with self._lock:
            rows = self._ratings.read(keys, RATING_COLUMNS)
        return {key: rating_of(row) for key, row in rows.items()}

    def append(
        self, answers: Sequence[tuple[Question, Rating]], identity: RaterIdentity, sampling: Sampling, run: str
    ) -> None:
        """Write ratings and the pictures that are new; they are on disk when this returns.

        A key that the store holds already keeps its first rating. Raises TypeError if an answer is no Rating.
        """
        asked_at = now()
        rows: dict[str, dict[str, Any]] = {}
        for question, rating in answers:
            row = rating_row(question, rating, identity, sampling, run, asked_at)
            rows.setdefault(row["key"], row)
        pngs = {image_hash(png): png for question, _ in answers for png in (*question.request.images, *question.frames)}
        with self._lock:
            self._images.refresh()
            self._ratings.refresh()
            # Pictures first: a rating whose picture is missing would be of no use after a kill.
            self._images.append([image_row(png) for name, png in pngs.items() if name not in self._images])
            self._ratings.append([row for key, row in rows.items() if key not in self._ratings])

    def append_failures(
        self,
        failures: Sequence[tuple[Question, RatingFailure]],
        identity: RaterIdentity,
        sampling: Sampling,
        run: str,
    ) -> None:
        """Write failed questions, without their pictures. Raises TypeError if one is no RatingFailure."""
        if any(not isinstance(failure, RatingFailure) for _, failure in failures):
            raise TypeError("append_failures takes failures only; ratings go to append")
        asked_at = now()
        with self._lock:
            self._failures.append(
                [failure_row(question, failure, identity, sampling, run, asked_at) for question, failure in failures]
            )

    def images(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """PNG files by SHA-256 of their bytes; those that the store does not hold are left out."""
        with self._lock:
            return {name: row["png"] for name, row in self._images.read(hashes, ["png"]).items()}

    def frames(self, keys: Sequence[str]) -> list[tuple[bytes, ...]]:
        """PNG files of each rated segment's frames, in the order of `keys`.

        Raises LookupError if a rating or a frame is not in the store, which happens only when parts were deleted or
        damaged.
        """
        frames = self.frames_left(keys)
        lost = [key for key in keys if key not in frames]
        if lost:
            raise LookupError(
                f"{len(lost)} of {len(keys)} rated segments have lost their frames in the store {self.folder}, the "
                f"first with key {lost[0][:12]}: parts were deleted or damaged. Put the store back from a copy, or "
                "give the same command again: the run then goes on without them"
            )
        return [frames[key] for key in keys]

    def frames_left(self, keys: Sequence[str]) -> dict[str, tuple[bytes, ...]]:
        """PNG files of each rated segment's frames by key; segments that have lost one are left out."""
        with self._lock:
            rows = self._ratings.read(keys, ["frames"])
            pngs = self.images({name for row in rows.values() for name in row["frames"]})
        return {
            key: tuple(pngs[name] for name in row["frames"])
            for key, row in rows.items()
            if all(name in pngs for name in row["frames"])
        }

    def load(self, keys: Sequence[str]) -> list[StoredRating]:
        """Whole rows with their pictures, in the order of `keys`. What is lost is left out with a warning."""
        with self._lock:
            rows = self._ratings.read(keys)
            names = {name for row in rows.values() for name in (*row["images"], *row["frames"])}
            pngs = self.images(names)
        whole = [
            stored_rating(rows[key], pngs)
            for key in keys
            if key in rows and all(name in pngs for name in (*rows[key]["images"], *rows[key]["frames"]))
        ]
        if len(whole) < len(keys):
            lost = len(keys) - len(whole)
            log.warning("%d of %d ratings or their pictures are not in the store %s", lost, len(keys), self.folder)
        return whole

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every rating once, as a row without pictures, in the order of writing."""
        return self._scan(self._ratings, columns)

    def failures(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every failed question, in the order of writing."""
        return self._scan(self._failures, columns)

    def _scan(self, table: PartsTable, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        parts = table.scan(columns)
        while True:
            # Held for a part at a time, so that a slow reader does not keep other threads from writing.
            with self._lock:
                rows = next(parts, None)
            if rows is None:
                return
            yield from rows

    def counts(self) -> StoreCounts:
        """Count everything."""
        counts = StoreCounts()
        with self._lock:
            self._images.refresh()
            counts.images = len(self._images)
        for row in self.rows(["instruction", "words", "rating", "model", "revision", "run"]):
            levels = counts.levels.setdefault((row["instruction"], tuple(row["words"])), [0] * len(row["words"]))
            levels[row["rating"]] += 1
            counts.models[row["model"], row["revision"]] += 1
            counts.runs[row["run"]] += 1
        for row in self.failures(["instruction", "cause"]):
            counts.failures[row["instruction"], row["cause"]] += 1
        return counts

    def compact(self) -> dict[str, tuple[int, int]]:
        """Merge small parts; number of parts before and after, by table. Runs may go on meanwhile."""
        with self._lock:
            tables = {"images": self._images, "ratings": self._ratings, "failures": self._failures}
            return {name: table.compact() for name, table in tables.items()}
