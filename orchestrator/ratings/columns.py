"""Columns that tables of answers, and of questions without an answer, share, whatever was asked about."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from algorithms.progress import ProgressRequest
from algorithms.ratings import RaterIdentity, Rating, RatingFailure, RatingRequest, Sampling
from algorithms.scores import ScoreRequest, Scores

STRINGS = pa.list_(pa.string())
TOLERANCE = 1e-3
"""Probabilities are rounded when they are summed, and some are stored with seven digits."""
ANSWER_COLUMNS = ["key", "analysis", "prompt_tokens", "completion_tokens", "latency_s"]
"""Of every kind of answer; they are named as its fields are."""


def required(name: str, kind: pa.DataType) -> pa.Field:
    """A column without nulls."""
    return pa.field(name, kind, nullable=False)


_KEY = required("key", pa.string())


def answer_schema(values: Sequence[pa.Field], question: Sequence[pa.Field]) -> pa.Schema:
    """A table of answers: `values` are what was answered, `question` what `question_fields` gives."""
    return pa.schema(
        [
            _KEY,
            *values,
            required("analysis", pa.string()),
            required("prompt_tokens", pa.int32()),
            required("completion_tokens", pa.int32()),
            required("latency_s", pa.float64()),
            *question,
        ]
    )


def failure_schema(question: Sequence[pa.Field]) -> pa.Schema:
    """The table of questions that got no answer."""
    return pa.schema(
        [
            required("failure_id", pa.string()),
            _KEY,
            required("cause", pa.string()),
            required("detail", pa.string()),
            required("attempts", pa.int32()),
            *question,
        ]
    )


def question_fields(
    *, pictures: Sequence[pa.Field] = (), told: Sequence[pa.Field] = (), place: Sequence[pa.Field] = ()
) -> list[pa.Field]:
    """What was asked, of whom and when. Of one kind of question only are its `pictures` beside those that were shown,
    what the rater was `told` beside the instruction, and the `place` that the question came from."""
    return [
        required("images", STRINGS),
        *pictures,
        required("prompt_version", pa.string()),
        required("instruction", pa.string()),
        *told,
        required("mode", pa.string()),
        required("frame_note", pa.string()),
        required("model", pa.string()),
        required("revision", pa.string()),
        required("temperature", pa.float64()),
        required("max_analysis_tokens", pa.int32()),
        required("seed", pa.int64()),
        required("min_pixels", pa.int64()),
        required("max_pixels", pa.int64()),
        required("precision", pa.string()),
        *place,
        required("asked_at", pa.timestamp("us", tz="UTC")),
    ]


def image_hash(png: bytes) -> str:
    """SHA-256 of an image's file, in hexadecimal: its name in the store."""
    return hashlib.sha256(png).hexdigest()


def answer_columns(answer: Rating | Scores) -> dict[str, Any]:
    """`ANSWER_COLUMNS` of an answer."""
    return {name: getattr(answer, name) for name in ANSWER_COLUMNS}


def answer_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same from a row, as fields of the answer."""
    return {name: row[name] for name in ANSWER_COLUMNS}


def failure_columns(failure: RatingFailure) -> dict[str, Any]:
    """The same question may fail many times, so each row has an id of its own."""
    return {"failure_id": uuid.uuid4().hex, **asdict(failure)}


def request_columns(request: RatingRequest | ScoreRequest | ProgressRequest) -> dict[str, Any]:
    """What every kind of request says under the same name."""
    return {
        "images": [image_hash(png) for png in request.images],
        "mode": request.mode,
        "frame_note": request.frame_note,
    }


def asked_now(identity: RaterIdentity, sampling: Sampling) -> dict[str, Any]:
    """Of whom and how questions were asked, and that it is now, in UTC to the microsecond."""
    return {
        "model": identity.model,
        "revision": identity.revision,
        **asdict(sampling),
        "asked_at": datetime.now(UTC),
    }


def impossible_probabilities(probabilities: Sequence[float | None], number: int) -> str | None:
    """What is wrong with the probabilities of `number` alternatives, or None; a rater may tell none."""
    if len(probabilities) not in (0, number):
        return f"it has {len(probabilities)} probabilities of {number} alternatives"
    if any(one is None or not -TOLERANCE <= one <= 1.0 + TOLERANCE for one in probabilities):
        return f"{list(probabilities)} are no probabilities"
    return None
