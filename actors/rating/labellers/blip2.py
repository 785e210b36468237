"""Frame-goal similarity by BLIP-2 (Li et al. 2023, arXiv 2301.12597), as RG-VLM compares itself with."""

from collections.abc import Sequence

import numpy as np
import torch

from actors.rating.labellers.labeller import Labeller, Labels, labels_of_values, whole_frames
from actors.rating.labellers.loading import load_model
from actors.rating.labellers.settings import Blip2Labeller
from algorithms.ratings import RaterIdentity
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory

TEXT_TOKENS = 32
"""Longer instructions are cut, as where the model was trained (LAVIS)."""


class Blip2(Labeller):
    """A frame's value is its similarity to the instruction: a cosine (itc) or a probability (itm)."""

    def __init__(self, settings: Blip2Labeller) -> None:
        """Load the model. Raises ValueError."""
        self._settings = settings
        self._model = load_model("Blip2ForImageTextRetrieval", "blip-2", settings)

    def identity(self) -> RaterIdentity:
        """The model's weights."""
        return self._model.identity

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """No question is asked."""
        values = np.full(len(episode.frames), np.nan)
        words = self._words(episode.instruction)
        whole = whole_frames(episode)
        for start in range(0, len(whole), self._settings.batch_size):
            batch = whole[start : start + self._settings.batch_size]
            values[batch] = self._similarity([episode.frames[index] for index in batch], words)
        return labels_of_values(values, self._settings.reward)

    def _words(self, text: str) -> dict[str, torch.Tensor]:
        words = self._model.words(text, TEXT_TOKENS)
        config = self._model.network.config
        if config.image_token_index is None:
            return words
        # Such a checkpoint wants a place for each query before the text.
        num_queries = config.num_query_tokens
        places = torch.full((1, num_queries), config.image_token_index, device=self._model.device)
        return {
            "input_ids": torch.cat([places, words["input_ids"]], dim=1),
            "attention_mask": torch.cat([torch.ones_like(places), words["attention_mask"]], dim=1),
        }

    @torch.inference_mode()
    def _similarity(self, frames: Sequence[bytes], words: dict[str, torch.Tensor]) -> np.ndarray:
        is_itm = self._settings.head == "itm"
        texts = {name: values.expand(len(frames), -1) for name, values in words.items()} if is_itm else words
        logits = self._model.network(
            pixel_values=self._model.pixels(frames), **texts, use_image_text_matching_head=is_itm
        ).logits_per_image.double()
        # itm: [N, 2], not matching and matching; one softmax makes it a probability. itc: [N, 1], the cosine itself.
        return (torch.softmax(logits, dim=1)[:, 1] if is_itm else logits[:, 0]).cpu().numpy()
