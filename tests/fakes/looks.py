"""What toy raters see in a picture: how far the task is done, from its pixels and the words of the question alone."""

import functools
import re

import numpy as np
from minigrid.core.constants import DIR_TO_VEC

from actors.babyai.tiles import holds, parts, tiles

GRID_TILE_PX = 14
_GOTO = re.compile(r"go to (?:the|a) (?:(\w+) )?(key|ball|box)\b")


def dot_near_disc(picture: np.ndarray, words: str) -> float:
    """How near the middle of what is blue is to the middle of what is red or was: 1 on it, 0 a whole side away."""
    pixels = picture.astype(int)
    blue = (pixels[..., 2] > 150) & (pixels[..., 0] < 100)
    red = (pixels[..., 0] > 150) & (pixels[..., 2] < 100)
    if not blue.any():
        return 0.0
    if not red.any():
        return 1.0
    middles = [np.argwhere(colour).mean(axis=0) for colour in (blue, red)]
    return max(0.0, 1.0 - float(np.linalg.norm(middles[0] - middles[1])) / (0.6 * len(picture)))


def pendulum_upright(picture: np.ndarray, words: str) -> float:
    """How near to upright the red rod of Gymnasium's pendulum points from the middle: 1 up, 0 down, evenly by angle."""
    pixels = picture.astype(int)
    red = (pixels[..., 0] - pixels[..., 1] > 60) & (pixels[..., 0] - pixels[..., 2] > 60)
    if not red.any():
        return 0.0
    down, right = np.argwhere(red).mean(axis=0) - (np.array(picture.shape[:2]) - 1) / 2
    return 1.0 - abs(float(np.arctan2(right, -down))) / np.pi


def object_reached(picture: np.ndarray, words: str) -> float:
    """BabyAI's "go to": 1 where the agent faces a thing that the words name, 1/2 within two moves of one, else 0."""
    codes, named = _codes(picture), _GOTO.search(words)
    looks = parts(codes)[3]
    agents = np.argwhere(looks)
    if named is None or len(agents) != 1:
        return 0.0
    row, column = agents[0]
    right, down = DIR_TO_VEC[looks[row, column] - 1]
    places = np.argwhere(holds(codes, named[2], named[1])).tolist()
    if [row + down, column + right] in places:
        return 1.0
    return 0.5 if any(abs(row - r) + abs(column - c) <= 2 for r, c in places) else 0.0


def _codes(picture: np.ndarray) -> np.ndarray:
    """Codes int64 [rows, columns] of the tiles that a picture of a grid is made of; 0 where it is none."""
    side, known = GRID_TILE_PX, _codes_by_pixels()
    rows, columns = len(picture) // side, picture.shape[1] // side
    cut = picture[: rows * side, : columns * side].reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    return np.array([[known.get(tile.tobytes(), 0) for tile in row] for row in cut], dtype=np.int64)


@functools.cache
def _codes_by_pixels() -> dict[bytes, int]:
    pixels = tiles(GRID_TILE_PX).pixels
    return {tile.tobytes(): code for code, tile in reversed(list(enumerate(pixels))) if tile.any()}


LOOKS = {"babyai": object_reached, "dot": dot_near_disc, "pendulum": pendulum_upright}
