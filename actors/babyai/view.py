"""A symbolic observation as the agent sees it: itself in the middle, looking up."""

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

from actors.babyai.level import CARRIED_CELL
from actors.babyai.settings import egocentric_shape

_AGENT = OBJECT_TO_IDX["agent"]
_WALL = (OBJECT_TO_IDX["wall"], COLOR_TO_IDX["grey"], 0)
_EMPTY = (OBJECT_TO_IDX["empty"], 0, 0)


def egocentric(symbolic: np.ndarray) -> np.ndarray:
    """The symbolic observation uint8 [rows, columns, 3] moved and turned so that the agent is in the middle and looks
    up, uint8 [side, side, 3].

    What leaves the square at one side comes back at the other, behind the walls around the rooms, so nothing is lost.
    The agent's cell shows what it carries. To go to the ball on the left is then the same everywhere, and need not be
    learned for each place and direction.
    """
    (row,), (column,) = np.nonzero(symbolic[..., 0] == _AGENT)
    direction = int(symbolic[row, column, 2])
    side, _, _ = egocentric_shape(symbolic.shape)
    cells = np.full((side, side, 3), _WALL, dtype=np.uint8)
    cells[: len(symbolic), : symbolic.shape[1]] = symbolic
    carried = symbolic[CARRIED_CELL]
    cells[CARRIED_CELL] = _WALL
    cells[row, column] = _EMPTY if carried[0] == _WALL[0] else carried
    centred = np.roll(cells, (side // 2 - row, side // 2 - column), axis=(0, 1))
    return np.ascontiguousarray(np.rot90(centred, direction + 1))
