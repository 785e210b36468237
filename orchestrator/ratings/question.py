"""What is asked about a segment, and what the store keeps beside it."""

from dataclasses import dataclass

from algorithms.ratings import RatingRequest


@dataclass(frozen=True)
class Question:
    """A request and what the store keeps beside it."""

    request: RatingRequest
    frames: tuple[bytes, ...]
    """The segment's frames as PNG files, one by one; the request may show them joined."""
    env_step: int
    """Environment steps of the run when the question was asked."""
    success: bool
    """The simulator's success flag at the segment's end: for audits of the rater, never for training."""
