"""Where the thing is that an instruction is about."""

import re

import numpy as np

from actors.babyai.settings import COLOURS, OBJECTS
from actors.babyai.tiles import holds

UNKNOWN = -100
_THING = re.compile(rf"(?:({'|'.join(COLOURS)}) )?({'|'.join((*OBJECTS, 'door'))})")
_CARRIED = (0, -1)
"""Cell of a frame that shows what the agent carries."""


def goals_of(instruction: str, codes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Row and column int64 [T, 2] of the nearest thing of the first kind that is named and lies about.

    Of frames of codes [T, 12, 12] with the agent at places [T, 3]. -100 where there is none, and for chains, whose
    current sub-task is not known.
    """
    goals = np.full((len(codes), 2), UNKNOWN)
    if ", then " in instruction:
        return goals
    lying = codes.copy()
    lying[:, *_CARRIED] = 0
    # The last one named is written first: an earlier one that lies about overwrites it.
    for colour, kind in reversed(_THING.findall(instruction)):
        for time, found in enumerate(holds(lying, kind, colour or None)):
            if found.any():
                cells = np.argwhere(found)
                goals[time] = cells[np.abs(cells - places[time, :2]).sum(axis=1).argmin()]
    return goals
