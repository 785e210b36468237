"""Progress of a whole trajectory: what is asked about it, and how values of its frames become labels of its actions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

ProgressMode = Literal["gvl", "topreward", "verdict", "verdict_two_turn"]
ValueUse = Literal["level", "difference"]
"""An action is paid with the value of the frame that it led to, or with what it added to the value before it."""
PERCENT = 100
"""A percentage of completion at the end of a task."""


@dataclass(frozen=True)
class ProgressRequest:
    """One question about frames of a trajectory, shown as pictures of their own."""

    images: tuple[bytes, ...]
    """Lossless PNG files, in the order in which they are shown."""
    instruction: str
    """The goal, as the trajectory's instruction has it."""
    mode: ProgressMode
    """`gvl`: a percentage for each picture but the first. `topreward`: how probable "True" is. `verdict`: whether the
    task is completed at the end, at once; `verdict_two_turn`: after an analysis."""
    frame_note: str
    """In which order the pictures are shown, such as 'in time order'."""
    actions: tuple[str, ...] = ()
    """Always empty: these questions tell no actions. It is here because all questions are stored in one table."""


def spread(number: int, most: int) -> list[int]:
    """At most `most` of the indices 0 to number - 1, evenly spread, the first and the last among them.

    Of one index alone it is the last. Raises ValueError if there is none.
    """
    if number < 1 or most < 1:
        raise ValueError(f"cannot choose {most} of {number} frames")
    if number <= most:
        return list(range(number))
    if most == 1:
        return [number - 1]
    # Halves are rounded up, the same on every machine.
    return [(2 * index * (number - 1) + most - 1) // (2 * (most - 1)) for index in range(most)]


def interpolated(places: Sequence[int], values: Sequence[float], number: int) -> np.ndarray:
    """Values float64 [number] on straight lines between those known at `places`, which ascend.

    NaN outside of them, and between two of which one is NaN.
    """
    line = np.full(number, np.nan)
    for place, value in zip(places, values, strict=True):
        line[place] = value
    for start, end in itertools.pairwise(places):
        inner = np.arange(start + 1, end)
        line[inner] = line[start] + (line[end] - line[start]) * (inner - start) / (end - start)
    return line


def paid(values: np.ndarray, use: ValueUse) -> np.ndarray:
    """What each action earns, float64 [T], by the values [T + 1] of the frames around the actions; NaN if unknown."""
    return values[1:] if use == "level" else values[1:] - values[:-1]


def value_order_correlation(values: np.ndarray) -> float | None:
    """VOC of GVL (Ma et al. 2024, arXiv 2411.04549): Spearman's correlation of values [N], in time order, with time.

    1 if they always rise, -1 if they always fall. Equal values share the mean of their ranks; NaN are left out. None
    where it is not defined: fewer than two values, or all equal.
    """
    known = values[~np.isnan(values)]
    if len(known) < 2 or np.all(known == known[0]):
        return None
    below = (known[None, :] < known[:, None]).sum(axis=1)
    equal = (known[None, :] == known[:, None]).sum(axis=1)
    ranks = below + (equal - 1) / 2
    return float(np.corrcoef(ranks, np.arange(len(known)))[0, 1])
