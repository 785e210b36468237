"""PNG bytes to the pictures that a Qwen-VL sees: colours by one rule, and each resized once, to whole tokens."""

import math
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from actors.rating.backend import Refused
from algorithms.images import rgb_picture

LONGEST_RATIO = 200
"""From this ratio of the sides on Qwen-VL's libraries differ, or give up."""

MOST_STRETCH = 2.0
"""A picture may be stretched by so much along one side to keep within the pixel limits."""


def prepare_images(images: tuple[bytes, ...], min_pixels: int, max_pixels: int, token_px: int) -> list[Image.Image]:
    """Decode PNG files by `algorithms.images.rgb_picture`, and resize them to `fitted_size`.

    Raises Refused in words for what cannot be shown to a rater. Addresses and paths are never followed: only bytes
    come in.
    """
    pictures = [_decoded(number, image, len(images)) for number, image in enumerate(images)]
    return [_resized(one, fitted_size(*one.size, min_pixels, max_pixels, token_px)) for one in pictures]


def sized_png(png: bytes, min_pixels: int, max_pixels: int) -> bytes:
    """A picture in mode RGB as PNG file of at least `min_pixels` and at most `max_pixels`, its sides in proportion.

    For a model whose tokens are unknown: its server brings the sides to whole tokens, by a few pixels. A file in
    mode RGB that is within bounds comes back as it is. If no size is within bounds, it holds fewer pixels; more only
    where a side is one pixel already.

    Raises Refused as `prepare_images` does.
    """
    picture = _decoded(0, png, 1)
    width, height = picture.size
    size = _size_in_proportion(width, height, min_pixels, max_pixels)
    if size == picture.size and _is_plain_rgb(png):
        return png
    file = BytesIO()
    _resized(picture, size).save(file, format="PNG")
    return file.getvalue()


def _size_in_proportion(width: int, height: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    pixels = width * height
    if min_pixels <= pixels <= max_pixels:
        return width, height
    scale = math.sqrt((min_pixels if pixels < min_pixels else max_pixels) / pixels)
    for rounded in (round, math.ceil, math.floor):
        size = max(1, rounded(width * scale)), max(1, rounded(height * scale))
        if min_pixels <= math.prod(size) <= max_pixels:
            return size
    return size


def fitted_size(width: int, height: int, min_pixels: int, max_pixels: int, token_px: int) -> tuple[int, int]:
    """Width and height, in whole tokens of `token_px` pixels a side, that a picture is resized to.

    It is the size of `qwen_vl_utils.smart_resize`, if that keeps the bounds and is none that the library itself would
    refuse as too long. Where it is not, because few sizes or none lie between the bounds, it is the one between them
    with the nearest proportions, if neither side is stretched more than MOST_STRETCH times against the other; else the
    largest in proportion that `max_pixels` allows.
    """
    size = _usual_size(width, height, min_pixels, max_pixels, token_px)
    if min_pixels <= math.prod(size) <= max_pixels and _is_short(size):
        return size

    def stretch(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] * height / (size[1] * width)))

    between = filter(_is_short, _sizes_between(min_pixels, max_pixels, token_px))
    within = min(between, key=stretch, default=None)
    if within is not None and stretch(within) <= math.log(MOST_STRETCH) + 1e-9:
        return within
    return _largest_size(width, height, max_pixels, token_px)


def _usual_size(width: int, height: int, min_pixels: int, max_pixels: int, token_px: int) -> tuple[int, int]:
    """As `qwen_vl_utils.smart_resize`, which may give a side of nothing where this one has a token."""
    columns, rows = (max(1, round(side / token_px)) for side in (width, height))
    if columns * rows * token_px**2 > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        columns, rows = (max(1, math.floor(side / shrink / token_px)) for side in (width, height))
    elif columns * rows * token_px**2 < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        columns, rows = (math.ceil(side * grow / token_px) for side in (width, height))
    return columns * token_px, rows * token_px


def _largest_size(width: int, height: int, max_pixels: int, token_px: int) -> tuple[int, int]:
    most = max(1, max_pixels // token_px**2)
    scale = math.sqrt(max_pixels / (width * height)) / token_px
    columns, rows = (min(most, max(1, math.floor(side * scale))) for side in (width, height))
    return columns * token_px, rows * token_px


def _sizes_between(min_pixels: int, max_pixels: int, token_px: int) -> Iterator[tuple[int, int]]:
    """All sizes in whole tokens within the bounds; between wide bounds there are many, but those are not asked for."""
    most = max_pixels // token_px**2
    for columns in range(1, most + 1):
        fewest_rows = math.ceil(min_pixels / (columns * token_px**2))
        for rows in range(fewest_rows, most // columns + 1):
            yield columns * token_px, rows * token_px


def _is_short(size: tuple[int, int]) -> bool:
    return max(size) < LONGEST_RATIO * min(size)


def _decoded(number: int, image: bytes, of: int) -> Image.Image:
    try:
        picture = rgb_picture(image)
    except ValueError as error:
        raise Refused(f"image {number} of {of} {error}") from error
    ratio = max(picture.size) / min(picture.size)
    if ratio >= LONGEST_RATIO:
        raise Refused(
            f"image {number} of {of} is {picture.width} x {picture.height} pixels: one side must be less than "
            f"{LONGEST_RATIO} times the other; cut it"
        )
    return picture


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bicubic, as Qwen-VL's processor does it."""
    return picture if picture.size == size else picture.resize(size)


def _is_plain_rgb(png: bytes) -> bool:
    """Whether the file itself holds what `rgb_picture` makes of it."""
    with Image.open(BytesIO(png)) as image:
        return image.mode == "RGB" and not image.has_transparency_data
