"""The model that an online run compares frames by. A plain class; Ray is not needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from actors.rating.labellers.clip import ClipModel, goal_baseline_reward
from actors.rating.labellers.loading import model_type_of
from actors.rating.labellers.roboclip import RoboClip
from actors.rating.labellers.settings import ModelSettings, RoboClipLabeller
from actors.rating.labellers.video import Video
from actors.rating.similarity.settings import POCKET_CLIP, POCKET_CLIP_FOLDER, SimilaritySettings
from algorithms.ratings import RaterIdentity

BLOCK = "similarity"
S3D_FIELDS = (f"{BLOCK}.s3d_weights", f"{BLOCK}.s3d_words")


@dataclass(frozen=True)
class Loaded:
    """A model that is there."""

    identity: RaterIdentity
    """Its weights."""
    num_frames: int
    """Frames that it wants of an episode."""


class VideoModel(Protocol):
    """What compares a whole episode with a sentence."""

    num_frames: int
    """Frames that it looks at."""

    def identity(self) -> RaterIdentity: ...

    def similarity(self, frames: Sequence[bytes], instruction: str) -> float:
        """Of so many PNG files, in time order, and a text."""
        ...


class SimilarityModel:
    """Compares frames with sentences. Equal frames, sentences and batches give equal numbers.

    Nothing is loaded before the first call.
    """

    def __init__(self, settings: SimilaritySettings, baseline: str) -> None:
        """`settings.num_gpus` is a number; `baseline` is the sentence to use, whatever the settings say."""
        self._settings, self._baseline = settings, baseline
        self._texts: dict[str, torch.Tensor] = {}
        if not settings.num_gpus:
            # The actor has one core; with more threads than that, processes fight.
            torch.set_num_threads(1)

    def start(self) -> Loaded:
        """Load the model, unless it is there. Raises ValueError with field, value, rule and remedy."""
        if self._settings.method == "vlm_rm":
            return Loaded(self._clip.identity, self._settings.num_frames)
        return Loaded(self._video.identity(), self._video.num_frames)

    def of_frames(self, pngs: Sequence[bytes], goal: str) -> np.ndarray:
        """VLM-RM's reward of PNG files, float64 [N]: 1 at most."""
        frames = self._clip.frames(pngs, self._settings.batch_size)
        goal_text, baseline = self._text(goal), self._text(self._baseline)
        return goal_baseline_reward(frames, goal_text, baseline, self._settings.alpha).numpy()

    def of_episode(self, pngs: Sequence[bytes], goal: str) -> float:
        """How well an episode, of which as many PNG files as `start` said are given in time order, fits a text."""
        return self._video.similarity(pngs, goal)

    @cached_property
    def _clip(self) -> ClipModel:
        return ClipModel(model_settings(self._settings), BLOCK)

    @cached_property
    def _video(self) -> VideoModel:
        settings = self._settings
        if settings.s3d_weights is not None and settings.s3d_words is not None:
            chosen = RoboClipLabeller(
                weights=settings.s3d_weights,
                words=settings.s3d_words,
                num_frames=settings.num_frames,
                device="cuda" if settings.num_gpus else "cpu",
            )
            return RoboClip(chosen, S3D_FIELDS)
        wanted = model_settings(settings)
        if model_type_of(wanted, BLOCK) == "xclip":
            return Video(wanted, BLOCK)
        return MeanFrame(self._clip, settings.num_frames, settings.batch_size)

    def _text(self, text: str) -> torch.Tensor:
        if text not in self._texts:
            self._texts[text] = self._clip.text(text)
        return self._texts[text]


class MeanFrame:
    """Stands in for a video network: an episode is the mean of its frames' embeddings, brought to length 1."""

    def __init__(self, model: ClipModel, num_frames: int, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        self.num_frames = num_frames

    def identity(self) -> RaterIdentity:
        """The CLIP's weights."""
        return self._model.identity

    def similarity(self, frames: Sequence[bytes], instruction: str) -> float:
        """Cosine of an episode's PNG files and a text."""
        mean = self._model.frames(frames, self._batch_size).mean(dim=0)
        return float(torch.nn.functional.cosine_similarity(mean, self._model.text(instruction), dim=0))


def model_settings(settings: SimilaritySettings) -> ModelSettings:
    """Which weights to load, and where to."""
    return ModelSettings(
        model=str(POCKET_CLIP_FOLDER) if settings.model == POCKET_CLIP else str(Path(settings.model).expanduser()),
        revision=settings.revision,
        device="cuda" if settings.num_gpus else "cpu",
        dtype="auto" if settings.num_gpus else "float32",
    )
