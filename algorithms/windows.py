"""Windows of a trajectory: which actions and frames a question shows, the joined picture, and scores into rewards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from algorithms.images import decode_png, encode_png
from algorithms.label_settings import RewardSettings, SparseJoin, WindowSettings
from algorithms.scores import MAX_SCORE, ScoreRequest, ScoringMode

PADDING_ACTION = "nothing"
"""Stands for an action that is not there, in padded windows."""

_GLYPHS = {
    "0": (7, 5, 5, 5, 7),
    "1": (2, 6, 2, 2, 7),
    "2": (7, 1, 7, 4, 7),
    "3": (7, 1, 3, 1, 7),
    "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7),
    "6": (7, 4, 7, 5, 7),
    "7": (7, 1, 2, 2, 2),
    "8": (7, 5, 7, 5, 7),
    "9": (7, 5, 7, 1, 7),
}
"""Digits of three by five dots, a number for each row: drawn here, so that pictures do not depend on a font."""
_PX_PER_DOT = 84
"""A dot of a frame's number is one pixel for every so many of the frame's height."""


@dataclass(frozen=True)
class Window:
    """Which part of a trajectory one question shows."""

    actions: tuple[int | None, ...]
    """Indices of the actions; None where a window is padded."""
    frames: tuple[int, ...]
    """Indices of the frames."""
    first_kept: int
    """Scores before this place in `actions` are not used: an earlier window has them."""

    @property
    def kept(self) -> list[tuple[int, int]]:
        """(place in the window, index of the action) of every score that counts."""
        return [(i, t) for i, t in enumerate(self.actions) if t is not None and i >= self.first_kept]


def windows_of(num_actions: int, settings: WindowSettings) -> list[Window]:
    """The windows of a trajectory; every action counts in exactly one of them."""
    width = settings.num_actions
    return [_window(start, num_actions, settings) for start in range(0, num_actions, width)]


def score_request(
    window: Window,
    frames: Sequence[bytes],
    action_names: Sequence[str],
    instruction: str,
    mode: ScoringMode,
    settings: WindowSettings,
) -> ScoreRequest:
    """The question about a window of a trajectory with these frames (PNG files) and actions.

    Raises OSError, SyntaxError or ValueError if a frame cannot be decoded.
    """
    pictures = [decode_png(frames[index]) for index in window.frames]
    names = [PADDING_ACTION if index is None else action_names[index] for index in window.actions]
    picture = encode_png(join_window(pictures, settings))
    return ScoreRequest((picture,), instruction, tuple(names), mode, frame_note(len(pictures), settings))


def frame_note(num_frames: int, settings: WindowSettings) -> str:
    """What a question says about the picture of so many frames."""
    columns, _ = grid_of(settings)
    rows = f"rows of {columns}" if num_frames > columns else "one row"
    return f"{num_frames} numbered frames in {rows}, in time order"


def grid_of(settings: WindowSettings) -> tuple[int, int]:
    """Columns and rows of the picture of a full window."""
    number = settings.num_actions + settings.last_frame
    columns = number if settings.layout == "row" else math.ceil(math.sqrt(number))
    return columns, math.ceil(number / columns)


def picture_size(height: int, width: int, settings: WindowSettings) -> tuple[int, int]:
    """Height and width in pixels of the picture that `join_window` makes of frames of this height and width."""
    columns, rows = grid_of(settings)
    height, width = _frame_size(height, width, settings)
    return rows * height, columns * width


def join_window(frames: Sequence[np.ndarray], settings: WindowSettings) -> np.ndarray:
    """One picture of frames uint8 [H, W, 3] in time order, row by row, each with its number in its top left corner.

    Every picture of equal settings and equal frames has the same size: where a short window has no frame it is black.
    """
    height, width = _frame_size(*frames[0].shape[:2], settings)
    columns, _ = grid_of(settings)
    picture = np.zeros((*picture_size(*frames[0].shape[:2], settings), 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        y, x = index // columns * height, index % columns * width
        picture[y : y + height, x : x + width] = _resized(frame, height, width)
        number = _number(index + 1, max(1, height // _PX_PER_DOT))[:height, :width]
        picture[y : y + number.shape[0], x : x + number.shape[1]] = number
    return picture


def dense_rewards(scores: np.ndarray, settings: RewardSettings, full_score: float = MAX_SCORE) -> np.ndarray:
    """Rewards float32 [T] from scores [T], at most `full_score`; NaN, for no score, stays NaN."""
    values = scores.astype(np.float64)
    known = values[~np.isnan(values)]
    if not len(known):
        return scores.astype(np.float32)
    if settings.normalisation == "unit":
        values = values / full_score
    elif settings.normalisation == "min_max":
        low, high = known.min(), known.max()
        values = (values - low) / (high - low) if high > low else values - low
    elif settings.normalisation == "budget":
        total = known.sum()
        values = values / total if total > 0 else values
    return (settings.dense_weight * values).astype(np.float32)


def rewards_of(
    scores: np.ndarray, sparse: np.ndarray, settings: RewardSettings, full_score: float = MAX_SCORE
) -> np.ndarray:
    """A column of rewards float32 [T] from scores [T] and sparse rewards [T]; NaN where there is no score."""
    return join_sparse(dense_rewards(scores, settings, full_score), sparse, settings.sparse)


def join_sparse(dense: np.ndarray, sparse: np.ndarray, how: SparseJoin) -> np.ndarray:
    """Dense and sparse rewards [T] as one column float32 [T]; NaN where the dense one is not known."""
    sparse = sparse.astype(np.float32)
    if how == "none":
        return dense
    if how == "replace":
        return np.where((sparse != 0) & ~np.isnan(dense), sparse, dense)
    if how == "max":
        return np.maximum(dense, sparse)
    summed = dense + sparse
    return np.minimum(summed, 1.0) if how == "clip" else summed


def _window(start: int, num_actions: int, settings: WindowSettings) -> Window:
    width = settings.num_actions
    end = min(start + width, num_actions)
    first_kept = 0
    if end - start < width and settings.short_window == "shifted":
        first_kept = start - max(0, end - width)
        start -= first_kept
    actions: list[int | None] = list(range(start, end))
    frames = list(range(start, end + settings.last_frame))
    if settings.short_window == "padded":
        missing = width - len(actions)
        actions += [None] * missing
        frames += [frames[-1]] * missing
    return Window(tuple(actions), tuple(frames), first_kept)


def _frame_size(height: int, width: int, settings: WindowSettings) -> tuple[int, int]:
    shown = settings.frame_px or height
    return shown, max(1, round(width * shown / height))


def _resized(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    how = Image.Resampling.BOX if height < frame.shape[0] else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), how))


def _number(number: int, dot_px: int) -> np.ndarray:
    """White digits on black, uint8 [H, W, 3]: 7 dots high, and 4 wide for each digit, and 1."""
    # The place before a digit is a gap: shifted out by three, no bit is left.
    rows = [[bool(_GLYPHS[digit][y] >> (2 - x) & 1) for digit in str(number) for x in range(-1, 3)] for y in range(5)]
    dots = np.pad(np.array(rows), ((1, 1), (0, 1)))
    return np.repeat(np.repeat(dots, dot_px, axis=0), dot_px, axis=1)[..., None] * np.full(3, 255, dtype=np.uint8)
