"""Frame-goal similarity by CLIP with goal-baseline regularisation: VLM-RM (Rocamonde et al. 2023, arXiv 2310.12921)."""

from collections.abc import Sequence

import numpy as np
import torch

from actors.rating.labellers.labeller import Labeller, Labels, labels_of_values, whole_frames
from actors.rating.labellers.loading import load_model
from actors.rating.labellers.settings import ClipLabeller, ModelSettings
from algorithms.ratings import RaterIdentity
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory


class Clip(Labeller):
    """A frame's value is its regularised similarity to the instruction; 1 at most."""

    def __init__(self, settings: ClipLabeller) -> None:
        """Load the model. Raises ValueError."""
        self._settings = settings
        self._model = ClipModel(settings)
        self._baseline = self._model.text(settings.baseline)

    def identity(self) -> RaterIdentity:
        """The model's weights."""
        return self._model.identity

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """No question is asked."""
        values = np.full(len(episode.frames), np.nan)
        goal = self._model.text(episode.instruction)
        whole = whole_frames(episode)
        frames = self._model.frames([episode.frames[index] for index in whole], self._settings.batch_size)
        values[whole] = goal_baseline_reward(frames, goal, self._baseline, self._settings.alpha).numpy()
        return labels_of_values(values, self._settings.reward)


class ClipModel:
    """A CLIP of transformers: texts and frames to points of one space, of length 1, float64 on the processor."""

    def __init__(self, settings: ModelSettings, block: str = "labeller") -> None:
        """Load it. Raises ValueError, which names fields of `block`."""
        self._model = load_model("CLIPModel", "clip", settings, block)
        self._num_tokens = self._model.network.config.text_config.max_position_embeddings
        self.identity = self._model.identity

    @torch.inference_mode()
    def text(self, text: str) -> torch.Tensor:
        """Embedding [D]. A text that is longer than the model reads is cut, as CLIP's own code can."""
        words = self._model.words(text, self._num_tokens)
        return _unit(self._model.network.get_text_features(**words).pooler_output)[0]

    @torch.inference_mode()
    def frames(self, pngs: Sequence[bytes], batch_size: int) -> torch.Tensor:
        """Embeddings [N, D] of PNG files, so many looked at together."""
        found = [torch.zeros((0, self._model.network.config.projection_dim), dtype=torch.float64)]
        for start in range(0, len(pngs), batch_size):
            pixels = self._model.pixels(pngs[start : start + batch_size])
            found.append(_unit(self._model.network.get_image_features(pixel_values=pixels).pooler_output))
        return torch.cat(found)


def goal_baseline_reward(
    frames: torch.Tensor, goal: torch.Tensor, baseline: torch.Tensor, alpha: float
) -> torch.Tensor:
    """1 - |P (x - g)|^2 / 2 for frames x [N, D], float64 [N]; P = alpha L + (1 - alpha) I (VLM-RM, definition 1).

    L projects on the line from baseline [D] to goal g [D]. All are of length 1. With alpha 0 it is the cosine of x and
    g. Where goal and baseline are equal there is no line, and L is 0.
    """
    away = frames - goal
    line = goal - baseline
    length = line.norm()
    along = (away @ line / length**2).unsqueeze(1) * line if length > 0 else torch.zeros_like(away)
    projected = alpha * along + (1 - alpha) * away
    return 1 - projected.square().sum(dim=1) / 2


def _unit(embeddings: torch.Tensor) -> torch.Tensor:
    """float64, so that rewards do not depend on the precision that the network ran in more than they must."""
    return torch.nn.functional.normalize(embeddings.double(), dim=-1).cpu()
