"""What is asked about a segment, and what the store keeps beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from algorithms.images import decode_png, encode_png, join_frames
from algorithms.prompts import pictures_note
from algorithms.ratings import AskingMode, RatingRequest, TaskText
from algorithms.scales import RatingScale


@dataclass(frozen=True)
class Question:
    """A request and what the store keeps beside it."""

    request: RatingRequest
    frames: tuple[bytes, ...]
    """The segment's frames as PNG files, one by one; the request may show them joined."""
    env_step: int
    """Environment steps of the run when the question was asked."""
    success: bool | None
    """The world's success flag at the segment's end: for audits of the rater, never for training. None where it is
    unknown."""


def rating_request(
    frames: Sequence[bytes],
    task: TaskText,
    scale: RatingScale,
    mode: AskingMode,
    layout: Literal["separate", "joined"] = "joined",
) -> RatingRequest:
    """The request about a segment of these PNG files, in time order: as several pictures, or joined to one."""
    images, joined = tuple(frames), layout == "joined"
    if joined and len(frames) > 1:
        images = (encode_png(join_frames([decode_png(frame) for frame in frames])),)
    return RatingRequest(images, task, scale, mode, pictures_note(len(frames), joined))
