"""The rating store: every answer with its provenance, and every picture once, in Parquet. See docs/rating_store.md.

Several runs may share a store and write at once. A failed question has a table of its own and is never among ratings.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algorithms.ratings import RaterIdentity, Rating, RatingFailure, Sampling
from orchestrator.ratings.answer_store import AnswerStore
from orchestrator.ratings.columns import asked_now, image_hash
from orchestrator.ratings.question import Question
from orchestrator.ratings.schema import (
    FAILURES,
    IMAGES,
    RATING_CHECK,
    RATING_COLUMNS,
    RATINGS,
    SCHEMA_VERSION,
    StoredRating,
    image_row,
    question_columns,
    rating_columns,
    rating_of,
    stored_rating,
)
from orchestrator.storage.locations import RemotePath

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


class RatingStore(AnswerStore):
    """A folder with three tables: `images`, `ratings` and `failures`."""

    def __init__(self, folder: Path | RemotePath) -> None:
        """Open the store in `folder`; the folder is made by the first rating. Raises StoreVersionError if too new."""
        super().__init__(folder, ("ratings", RATINGS), ("failures", FAILURES), SCHEMA_VERSION, RATING_CHECK)
        self._images = self._open("images", IMAGES, "sha256")
        self._tables = [self._images, *self._tables]

    def lookup(self, keys: Iterable[str]) -> dict[str, Rating]:
        """The ratings that the store holds among `keys`, those of other processes included."""
        return {key: rating_of(row) for key, row in self._read(keys, RATING_COLUMNS).items()}

    def columns_of(self, keys: Iterable[str], columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """These columns of the ratings that the store holds among `keys`, by key."""
        return self._read(keys, columns)

    def append(
        self, answers: Sequence[tuple[Question, Rating]], identity: RaterIdentity, sampling: Sampling, run: str
    ) -> None:
        """Write ratings and the pictures that are new; they are on disk when this returns.

        A key that the store holds already keeps its first rating. Raises TypeError if an answer is no Rating.
        """
        asked = {**asked_now(identity, sampling), "run": run}
        rows = [{**rating_columns(question, one), **question_columns(question), **asked} for question, one in answers]
        pngs = {image_hash(png): png for question, _ in answers for png in (*question.request.images, *question.frames)}
        with self._lock:
            # Pictures first: a rating whose picture is missing would be of no use after a kill.
            self._images.refresh()
            self._images.append([image_row(png) for name, png in pngs.items() if name not in self._images])
            self._append(rows)

    def append_failures(
        self,
        failures: Sequence[tuple[Question, RatingFailure]],
        identity: RaterIdentity,
        sampling: Sampling,
        run: str,
    ) -> None:
        """Write failed questions, without their pictures. Raises TypeError if one is no RatingFailure."""
        asked = {**asked_now(identity, sampling), "run": run}
        self._append_failures([({**question_columns(question), **asked}, failure) for question, failure in failures])

    def images(self, hashes: Iterable[str]) -> dict[str, bytes]:
        """PNG files by SHA-256 of their bytes; those that the store does not hold are left out."""
        with self._lock:
            found = {name: row["png"] for name, row in self._images.read(hashes, ["png"]).items()}
        other = [name for name, png in found.items() if image_hash(png) != name]
        if other:
            log.warning(
                "%d pictures of %s are not those that their names stand for, such as %s: left out",
                len(other), self.folder, other[0][:12],
            )  # fmt: skip
        return {name: png for name, png in found.items() if name not in other}

    def held_images(self, hashes: Iterable[str]) -> set[str]:
        """Those of these pictures that the store holds; none is read."""
        with self._lock:
            self._images.refresh()
            return {name for name in hashes if name in self._images}

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
            rows = self._read(keys, ["frames"])
            pngs = self.images({name for row in rows.values() for name in row["frames"]})
        return {
            key: tuple(pngs[name] for name in row["frames"])
            for key, row in rows.items()
            if all(name in pngs for name in row["frames"])
        }

    def load(self, keys: Sequence[str]) -> list[StoredRating]:
        """Whole rows with their pictures, in the order of `keys`. What is lost is left out with a warning."""
        with self._lock:
            rows = self._read(keys)
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
