"""Columns of the rating store, its version, and rows to and from them. docs/rating_store.md explains each column."""

import hashlib
import struct
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from algorithms.prompts import PROMPT_VERSION
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, Sampling, TaskText
from algorithms.scales import RatingScale
from orchestrator.ratings.question import Question

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning. A store of a newer version is refused."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_strings = pa.list_(pa.string())
_REQUEST_FIELDS = [
    pa.field("images", _strings, nullable=False),
    pa.field("frames", _strings, nullable=False),
    pa.field("prompt_version", pa.string(), nullable=False),
    pa.field("instruction", pa.string(), nullable=False),
    pa.field("focus", pa.string(), nullable=False),
    pa.field("words", _strings, nullable=False),
    pa.field("rubric", _strings, nullable=False),
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
    pa.field("env_step", pa.int64(), nullable=False),
    pa.field("success", pa.bool_()),
    pa.field("run", pa.string(), nullable=False),
    pa.field("asked_at", pa.timestamp("us", tz="UTC"), nullable=False),
]

IMAGES = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("png", pa.binary(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)
RATINGS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("rating", pa.int8(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64()), nullable=False),
        pa.field("analysis", pa.string(), nullable=False),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("completion_tokens", pa.int32(), nullable=False),
        pa.field("latency_s", pa.float64(), nullable=False),
        *_REQUEST_FIELDS,
    ]
)
FAILURES = pa.schema(
    [
        pa.field("failure_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        *_REQUEST_FIELDS,
    ]
)


@dataclass(frozen=True)
class StoredRating:
    """A rating with all that is known about how it came to be."""

    rating: Rating
    request: RatingRequest
    frames: tuple[bytes, ...]
    """The segment's frames as PNG files, one by one; the request may show them joined."""
    identity: RaterIdentity
    sampling: Sampling
    prompt_version: str
    env_step: int
    """Environment steps of the run that asked, when it asked."""
    success: bool | None
    """The simulator's success flag: for audits only, never for training."""
    run: str
    asked_at: datetime
    """UTC."""


def image_hash(png: bytes) -> str:
    """SHA-256 of an image's file, in hexadecimal: its name in the store."""
    return hashlib.sha256(png).hexdigest()


def image_row(png: bytes) -> dict[str, Any]:
    """Row of the table of images. Raises ValueError for anything but a PNG file: other formats may lose pixels."""
    if not png.startswith(_PNG_SIGNATURE) or png[12:16] != b"IHDR":
        raise ValueError("an image of the rating store must be a PNG file, because its pixels must not change")
    width, height = struct.unpack(">II", png[16:24])
    return {"sha256": image_hash(png), "png": png, "width": width, "height": height}


def rating_row(
    question: Question, rating: Rating, identity: RaterIdentity, sampling: Sampling, run: str, asked_at: datetime
) -> dict[str, Any]:
    """Row of the table of ratings. Raises TypeError for a failure, and ValueError for a level outside the scale."""
    if not isinstance(rating, Rating):
        raise TypeError(f"a {type(rating).__name__} is never stored as a rating")
    num_ratings = len(question.request.scale)
    if not 0 <= rating.rating < num_ratings or len(rating.probabilities) not in (0, num_ratings):
        raise ValueError(
            f"rating {rating.rating} with {len(rating.probabilities)} probabilities does not fit a scale of "
            f"{num_ratings} levels"
        )
    return {
        "key": rating.key,
        "rating": rating.rating,
        "probabilities": list(rating.probabilities),
        "analysis": rating.analysis,
        "prompt_tokens": rating.prompt_tokens,
        "completion_tokens": rating.completion_tokens,
        "latency_s": rating.latency_s,
        **_request_columns(question, identity, sampling, run, asked_at),
    }


def failure_row(
    question: Question,
    failure: RatingFailure,
    identity: RaterIdentity,
    sampling: Sampling,
    run: str,
    asked_at: datetime,
) -> dict[str, Any]:
    """Row of the table of failures. The same question may fail many times, so each row has an id of its own."""
    return {
        "failure_id": uuid.uuid4().hex,
        "key": failure.key,
        "cause": failure.cause,
        "detail": failure.detail,
        "attempts": failure.attempts,
        **_request_columns(question, identity, sampling, run, asked_at),
    }


def rating_of(row: Mapping[str, Any]) -> Rating:
    """The answer in a row."""
    return Rating(
        key=row["key"],
        rating=row["rating"],
        probabilities=tuple(row["probabilities"]),
        analysis=row["analysis"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        latency_s=row["latency_s"],
    )


RATING_COLUMNS = ["key", "rating", "probabilities", "analysis", "prompt_tokens", "completion_tokens", "latency_s"]
"""What `rating_of` reads."""


def stored_rating(row: Mapping[str, Any], pngs: Mapping[str, bytes]) -> StoredRating:
    """A whole row with its pictures."""
    return StoredRating(
        rating=rating_of(row),
        request=RatingRequest(
            images=tuple(pngs[name] for name in row["images"]),
            task=TaskText(row["instruction"], row["focus"]),
            scale=RatingScale(tuple(row["words"]), tuple(row["rubric"])),
            mode=row["mode"],
            frame_note=row["frame_note"],
        ),
        frames=tuple(pngs[name] for name in row["frames"]),
        identity=RaterIdentity(row["model"], row["revision"]),
        sampling=Sampling(**{part.name: row[part.name] for part in fields(Sampling)}),
        prompt_version=row["prompt_version"],
        env_step=row["env_step"],
        success=row["success"],
        run=row["run"],
        asked_at=row["asked_at"],
    )


def now() -> datetime:
    """The time in UTC, to the microsecond."""
    return datetime.now(UTC)


def _request_columns(
    question: Question, identity: RaterIdentity, sampling: Sampling, run: str, asked_at: datetime
) -> dict[str, Any]:
    """What was asked, of whom and when."""
    request = question.request
    return {
        "images": [image_hash(png) for png in request.images],
        "frames": [image_hash(png) for png in question.frames],
        "prompt_version": PROMPT_VERSION,
        "instruction": request.task.instruction,
        "focus": request.task.focus,
        "words": list(request.scale.words),
        "rubric": list(request.scale.rubric),
        "mode": request.mode,
        "frame_note": request.frame_note,
        "model": identity.model,
        "revision": identity.revision,
        **asdict(sampling),
        "env_step": question.env_step,
        "success": question.success,
        "run": run,
        "asked_at": asked_at,
    }
