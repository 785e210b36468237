"""Questions and answers as tokens, exactly as the rating server asks them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2Tokenizer

from actors.pocket.pictures import Layout
from actors.pocket.tokenizer import END_OF_TURN, IMAGE
from actors.rating.chat import chat_text
from algorithms.prompts import Prompt


@dataclass(frozen=True)
class Conversation:
    """Token ids of questions and answers, and what of them is to be learnt."""

    tokens: np.ndarray
    """int64 [L]."""
    weights: np.ndarray
    """float32 [L]: how much it counts that a token is said right; 0 for those of questions."""


@dataclass(frozen=True)
class Batch:
    """Conversations, padded on the right to one length."""

    tokens: Tensor
    """[B, L] int64."""
    positions: Tensor
    """[3, B, L] int64: temporal, height and width position, as in Qwen-VL."""
    targets: Tensor
    """[B, L] int64: the token to predict at each place."""
    weights: Tensor
    """[B, L] float32: how much it counts; 0 where nothing is learnt."""


class Questions:
    """What all questions need: a tokenizer, and how many tokens a picture has."""

    def __init__(self, tokenizer: Qwen2Tokenizer, layout: Layout) -> None:
        self.image_token = tokenizer.convert_tokens_to_ids(IMAGE)
        self.end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
        self.tokenizer, self.layout = tokenizer, layout

    def prompt(self, prompt: Prompt, num_images: int) -> list[int]:
        """Tokens up to where the answer begins."""
        tokens: list[int] = []
        for token in self.encode(chat_text(self.tokenizer, prompt, num_images)):
            tokens.extend([token] * (self.layout.num_tokens if token == self.image_token else 1))
        return tokens

    def answer(self, text: str) -> list[int]:
        """Tokens of an answer, its end of turn included."""
        return self.encode(text + END_OF_TURN)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def text(self, tokens: Iterable[int]) -> str:
        """The words of an answer's tokens, up to its end."""
        said = list(tokens)
        return self.tokenizer.decode(said[: said.index(self.end)] if self.end in said else said)

    def batch_of(self, conversations: Sequence[Conversation]) -> Batch:
        """A batch of conversations, each with equally many pictures."""
        tokens = padded([one.tokens[:-1] for one in conversations])
        targets = padded([one.tokens[1:] for one in conversations])
        weights = padded([one.weights[1:] for one in conversations])
        positions = np.stack([self.positions_of(row) for row in tokens], axis=1)
        return Batch(*(torch.from_numpy(array) for array in (tokens, positions, targets, weights)))

    def positions_of(self, tokens: np.ndarray) -> np.ndarray:
        """Positions [3, L] of a text with pictures, each of which takes as many places as its side has tokens."""
        steps, is_image = np.arange(len(tokens)), tokens == self.image_token
        places, size, side = np.tile(steps, (3, 1)), self.layout.num_tokens, self.layout.side
        rows, columns = np.divmod(np.arange(size), side)
        for number, start in enumerate(np.flatnonzero(is_image & ~np.insert(is_image[:-1], 0, False))):
            begin = start - number * (size - side)
            places[:, start : start + size] = begin + np.stack([np.zeros_like(rows), rows, columns])
            places[:, start + size :] = steps[start + size :] - (number + 1) * (size - side)
        return places


def joined(parts: Iterable[tuple[Sequence[int], bool]]) -> Conversation:
    """A conversation of questions and answers; which of the two a part is, is said beside it."""
    parts = list(parts)
    tokens = np.array([token for part, _ in parts for token in part], dtype=np.int64)
    weights = np.array([answers for part, answers in parts for _ in part], dtype=np.float32)
    return Conversation(tokens, weights)


def padded(rows: Sequence[np.ndarray], fill: int = 0) -> np.ndarray:
    """Rows [L_i] as one array [B, L], filled up on the right."""
    array = np.full((len(rows), max(map(len, rows))), fill, dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        array[place, : len(row)] = row
    return array
