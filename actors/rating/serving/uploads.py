"""Pictures that come from outside: what may be decoded, and what they are turned into for the rater."""

import asyncio
import base64
import binascii
import re
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from PIL import Image, ImageOps

from actors.rating.images import LONGEST_RATIO
from actors.rating.serving.limits import Limits
from actors.rating.serving.problems import Problem
from algorithms.images import rgb_picture

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"
DATA_URL = re.compile(r"data:image/(png|jpeg|jpg);base64,", re.ASCII | re.IGNORECASE)
DECODERS = 2
"""Threads that look into pictures: a flood of large ones must not take the others' threads."""


class Uploads:
    """Checks the pictures of requests, in threads of its own."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="uploads")

    async def pngs(self, pictures: Sequence[tuple[str, bytes]]) -> tuple[bytes, ...]:
        """PNG files of (field, file) pairs: a PNG file as it came, a JPEG file as what it shows.

        Raises Problem, naming the field, for what is not a readable picture of 8 bits a channel, or is too large.
        """
        limits = self._limits
        if len(pictures) > limits.num_pictures:
            raise Problem(413, f"{len(pictures)} pictures: a request may hold {limits.num_pictures}")
        if not pictures:
            return ()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, checked, pictures, limits)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def decode_base64(field: str, text: str) -> bytes:
    """The bytes in a text. Raises Problem."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:  # a ValueError for text beyond ASCII
        raise Problem(422, f"{field} is not base64: {error}", field) from None


def decode_data_url(field: str, url: str) -> bytes:
    """The file in a `data:` URL. Raises Problem for any other address: nothing is fetched."""
    found = DATA_URL.match(url)
    if found is None:
        shown = url if len(url) <= 60 else url[:60] + "..."
        raise Problem(
            400,
            f"{field} is {shown!r}: must be data:image/png;base64,... or data:image/jpeg;base64,...; this server "
            "fetches nothing",
            field,
        )
    try:
        return decode_base64(field, url[found.end() :])
    except Problem as problem:
        raise Problem(400, str(problem), field) from None


def checked(pictures: Sequence[tuple[str, bytes]], limits: Limits) -> tuple[bytes, ...]:
    """As `Uploads.pngs`, in this thread."""
    total = 0
    for field, file in pictures:
        width, height = _size(field, file, limits)
        total += width * height
        if total > limits.total_pixels:
            raise Problem(
                413,
                f"{field}: with this one the pictures have {total} pixels; a request may hold {limits.total_pixels}",
                field,
            )
    return tuple(_png(field, file) for field, file in pictures)


def _size(field: str, file: bytes, limits: Limits) -> tuple[int, int]:
    """Width and height as the file says; nothing is decoded."""
    if file.startswith(PNG_SIGNATURE):
        if len(file) < 24 or file[12:16] != b"IHDR":
            raise Problem(422, f"{field} is no readable picture: its header is cut short", field)
        _check_size(field, *struct.unpack(">II", file[16:24]), limits)
    elif not file.startswith(JPEG_SIGNATURE):
        raise Problem(422, f"{field} is not a PNG file, nor a JPEG file; encode frames as lossless PNG", field)
    # A file may hold more headers than one, and its reader believes the last.
    with _opened(field, file) as picture:
        width, height = picture.size
    _check_size(field, width, height, limits)
    return width, height


def _check_size(field: str, width: int, height: int, limits: Limits) -> None:
    if width * height > limits.picture_pixels:
        raise Problem(
            413, f"{field} has {width} x {height} pixels; a picture may have {limits.picture_pixels} in all", field
        )
    if max(width, height) >= LONGEST_RATIO * min(width, height):
        raise Problem(
            422,
            f"{field} has {width} x {height} pixels: a side must be less than {LONGEST_RATIO} times the other",
            field,
        )


def _png(field: str, file: bytes) -> bytes:
    """A PNG file of what a checked file shows. Decodes it, so that one which is cut short is found here."""
    if file.startswith(PNG_SIGNATURE):
        try:
            rgb_picture(file)
        except ValueError as error:
            raise Problem(422, f"{field} {_plain(error)}", field) from None
        return file
    with _opened(field, file) as picture:
        try:
            picture.load()
        except Exception as error:  # noqa: BLE001 - what is wrong with a file shows as errors of many types
            raise _unreadable(field, error) from None
        if picture.mode not in ("RGB", "L"):
            raise Problem(422, f"{field} is a JPEG file in {picture.mode}; send RGB, or PNG", field)
        turned = BytesIO()
        # Cameras write which way is up into the file, and every viewer turns it.
        ImageOps.exif_transpose(picture).convert("RGB").save(turned, format="PNG")
        return turned.getvalue()


def _opened(field: str, file: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(file), formats=["PNG", "JPEG"])
    except Exception as error:  # noqa: BLE001 - as above
        raise _unreadable(field, error) from None


def _unreadable(field: str, error: Exception) -> Problem:
    return Problem(422, f"{field} is no readable picture: {_plain(error)}", field)


def _plain(error: Exception) -> str:
    """What an error says, without naming objects of this process."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    return re.sub(r"<_io\.BytesIO[^>]*>", "it", said)
