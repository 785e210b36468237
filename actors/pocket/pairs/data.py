"""Which pairs of frames the pocket rater learns from, and is judged on."""

import numpy as np

from actors.pocket.frames.data import NUM_STAGES
from algorithms.scales import CANNOT_TELL

FIRST, SECOND = 0, 1
"""Places of the answers that name a picture, as in `algorithms.scales.PREFERENCES`."""
EQUAL_SHARE = 1 / 3
"""Share of pairs of one stage: each of the three answers is right equally often, since both orders are asked."""


def nearer(first_stage: int, second_stage: int) -> int:
    """The right answer: the picture of the higher stage; of equal stages, that one cannot tell."""
    if first_stage == second_stage:
        return CANNOT_TELL
    return FIRST if first_stage > second_stage else SECOND


class PairDraw:
    """Draws pairs of one task's frames: a third of one stage, a third of neighbouring ones, the others further apart.

    Stages without frames are left out, and so is a kind of pair that there is none of.
    """

    def __init__(self, stages: np.ndarray) -> None:
        """`stages` are those of the frames, int64 [N]. Raises ValueError if there is no pair of different stages."""
        self._frames = [np.flatnonzero(stages == stage) for stage in range(NUM_STAGES)]
        there = [stage for stage in range(NUM_STAGES) if len(self._frames[stage])]
        apart = [(low, high) for low in there for high in there if low < high]
        if not apart:
            raise ValueError(f"all of {len(stages)} frames are of one stage, so that no two can be compared; draw more")
        neighbours = [(low, high) for low, high in apart if high - low == 1]
        further = [(low, high) for low, high in apart if high - low > 1]
        self._different = [kind for kind in (neighbours, further) if kind]
        self._equal = [stage for stage in there if len(self._frames[stage]) > 1]

    def one(self, rng: np.random.Generator) -> tuple[int, int]:
        """Indices of two frames. Of different stages, the lower one's comes first: ask in both orders."""
        if self._equal and rng.random() < EQUAL_SHARE:
            first, second = rng.choice(self._frames[self._equal[rng.integers(len(self._equal))]], 2, replace=False)
            return int(first), int(second)
        kind = self._different[rng.integers(len(self._different))]
        low, high = kind[rng.integers(len(kind))]
        return int(rng.choice(self._frames[low])), int(rng.choice(self._frames[high]))
