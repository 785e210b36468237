"""Pictures as arrays and as lossless PNG files. Every result is a function of the pixels alone."""

import functools
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP_PX = 4
_NUMBER_PX = 16


def encode_png(frame: np.ndarray) -> bytes:
    """A PNG file of a picture uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, format="PNG")
    return buffer.getvalue()


def decode_png(png: bytes) -> np.ndarray:
    """The picture uint8 [H, W, 3] of a PNG file."""
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image.convert("RGB"))


def reduce_image(images: np.ndarray, px: int) -> np.ndarray:
    """Square pictures uint8 [N, H, H, 3] made smaller, to uint8 [N, px, px, 3], by averaging over areas.

    The arithmetic is exact, so that the result is the same on every machine: all sums are integers that float64 holds.

    Raises:
        ValueError: the pictures are not square, or are smaller than `px`.
    """
    _, height, width, _ = images.shape
    if height != width or px > height:
        raise ValueError(f"cannot reduce pictures of {width} x {height} pixels to {px} x {px}")
    if px == height:
        return images
    weights = _area_weights(height, px)
    reduced = np.empty((len(images), px, px, 3), dtype=np.uint8)
    for source, target in zip(images, reduced, strict=True):
        rows = np.tensordot(weights, source.astype(np.float64), axes=(1, 0))
        sums = np.einsum("xw,ywc->yxc", weights, rows, optimize=True)
        # Halves are rounded up.
        target[:] = np.floor(sums / height**2 + 0.5)
    return reduced


def join_frames(frames: Sequence[np.ndarray]) -> np.ndarray:
    """One picture of frames uint8 [H, W, 3] side by side in time order, each under its number, from 1."""
    height, width, _ = frames[0].shape
    step = width + _GAP_PX
    picture = Image.new("RGB", (len(frames) * step - _GAP_PX, height + _NUMBER_PX), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(size=_NUMBER_PX - 4)
    for index, frame in enumerate(frames):
        pen.text((index * step + width // 2, _NUMBER_PX // 2), str(index + 1), fill="black", font=font, anchor="mm")
        picture.paste(Image.fromarray(np.ascontiguousarray(frame)), (index * step, _NUMBER_PX))
    return np.array(picture)


@functools.cache
def _area_weights(size: int, px: int) -> np.ndarray:
    """[px, size] float64 integers: how much of each source pixel falls into each target pixel; rows sum to `size`."""
    edges = np.arange(size + 1) * px
    starts = np.arange(px)[:, None] * size
    overlap = np.minimum(edges[1:], starts + size) - np.maximum(edges[:-1], starts)
    return np.maximum(overlap, 0).astype(np.float64)
