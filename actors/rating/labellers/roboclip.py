"""Trajectory-goal similarity as in RoboCLIP (Sontakke et al. 2023, arXiv 2310.07899), by S3D with the user's files.

As in its published code: frames at even distances, their centre, values from 0 to 255 as they are, and the dot product
of the two embeddings with no normalisation. The weights are pickled; they are read as tensors only, never as code.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from actors.rating.labellers.labeller import Labeller, Labels, labels_of_whole
from actors.rating.labellers.loading import device_of
from actors.rating.labellers.s3d import S3D
from actors.rating.labellers.settings import RoboClipLabeller
from actors.rating.labellers.video import clip_frames
from algorithms.images import decode_png
from algorithms.ratings import RaterIdentity
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory

FIELDS = ("labeller.weights", "labeller.words")
"""Where a user names the two files."""


class RoboClip(Labeller):
    """The last action earns the similarity of trajectory and instruction, all others 0 and no score."""

    def __init__(self, settings: RoboClipLabeller, fields: tuple[str, str] = FIELDS) -> None:
        """Load the network. Raises ValueError, where weights and words are called by `fields`."""
        self._settings = settings
        self.num_frames = settings.num_frames
        self._device = device_of(settings)
        words = _words(settings.words, fields[1])
        self._network = S3D(words)
        _load(self._network, settings.weights, fields)
        self._network.eval().requires_grad_(False).to(self._device)
        self._identity = RaterIdentity(f"sha256:{_digest(settings.weights, settings.words)}", "local")

    def identity(self) -> RaterIdentity:
        """Digest of both files."""
        return self._identity

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """No question is asked."""
        return labels_of_whole(episode, lambda whole: self.similarity(whole.frames, whole.instruction))

    @torch.inference_mode()
    def similarity(self, frames: Sequence[bytes], instruction: str) -> float:
        """That of a video's PNG files and a text."""
        shown = [frames[index] for index in clip_frames(len(frames), self.num_frames)]
        pixels = np.stack([centre(decode_png(png), self._settings.frame_px) for png in shown])
        video = torch.from_numpy(pixels).to(self._device).float().permute(3, 0, 1, 2)
        if self._settings.pixel_values == "unit":
            video = video / 255.0
        seen = self._network.video(video[None])[0].double()
        goal = self._network.text(instruction).double()
        if self._settings.similarity == "cosine":
            return float(torch.nn.functional.cosine_similarity(seen, goal, dim=0))
        return float(seen @ goal)


def centre(frame: np.ndarray, side: int) -> np.ndarray:
    """The middle square of a frame uint8 [H, W, 3], uint8 [side, side, 3]; a smaller frame is enlarged first."""
    height, width = frame.shape[:2]
    if min(height, width) < side:
        scale = side / min(height, width)
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
        height, width = frame.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    return frame[top : top + side, left : left + side]


def _words(path: Path, field: str) -> list[str]:
    try:
        words = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{field} = {str(path)!r} cannot be read ({error}); it must be s3d_dict.npy, an array of words"
        ) from None
    if words.ndim != 1 or words.dtype.kind != "U":
        raise ValueError(
            f"{field} = {str(path)!r} holds {words.dtype} {list(words.shape)}, but must hold a list of words"
        )
    return words.tolist()


def _load(network: S3D, path: Path, fields: tuple[str, str]) -> None:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - A file that is no such thing fails in many ways.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{fields[0]} = {str(path)!r} cannot be read ({reason}); it must be s3d_howto100m.pth, tensors by name"
        ) from None
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(
            f"{fields[0]} = {str(path)!r} does not fit S3D and {fields[1]} ({lines[min(1, len(lines) - 1)]}); "
            "both files must be those of HowTo100M's S3D"
        ) from None


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
