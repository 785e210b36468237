"""What is asked about a segment, and what the store keeps beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from algorithms.images import in_one_picture
from algorithms.prompts import pictures_note
from algorithms.ratings import AskingMode, RatingRequest, TaskText
from algorithms.scales import RatingScale


@dataclass(frozen=True)
class Question:
    """A request and what the store keeps beside it."""

    request: RatingRequest
    frames: tuple[bytes, ...]
    """The segment's frames, or the pair, as PNG files, one by one; the request may show a segment's joined."""
    env_step: int
    """Environment steps of the run when the question was asked."""
    success: bool | None
    """The world's success flag at the segment's end: for audits of the rater, never for training. None where it is
    unknown, and of a pair."""


def rating_request(
    frames: Sequence[bytes],
    task: TaskText,
    scale: RatingScale,
    mode: AskingMode,
    layout: Literal["separate", "joined"] = "joined",
) -> RatingRequest:
    """The request about a segment of these PNG files, in time order: as several pictures, or joined to one. Or about
    two that are to be compared, which are never joined."""
    if scale.compares:
        return RatingRequest(tuple(frames), task, scale, mode)
    joined = layout == "joined"
    images = (in_one_picture(frames),) if joined else tuple(frames)
    return RatingRequest(images, task, scale, mode, pictures_note(len(frames), joined))
