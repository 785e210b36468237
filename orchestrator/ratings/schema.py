"""Columns of the rating store, its version, and rows to and from them. docs/rating_store.md explains each column."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import pyarrow as pa

from algorithms.prompts import agent_of, words_version
from algorithms.ratings import RaterIdentity, Rating, RatingRequest, Sampling, TaskText
from algorithms.scales import RatingScale
from orchestrator.ratings.columns import (
    ANSWER_COLUMNS,
    STRINGS,
    answer_columns,
    answer_fields,
    answer_schema,
    failure_schema,
    image_hash,
    impossible_probabilities,
    question_fields,
    request_columns,
    required,
)
from orchestrator.ratings.question import Question
from orchestrator.storage.parquet_parts import RowCheck

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning. A store of a newer version is refused."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_QUESTION = question_fields(
    pictures=[required("frames", STRINGS)],
    told=[required("focus", pa.string()), required("words", STRINGS), required("rubric", STRINGS)],
    place=[required("env_step", pa.int64()), pa.field("success", pa.bool_()), required("run", pa.string())],
)
IMAGES = pa.schema(
    [
        required("sha256", pa.string()),
        required("png", pa.binary()),
        required("width", pa.int32()),
        required("height", pa.int32()),
    ]
)
RATINGS = answer_schema([required("rating", pa.int8()), required("probabilities", pa.list_(pa.float64()))], _QUESTION)
FAILURES = failure_schema(_QUESTION)
RATING_COLUMNS = ["rating", "probabilities", *ANSWER_COLUMNS]
"""What `rating_of` reads."""


def _impossible(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row of ratings that can be read, or None."""
    words, rubric, level, probabilities = (row[name] for name in ("words", "rubric", "rating", "probabilities"))
    try:
        number = len(RatingScale(tuple(words), tuple(rubric)))
    except (ValueError, TypeError) as error:
        return f"its scale is none: {error}"
    if None in words or None in rubric or None in row["images"] or None in row["frames"]:
        return "a word, or a picture's name, is missing"
    if not row["images"] or not row["frames"]:
        return "it shows no picture"
    if not 0 <= level < number:
        return f"rating {level} is outside its scale of {number} levels"
    return impossible_probabilities(probabilities, number)


RATING_CHECK = RowCheck(("words", "rubric", "rating", "probabilities", "images", "frames"), _impossible)
"""What the program itself never wrote."""


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


def image_row(png: bytes) -> dict[str, Any]:
    """Row of the table of images. Raises ValueError for anything but a PNG file: other formats may lose pixels."""
    if not png.startswith(_PNG_SIGNATURE) or png[12:16] != b"IHDR":
        raise ValueError("an image of the rating store must be a PNG file, because its pixels must not change")
    width, height = struct.unpack(">II", png[16:24])
    return {"sha256": image_hash(png), "png": png, "width": width, "height": height}


def rating_columns(question: Question, rating: Rating) -> dict[str, Any]:
    """What was answered. Raises TypeError for a failure, and ValueError for a level outside the scale."""
    if not isinstance(rating, Rating):
        raise TypeError(f"a {type(rating).__name__} is never stored as a rating")
    num_ratings = len(question.request.scale)
    if not 0 <= rating.rating < num_ratings or len(rating.probabilities) not in (0, num_ratings):
        raise ValueError(
            f"rating {rating.rating} with {len(rating.probabilities)} probabilities does not fit a scale of "
            f"{num_ratings} levels"
        )
    return {**answer_columns(rating), "rating": rating.rating, "probabilities": list(rating.probabilities)}


def question_columns(question: Question) -> dict[str, Any]:
    """What was asked."""
    request = question.request
    return {
        **request_columns(request),
        "frames": [image_hash(png) for png in question.frames],
        "prompt_version": words_version(request.task.agent, request.scale),
        "instruction": request.task.instruction,
        "focus": request.task.focus,
        "words": list(request.scale.words),
        "rubric": list(request.scale.rubric),
        "env_step": question.env_step,
        "success": question.success,
    }


def rating_of(row: Mapping[str, Any]) -> Rating:
    """The answer in a row."""
    return Rating(rating=row["rating"], probabilities=tuple(row["probabilities"]), **answer_fields(row))


def stored_rating(row: Mapping[str, Any], pngs: Mapping[str, bytes]) -> StoredRating:
    """A whole row with its pictures."""
    return StoredRating(
        rating=rating_of(row),
        request=RatingRequest(
            images=tuple(pngs[name] for name in row["images"]),
            task=TaskText(row["instruction"], row["focus"], agent_of(row["prompt_version"])),
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
