"""Trajectory-goal similarity, in the manner of RoboCLIP (Sontakke et al. 2023, arXiv 2310.07899), by X-CLIP.

RoboCLIP itself uses S3D of HowTo100M, with a dot product that is not normalised (`roboclip.py`). The hub has an X-CLIP
for everyone; what it says is "RoboCLIP-style" and should be called so.
"""

from collections.abc import Sequence

import torch

from actors.rating.labellers.labeller import Labeller, Labels, labels_of_whole
from actors.rating.labellers.loading import load_model
from actors.rating.labellers.settings import ModelSettings
from algorithms.progress import spread
from algorithms.ratings import RaterIdentity
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory


class Video(Labeller):
    """The last action earns the cosine of trajectory and instruction, all others 0 and no score."""

    def __init__(self, settings: ModelSettings, block: str = "labeller") -> None:
        """Load the model. Raises ValueError, which names fields of `block`."""
        self._model = load_model("XCLIPModel", "xclip", settings, block)
        self._num_tokens = self._model.network.config.text_config.max_position_embeddings
        self.num_frames = self._model.network.config.vision_config.num_frames

    def identity(self) -> RaterIdentity:
        """The model's weights."""
        return self._model.identity

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """No question is asked."""
        return labels_of_whole(episode, lambda whole: self.similarity(whole.frames, whole.instruction))

    @torch.inference_mode()
    def similarity(self, frames: Sequence[bytes], instruction: str) -> float:
        """Cosine of a video's PNG files and a text."""
        pixels = self._model.pixels([frames[index] for index in clip_frames(len(frames), self.num_frames)]).unsqueeze(0)
        found = self._model.network(pixel_values=pixels, **self._model.words(instruction, self._num_tokens))
        # The text's embedding depends on the video in X-CLIP; both have length 1, up to rounding.
        video, text = found.video_embeds[0].double(), found.text_embeds[0, 0].double()
        return float(torch.nn.functional.cosine_similarity(video, text, dim=0))


def clip_frames(number: int, wanted: int) -> list[int]:
    """Exactly `wanted` of `number` frames, evenly spread; frames of a short trajectory are repeated."""
    if number >= wanted:
        return spread(number, wanted)
    return [index * number // wanted for index in range(wanted - 1)] + [number - 1]
