"""Every question about a window as tokens, exactly as the rating server asks it."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2Tokenizer

from actors.pocket.tokenizer import END_OF_TURN, IMAGE
from actors.pocket.windows.data import TiledWindow
from actors.pocket.windows.model import COLUMNS, IMAGE_TOKENS, SIDE
from actors.pocket.windows.words import EFFECTS, SCORE_OF, SIGHTS, analysis_of
from actors.rating.vllm_engine import chat_text
from algorithms.prompts import Prompt
from algorithms.scores import MAX_SCORE
from algorithms.scoring_prompts import (
    SCORE_LETTERS,
    one_score_prompt,
    scores_prompt,
    scores_text,
    single_turn_prompt,
    window_analysis_prompt,
)

SCORES_BEGIN = r"\[|,"
"""What stands before each score of a list."""
DECISION_WEIGHT = 4.0
"""How much a token that decides what is seen or scored counts. Most tokens of an answer are numbers and commas, which
follow from those before."""


@dataclass(frozen=True)
class Conversation:
    """Token ids of questions and answers, and what of them is to be learnt."""

    tokens: np.ndarray
    """int64 [L]."""
    weights: np.ndarray
    """float32 [L]: how much it counts that a token is said right; 0 for those of questions."""
    judges: np.ndarray
    """int64 [L]: which of the window's actions a token begins to judge; -1 for all other tokens."""


class WindowQuestions:
    """Questions about windows, in one tokenizer's words."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self.image_token = tokenizer.convert_tokens_to_ids(IMAGE)
        self.end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
        self.letters = [tokenizer.encode(letter, add_special_tokens=False)[0] for letter in SCORE_LETTERS]
        self._tokenizer = tokenizer

    def two_turns(self, window: TiledWindow, effects: Sequence[int]) -> Conversation:
        """Both questions and what is to be answered if the actions had these effects."""
        analysis, scores = analysis_of(window.sights, effects), _scores(effects)
        first, second = self.turn_one(window), self.turn_two(window, analysis)
        said = self._encode(analysis + END_OF_TURN)
        between = second[len(first) + len(said) :]
        talk = _joined([(first, False), (said, True), (between, False), (self._encode(scores + END_OF_TURN), True)])
        talk.weights[self._starts(len(first), analysis, r"\d+:? ")] = DECISION_WEIGHT
        talk.weights[self._starts(len(first) + len(said) + len(between), scores, SCORES_BEGIN)] = DECISION_WEIGHT
        judged = self._starts(len(first), analysis, r"\d+: ")
        talk.judges[judged] = range(len(judged))
        return talk

    def single_turn(self, window: TiledWindow, effects: Sequence[int]) -> Conversation:
        """The one question for all scores, with its answer."""
        question, scores = self.one_turn(window), _scores(effects)
        talk = _joined([(question, False), (self._encode(scores + END_OF_TURN), True)])
        judged = self._starts(len(question), scores, SCORES_BEGIN)
        talk.weights[judged] = DECISION_WEIGHT
        talk.judges[judged] = range(len(judged))
        return talk

    def one_score(self, window: TiledWindow, place: int, effects: Sequence[int]) -> Conversation:
        """The question for one action's letter, with its answer."""
        question, letter = self.letter(window, place), SCORE_LETTERS[SCORE_OF[effects[place]]]
        talk = _joined([(question, False), (self._encode(letter + END_OF_TURN), True)])
        talk.judges[len(question)] = place
        return talk

    def turn_one(self, window: TiledWindow) -> list[int]:
        """Tokens up to where the analysis begins."""
        return self._prompt(window_analysis_prompt(window.request("two_turn")))

    def turn_two(self, window: TiledWindow, analysis: str) -> list[int]:
        """Tokens up to where the scores begin."""
        return self._prompt(scores_prompt(window.request("two_turn"), analysis))

    def one_turn(self, window: TiledWindow) -> list[int]:
        """Tokens of the single turn up to where the scores begin."""
        return self._prompt(single_turn_prompt(window.request("single_turn")))

    def letter(self, window: TiledWindow, place: int) -> list[int]:
        """Tokens up to where the letter of the action at that place stands."""
        return self._prompt(one_score_prompt(window.request("logits"), place))

    def text(self, tokens: Iterable[int]) -> str:
        """The words of an answer's tokens, up to its end."""
        said = list(tokens)
        return self._tokenizer.decode(said[: said.index(self.end)] if self.end in said else said)

    def _prompt(self, prompt: Prompt) -> list[int]:
        tokens: list[int] = []
        for token in self._encode(chat_text(self._tokenizer, prompt, 1)):
            tokens.extend([token] * (IMAGE_TOKENS if token == self.image_token else 1))
        return tokens

    def _starts(self, begin: int, answer: str, before: str) -> list[int]:
        """The tokens after each match of the pattern `before`, of an answer that begins at token `begin`."""
        offsets = self._tokenizer(answer + END_OF_TURN, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in offsets["offset_mapping"]]
        return [begin + bisect_right(ends, match.end()) for match in re.finditer(before, answer)]

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


def all_texts(windows: Iterable[TiledWindow]) -> Iterator[str]:
    """Every text that the tokenizer should know well."""
    for window in windows:
        analysis = analysis_of(window.sights, window.effects)
        for prompt in (
            scores_prompt(window.request("two_turn"), analysis),
            single_turn_prompt(window.request("single_turn")),
            *(one_score_prompt(window.request("logits"), place) for place in range(len(window.actions))),
        ):
            yield "\n".join([prompt.system, *(text for turn in prompt.earlier for text in turn), prompt.text])
    yield analysis_of(list(range(len(SIGHTS))), list(range(len(EFFECTS))))
    yield scores_text(list(range(MAX_SCORE + 1)))
    yield "system\n user\n assistant\n " + " ".join(SCORE_LETTERS)


@dataclass(frozen=True)
class Batch:
    """Conversations padded on the right to one length."""

    tokens: Tensor
    """[B, L] int64."""
    positions: Tensor
    """[3, B, L] int64: temporal, height and width position, as in Qwen2.5-VL."""
    targets: Tensor
    """[B, L] int64: the token to predict at each place."""
    weights: Tensor
    """[B, L] float32: how much it counts; 0 where nothing is learnt."""
    judges: Tensor
    """[B, L] int64: which action that token begins to judge; -1 for all other tokens."""


def batch_of(conversations: list[Conversation], image_token: int) -> Batch:
    """A batch of conversations, each with one picture."""
    length = max(len(one.tokens) for one in conversations) - 1
    tokens = np.zeros((len(conversations), length), dtype=np.int64)
    targets = np.zeros((len(conversations), length), dtype=np.int64)
    weights = np.zeros((len(conversations), length), dtype=np.float32)
    judges = np.full((len(conversations), length), -1)
    positions = np.zeros((3, len(conversations), length), dtype=np.int64)
    for row, one in enumerate(conversations):
        size = len(one.tokens) - 1
        tokens[row, :size] = one.tokens[:-1]
        targets[row, :size], weights[row, :size] = one.tokens[1:], one.weights[1:]
        judges[row, :size] = one.judges[1:]
        positions[:, row] = positions_of(tokens[row], image_token)
    return Batch(*(torch.from_numpy(array) for array in (tokens, positions, targets, weights, judges)))


def positions_of(tokens: np.ndarray, image_token: int) -> np.ndarray:
    """Positions [3, L] of a text with one picture, which takes as many places as its side has tokens."""
    side = COLUMNS * SIDE
    steps, start = np.arange(len(tokens)), int((tokens == image_token).argmax())
    places = np.tile(np.where(steps < start, steps, steps - IMAGE_TOKENS + side), (3, 1))
    rows, columns = np.divmod(np.arange(IMAGE_TOKENS), side)
    places[:, start : start + IMAGE_TOKENS] = start + np.stack([np.zeros_like(rows), rows, columns])
    return places


def _scores(effects: Sequence[int]) -> str:
    return scores_text([SCORE_OF[effect] for effect in effects])


def _joined(parts: list[tuple[list[int], bool]]) -> Conversation:
    tokens = np.array([token for part, _ in parts for token in part], dtype=np.int64)
    weights = np.array([answers for part, answers in parts for _ in part], dtype=np.float32)
    return Conversation(tokens, weights, np.full(len(tokens), -1))
