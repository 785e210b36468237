"""Pictures of recordings as lossless PNG files: embedded ones, files and frames of a video.

What comes from outside is looked at with care: few formats, eight bits a colour, nothing transparent, and no file that
lies outside the recording.
"""

import functools
import io
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from algorithms.images import encode_png
from orchestrator.data.recordings.in_parallel import in_parallel

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 2**26
"""A larger picture is not decoded: no camera of a robot has one, and it may be a bomb."""


class PictureError(ValueError):
    """A picture cannot be read, or has no colours that a rater could be shown."""


def stored_frame(image: Image.Image | bytes | Path, height: int | None) -> bytes:
    """A picture as lossless PNG file, reduced or enlarged to `height` if given. Raises PictureError."""
    picture = image if isinstance(image, Image.Image) else _opened(image)
    picture = _with_colours(picture)
    if height is not None and picture.height != height:
        size = max(1, round(picture.width * height / picture.height)), height
        if math.prod(size) > MAX_PIXELS:
            raise PictureError(f"{size[0]} x {size[1]} pixels are too many")
        shrinks = height < picture.height
        picture = picture.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC)
    return encode_png(np.asarray(picture))


def file_below(folder: Path, name: str, follow_links: bool = True) -> Path:
    """The file that a recording calls `name`. Raises PictureError if that leads outside `folder`.

    Backslashes part folders, as on Windows. Without `follow_links` a link may lead outside, as in a Hugging Face cache.
    """
    by_windows = "\\" in name
    inner = PureWindowsPath(name) if by_windows else PurePosixPath(name)
    path = folder.joinpath(*inner.parts)
    try:
        if by_windows and inner.anchor:
            inside = False
        elif follow_links:
            inside = path.resolve().is_relative_to(folder.resolve())
        else:
            inside = not inner.anchor and ".." not in inner.parts
    except (OSError, ValueError, RuntimeError) as error:
        raise PictureError(f"{name[:200]!r} is no name of a file: {error}") from error
    if not inside:
        raise PictureError(f"{name[:200]!r} leads outside the recording's folder")
    return path


def stored_frames(images: Iterable[Image.Image | bytes | Path], height: int | None) -> Iterator[bytes]:
    """What `stored_frame` makes of each picture, a few ahead on all processors. Raises PictureError."""
    return in_parallel(functools.partial(stored_frame, height=height), images)


def video_frames(path: Path, times: Sequence[float], fps: float, height: int | None) -> Iterator[bytes]:
    """PNG files of a video's frames nearest to these times in seconds, which rise. Raises PictureError.

    Decoded in the caller's thread, and packed on all processors meanwhile.
    """
    return in_parallel(lambda frame: stored_frame(frame.to_image(), height), _nearest(path, times, fps))


def _nearest(path: Path, times: Sequence[float], fps: float) -> Iterator[Any]:
    import av

    waiting = list(reversed(times))
    before: tuple[float, Any] | None = None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            # Goes back to a frame that can be decoded by itself.
            container.seek(max(0, int((times[0] - 0.5 / fps) / stream.time_base)), stream=stream)
            for frame in container.decode(stream):
                if frame.pts is None:
                    raise PictureError("the video has a frame without a time")
                this = float(frame.pts * stream.time_base), frame
                while waiting and this[0] >= waiting[-1]:
                    yield _frame_at(waiting.pop(), [this, before or this], fps)
                if not waiting:
                    return
                before = this
    except (av.FFmpegError, OSError, IndexError, OverflowError) as error:
        raise PictureError(f"the video cannot be read: {error}") from error
    while waiting:
        yield _frame_at(waiting.pop(), [before] if before else [], fps)


def _frame_at(time_s: float, candidates: Sequence[tuple[float, Any]], fps: float) -> Any:
    nearest = min(candidates, key=lambda candidate: abs(candidate[0] - time_s), default=None)
    if nearest is None or abs(nearest[0] - time_s) > 0.5 / fps:
        raise PictureError(f"the video has no frame at {time_s:.3f} s")
    layout = nearest[1].format
    if layout.name.startswith("gray") and layout.components[0].bits > 8:
        raise PictureError(_DEEP.format(layout.name))
    return nearest[1]


_DEEP = "grey of more than eight bits ({}) is depth or the like, and no colours"


def _opened(source: bytes | Path) -> Image.Image:
    try:
        if isinstance(source, Path) and not source.is_file():
            raise PictureError(f"there is no file {source}")
        with warnings.catch_warnings():
            # PIL only warns of pictures half as large as those that it refuses.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
                if math.prod(image.size) > MAX_PIXELS:
                    raise PictureError(f"{image.width} x {image.height} pixels are too many")
                image.load()
                return image
    except PictureError:
        raise
    except Image.UnidentifiedImageError:
        raise PictureError(f"it is no picture in {', '.join(FORMATS)}") from None
    except Exception as error:
        # PIL's readers raise whatever broken bytes lead to.
        raise PictureError(f"{type(error).__name__}: {str(error)[:200]}") from error


def _with_colours(image: Image.Image) -> Image.Image:
    """The picture as RGB, if no value is lost or made up by that."""
    if image.mode.startswith(("I", "F")):
        raise PictureError(_DEEP.format(image.mode))
    if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
        raise PictureError("it is transparent in places, and what is seen there is not said")
    return image.convert("RGB")
