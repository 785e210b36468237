"""What the pocket rater learns frames from."""

from dataclasses import dataclass, fields

import numpy as np

NUM_STAGES = 5
NUM_MEASURES = 5
"""Hand relative to object (3), their distance, and the object's travel."""


@dataclass(frozen=True)
class TaskFrames:
    """Labelled frames of one task."""

    images: np.ndarray
    """[N, 112, 112, 3] uint8."""
    stages: np.ndarray
    """[N] int64 in [0, 5)."""
    hand_states: np.ndarray
    """[N] int64: index into the task's sentences on the hand."""
    object_states: np.ndarray
    """[N] int64: index into the task's sentences on the object."""
    measures: np.ndarray
    """[N, 5] float32, each about -1 to 1."""

    def __len__(self) -> int:
        return len(self.images)

    def every(self, step: int, first: int) -> "TaskFrames":
        """One frame of `step`, from the first-th on."""
        return TaskFrames(*(getattr(self, field.name)[first::step] for field in fields(self)))
