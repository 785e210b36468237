"""Pictures of an environment: taken, checked, and fitted into the square that is rated."""

from typing import Any

import numpy as np
from PIL import Image

from actors.worlds.world import WorldError


def checked(picture: Any, source: str) -> np.ndarray:
    """What `render()` gave, uint8 [H, W, 3], as a copy of its own. Raises WorldError if it is no picture, or black.

    MuJoCo's arrays are views that run backwards; a context that was lost draws black, and tells nobody.
    """
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise WorldError(
            f"{source}: render() gives {_described(picture)}; a picture is an array uint8 [height, width, 3]"
        )
    if not picture.any():
        raise WorldError(f"{source}: the picture is all black, so there is nothing to rate")
    return np.ascontiguousarray(picture)


def fitted(picture: np.ndarray, px: int) -> np.ndarray:
    """A picture uint8 [H, W, 3] scaled to fit into a square, uint8 [px, px, 3], in the middle of black.

    It keeps its shape. It is made smaller by averaging over areas (Pillow's BOX), and larger by bicubic interpolation.
    """
    height, width, _ = picture.shape
    longest = max(height, width)
    if height == width == px:
        return picture
    wide, high = (max(1, round(side * px / longest)) for side in (width, height))
    if longest != px:
        filter_ = Image.Resampling.BOX if longest > px else Image.Resampling.BICUBIC
        picture = np.asarray(Image.fromarray(picture).resize((wide, high), filter_))
    square = np.zeros((px, px, 3), dtype=np.uint8)
    top, left = (px - high) // 2, (px - wide) // 2
    square[top : top + high, left : left + wide] = picture
    return square


def _described(picture: Any) -> str:
    if isinstance(picture, np.ndarray):
        return f"an array {picture.dtype} {list(picture.shape)}"
    return f"a {type(picture).__name__}" if picture is not None else "nothing"
