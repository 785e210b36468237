"""Pictures as arrays and as lossless PNG files. Every result is a function of the pixels alone."""

import functools
import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

LARGEST_PICTURE = 2**26
"""Pixels, such as 8192 x 8192. A PNG file of a few kilobytes can promise more than memory holds."""

_GAP_PX = 4
_NUMBER_PX = 16
_BEGINNING = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
"""A PNG file's signature, and the length and name of its first chunk."""
_SIZES = struct.Struct(">IIB")
"""How that chunk begins: width, height, bits a channel."""
_DAMAGE = (struct.error, zlib.error)
"""What Pillow lets through of damaged chunks."""


def encode_png(frame: np.ndarray) -> bytes:
    """A PNG file of a picture uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, format="PNG")
    return buffer.getvalue()


def rgb_picture(png: bytes) -> Image.Image:
    """What a rater sees of a PNG file: a picture in mode RGB, by one rule for all that look at frames.

    - Grey, palettes and black-and-white become the colours that they mean.
    - Transparency, whether a channel, a palette's or one transparent colour, lies on white.
    - Sixteen bits a channel are refused. Whether 65535 is white, or 4000 is a far wall in millimetres, does not stand
      in the file: taken as grey values, distances would be nearly black, and cut off at 255 they are white.
    - An animation is refused, as several pictures in one; so is a picture of more than LARGEST_PICTURE pixels, before
      its pixels are unpacked. The orientation of a photograph (EXIF) and colour profiles are not applied.

    Raises:
        ValueError: what is wrong with the file, as the end of a sentence that begins with its name.
    """
    _check_header(png)
    try:
        image = Image.open(io.BytesIO(png), formats=["PNG"])
        if image.mode == "P" and image.palette is None:
            raise SyntaxError("it names colours of a palette, and has none")
        animated, plain = image.is_animated, image.mode == "RGB" and not image.has_transparency_data
        if not animated:
            image.load()
    except UnidentifiedImageError:
        # Its own words have an address of memory in them.
        raise ValueError("is no readable PNG file: it holds no picture") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError, *_DAMAGE) as error:
        raise ValueError(f"is no readable PNG file: {error}") from error
    if animated:
        raise ValueError(f"is an animation of {image.n_frames} pictures; give each as a file of its own")
    if plain:
        return image
    if not image.has_transparency_data:
        return image.convert("RGB")
    shown = image.convert("RGBA")
    white = Image.new("RGB", shown.size, "white")
    white.paste(shown, mask=shown.getchannel("A"))
    return white


def _check_header(png: bytes) -> None:
    if png[: len(_BEGINNING)] != _BEGINNING or len(png) < len(_BEGINNING) + _SIZES.size:
        raise ValueError("is no readable PNG file: it does not begin as one")
    width, height, bit_depth = _SIZES.unpack_from(png, len(_BEGINNING))
    if width * height > LARGEST_PICTURE:
        raise ValueError(f"is too large: {width} x {height} pixels, and at most {LARGEST_PICTURE} are read; reduce it")
    if bit_depth == 16:
        raise ValueError(
            "has 16 bits a channel, and what their range means does not stand in the file: convert it to 8 bits by the "
            "range that you know, such as that of the camera or of the depths"
        )


def decode_png(png: bytes) -> np.ndarray:
    """The picture uint8 [H, W, 3] of a PNG file, as `rgb_picture` sees it. Raises ValueError as it does."""
    return np.array(rgb_picture(png))


def png_size(png: bytes) -> tuple[int, int]:
    """Height and width of a PNG file in pixels, without decoding it."""
    with Image.open(io.BytesIO(png)) as image:
        return image.height, image.width


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
    reduced = np.empty((len(images), px, px, 3), dtype=np.uint8)
    for source, target in zip(images, reduced, strict=True):
        target[:] = reduce_frame(source, px, px)
    return reduced


def reduced_width(height: int, width: int, px: int) -> int:
    """Width of a picture of `height` x `width` that is made `px` high and keeps its shape; 1 at least."""
    return max(1, (2 * width * px + height) // (2 * height))


def reduce_frame(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture uint8 [H, W, 3] made smaller, to uint8 [height, width, 3], as `reduce_image` does.

    Raises:
        ValueError: it is smaller than that already.
    """
    rows_in, columns_in, _ = image.shape
    if height > rows_in or width > columns_in:
        raise ValueError(f"cannot reduce a picture of {columns_in} x {rows_in} pixels to {width} x {height}")
    if (height, width) == (rows_in, columns_in):
        return image
    rows = np.tensordot(_area_weights(rows_in, height), image.astype(np.float64), axes=(1, 0))
    sums = np.einsum("xw,ywc->yxc", _area_weights(columns_in, width), rows, optimize=True)
    # Halves are rounded up.
    return np.floor(sums / (rows_in * columns_in) + 0.5).astype(np.uint8)


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


def in_one_picture(pngs: Sequence[bytes]) -> bytes:
    """One PNG file of several by `join_frames`; a single one as it is."""
    return pngs[0] if len(pngs) == 1 else encode_png(join_frames([decode_png(png) for png in pngs]))


@functools.cache
def _area_weights(size: int, px: int) -> np.ndarray:
    """[px, size] float64 integers: how much of each source pixel falls into each target pixel; rows sum to `size`."""
    edges = np.arange(size + 1) * px
    starts = np.arange(px)[:, None] * size
    overlap = np.minimum(edges[1:], starts + size) - np.maximum(edges[:-1], starts)
    return np.maximum(overlap, 0).astype(np.float64)
