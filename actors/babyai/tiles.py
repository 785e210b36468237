"""Frames as tiles: a whole trajectory's pictures in a few kilobytes, and the same trajectory turned or mirrored.

A rater that learns from windows needs many pictures. A level that is turned by a quarter is another level, and what
each action does is the same; mirrored, left and right change places.
"""

from dataclasses import dataclass

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.core.grid import Grid
from minigrid.core.world_object import WorldObj

from actors.babyai.level import CARRIED_CELL
from actors.babyai.settings import ACTION_NAMES, LEFT, RIGHT

_COLOURS, _STATES, _LOOKS = len(COLOR_TO_IDX), len(STATE_TO_IDX), 5
_DIRECTIONS = 4
NUM_CODES = len(OBJECT_TO_IDX) * _COLOURS * _STATES * _LOOKS
"""A code is a kind, a colour, a state, and which way an agent in the cell looks, if there is one."""
_AGENT, _EMPTY, _DOOR = OBJECT_TO_IDX["agent"], OBJECT_TO_IDX["empty"], OBJECT_TO_IDX["door"]
_WALL = OBJECT_TO_IDX["wall"]


@dataclass(frozen=True)
class Tiles:
    """What each code looks like and is."""

    pixels: np.ndarray
    """uint8 [NUM_CODES, px, px, 3]; black where a code does not occur."""
    contents: np.ndarray
    """int64 [NUM_CODES]: codes that look the same to a player share a number, from 0 on."""


def tiles(tile_px: int) -> Tiles:
    """All tiles at a size."""
    pixels = np.zeros((NUM_CODES, tile_px, tile_px, 3), dtype=np.uint8)
    names: dict[bytes, int] = {}
    contents = np.zeros(NUM_CODES, dtype=np.int64)
    for code in range(NUM_CODES):
        kind, colour, state, look = parts(code)
        if _occurs(kind, colour, state, look):
            thing = WorldObj.decode(kind, colour, state)
            pixels[code] = Grid.render_tile(thing, agent_dir=look - 1 if look else None, tile_size=tile_px)
        contents[code] = names.setdefault(pixels[code].tobytes(), len(names))
    return Tiles(pixels, contents)


def draw(codes: np.ndarray, tiles: Tiles) -> np.ndarray:
    """Frames uint8 [..., rows * px, columns * px, 3] of codes [..., rows, columns]: those that the level draws."""
    picture = np.moveaxis(tiles.pixels[codes], -3, -4)
    *many, rows, px, columns, _, _ = picture.shape
    return picture.reshape(*many, rows * px, columns * px, 3)


def codes_of(symbolic: np.ndarray) -> np.ndarray:
    """Codes int16 [T, rows + 1, columns + 1] of a trajectory's symbolic observations [T, rows, columns, 3]."""
    cells = symbolic.astype(np.int64)
    is_agent = cells[..., 0] == _AGENT
    looks = np.where(is_agent, cells[..., 2] + 1, 0)
    carried = cells[:, CARRIED_CELL[1], CARRIED_CELL[0]].copy()
    cells[:, CARRIED_CELL[1], CARRIED_CELL[0]] = (_WALL, COLOR_TO_IDX["grey"], 0)
    # What the agent stands on is hidden, but doors never move, and one that is stood in is open.
    doors = np.where(cells[..., :1] == _DOOR, cells, 0).max(axis=0)
    under = np.where(doors[..., :1] == _DOOR, doors, (_EMPTY, 0, 0))
    under[..., 2] = 0
    cells = np.where(is_agent[..., None], under, cells)
    codes = np.zeros((len(cells), cells.shape[1] + 1, cells.shape[2] + 1), dtype=np.int16)
    codes[:, 1:, 1:] = _code(cells[..., 0], cells[..., 1], cells[..., 2], looks)
    codes[:, 0, -1] = np.where(carried[:, 0] == _WALL, 0, _code(carried[:, 0], carried[:, 1], carried[:, 2], 0))
    return codes


def places_of(symbolic: np.ndarray) -> np.ndarray:
    """Row, column and direction of the agent, int64 [T, 3], of symbolic observations [T, rows, columns, 3]."""
    times, rows, columns = np.nonzero(symbolic[..., 0] == _AGENT)
    return np.stack([rows, columns, symbolic[times, rows, columns, 2]], axis=-1).astype(np.int64)


def parts(code):
    """Kind, colour, state and look (0: no agent; else its direction + 1) of a code, or of an array of codes."""
    rest, look = divmod(code, _LOOKS)
    rest, state = divmod(rest, _STATES)
    kind, colour = divmod(rest, _COLOURS)
    return kind, colour, state, look


def holds(codes: np.ndarray, kind: str, colour: str | None) -> np.ndarray:
    """Cells bool [...] that hold a thing of a kind and, if given, a colour; whatever its state. Of codes [...]."""
    kinds, colours, _, _ = parts(codes.astype(np.int64))
    return (kinds == OBJECT_TO_IDX[kind]) & ((colour is None) | (colours == COLOR_TO_IDX.get(colour, -1)))


def opened(codes: np.ndarray) -> np.ndarray:
    """Cells bool [...] that hold an open door, of codes [...]."""
    kinds, _, states, _ = parts(codes.astype(np.int64))
    return (kinds == _DOOR) & (states == STATE_TO_IDX["open"])


def turned(symbolic: np.ndarray, quarters: int, mirrored: bool) -> np.ndarray:
    """Symbolic observations [T, rows, columns, 3] of the level mirrored, if so, and then turned clockwise."""
    cells = symbolic.copy()
    carried = cells[:, CARRIED_CELL[1], CARRIED_CELL[0]].copy()
    cells[:, CARRIED_CELL[1], CARRIED_CELL[0]] = cells[:, -1, -1]
    if mirrored:
        cells = cells[:, :, ::-1].copy()
        _look(cells, lambda direction: (2 - direction) % _DIRECTIONS)
    cells = np.rot90(cells, -quarters, axes=(1, 2)).copy()
    _look(cells, lambda direction: (direction + quarters) % _DIRECTIONS)
    cells[:, CARRIED_CELL[1], CARRIED_CELL[0]] = carried
    return cells


def mirrored_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Actions in words in the mirrored level."""
    swap = {ACTION_NAMES[LEFT]: ACTION_NAMES[RIGHT], ACTION_NAMES[RIGHT]: ACTION_NAMES[LEFT]}
    return tuple(swap.get(name, name) for name in names)


def _look(cells: np.ndarray, how) -> None:
    is_agent = cells[..., 0] == _AGENT
    cells[..., 2] = np.where(is_agent, how(cells[..., 2].astype(np.int64)), cells[..., 2])


def _code(kind, colour, state, look):
    return ((kind * _COLOURS + colour) * _STATES + state) * _LOOKS + look


def _occurs(kind: int, colour: int, state: int, look: int) -> bool:
    if kind == _EMPTY:
        return colour == state == 0
    if kind == _DOOR:
        return not look or state == STATE_TO_IDX["open"]
    things = (OBJECT_TO_IDX["key"], OBJECT_TO_IDX["ball"], OBJECT_TO_IDX["box"], _WALL)
    return kind in things and state == 0 and not look
