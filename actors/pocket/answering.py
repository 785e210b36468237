"""What a pocket rater answers: the most likely tokens, as the rating server asks it, or the weights of some labels."""

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from actors.pocket.model import PocketModel, embedded
from actors.pocket.questions import Questions


def spoken(
    model: PocketModel, questions: Questions, asked: list[list[int]], seen: Tensor | None, max_tokens: int
) -> list[list[int]]:
    """The most likely tokens that follow each prompt, up to where all have ended their turns or `max_tokens`.

    `seen` are the pictures' tokens [B, tokens, width]; None if the prompts have no picture.
    """
    states, reading = _read_prompts(model, questions, asked, seen)
    said = torch.zeros((len(asked), 0), dtype=torch.long)
    with torch.inference_mode():
        while True:
            said = torch.cat([said, model.lm_head(states).argmax(dim=-1, keepdim=True)], dim=1)
            if said.shape[1] == max_tokens or (said == questions.end).any(dim=1).all():
                return said.tolist()
            states = reading.go_on(model, said[:, -1:])


def label_logits(
    model: PocketModel, questions: Questions, asked: list[list[int]], seen: Tensor | None, labels: list[int]
) -> Tensor:
    """Logits [B, labels] of those tokens as the first of the answer; `seen` as in `spoken`."""
    states, _ = _read_prompts(model, questions, asked, seen)
    with torch.inference_mode():
        return model.lm_head(states)[:, labels]


class _Reading:
    """What the text model has read of a batch of prompts, which are padded on the left."""

    def __init__(self, mask: Tensor, positions: Tensor, cache: DynamicCache) -> None:
        self.mask, self.positions, self.cache = mask, positions, cache

    def go_on(self, model: PocketModel, tokens: Tensor) -> Tensor:
        """Last states [B, width] after one more token [B, 1] each."""
        self.mask = torch.cat([self.mask, torch.ones_like(tokens)], dim=1)
        self.positions = self.positions[..., -1:] + 1
        return self.read(model, embedded(model, tokens, None))

    def read(self, model: PocketModel, words: Tensor) -> Tensor:
        """Last states [B, width] after what is embedded, [B, L, width]."""
        return model.model.language_model(
            inputs_embeds=words,
            position_ids=self.positions,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[:, -1]


def _read_prompts(
    model: PocketModel, questions: Questions, asked: list[list[int]], seen: Tensor | None
) -> tuple[Tensor, _Reading]:
    length = max(map(len, asked))
    tokens = np.full((len(asked), length), questions.end)
    mask = np.zeros((len(asked), length), dtype=np.int64)
    positions = np.zeros((3, len(asked), length), dtype=np.int64)
    for row, prompt in enumerate(asked):
        inside = slice(length - len(prompt), length)
        tokens[row, inside], mask[row, inside] = prompt, 1
        positions[:, row, inside] = questions.positions_of(np.array(prompt))
    with torch.inference_mode():
        reading = _Reading(torch.from_numpy(mask), torch.from_numpy(positions), DynamicCache())
        return reading.read(model, embedded(model, torch.from_numpy(tokens), seen)), reading
