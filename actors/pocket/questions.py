"""Every question that the pocket rater learns to answer, as tokens, exactly as the rating server asks it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen2Tokenizer

from actors.pocket.model import GRID, IMAGE_TOKENS
from actors.pocket.tokenizer import END_OF_TURN, IMAGE, MERGE
from actors.pocket.words import TaskWords
from actors.rating.vllm_engine import chat_text
from algorithms.prompts import Prompt, analysis_prompt, answer_only_prompt, rating_prompt
from algorithms.ratings import AskingMode, RatingRequest, TaskText
from algorithms.scales import SCALE_WORDS, RatingScale


@dataclass(frozen=True)
class PocketTask:
    """A task that the pocket rater learns."""

    name: str
    text: TaskText
    rubrics: dict[int, tuple[str, ...]]
    """For a scale of n levels, its rubric."""
    levels: dict[int, tuple[int, ...]]
    """For a scale of n levels, the level of each stage."""
    words: TaskWords

    def stage(self, hand_state: int, object_state: int) -> int:
        """The stage that a description means: the hand counts until the object has moved."""
        return (
            len(self.words.hand) - 1 + object_state if object_state and self.words.hand else hand_state + object_state
        )


@dataclass(frozen=True)
class Question:
    """A question's tokens, up to where the answer begins, and what the answer depends on."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]
    """Tokens of each possible answer, its end of turn included."""


class Questions:
    """All questions on a list of tasks."""

    def __init__(self, tasks: tuple[PocketTask, ...], tokenizer: Qwen2Tokenizer) -> None:
        self.tasks = tasks
        self._tokenizer = tokenizer
        self._image = tokenizer.convert_tokens_to_ids(IMAGE)
        self._labels = tuple(self._answer(str(level + 1)) for level in range(max(SCALE_WORDS)))

    def answer_only(self, task: PocketTask, num_ratings: int, with_rubric: bool) -> Question:
        """The picture and the question; answers are levels."""
        prompt = answer_only_prompt(request(task, num_ratings, with_rubric, "answer_only"))
        return Question(self._prompt(prompt, 1), self._labels[:num_ratings])

    def analysis(self, task: PocketTask) -> Question:
        """Turn one. Answers are all descriptions, hand by hand: index `hand * number of object states + object`."""
        prompt = analysis_prompt(request(task, 2, False, "two_turn"))
        return Question(self._prompt(prompt, 1), tuple(self._answer(text) for text in analyses(task)))

    def rating(self, task: PocketTask, num_ratings: int, with_rubric: bool, analysis: str) -> Question:
        """Turn two; answers are levels."""
        prompt = rating_prompt(request(task, num_ratings, with_rubric, "two_turn"), analysis)
        return Question(self._prompt(prompt, 0), self._labels[:num_ratings])

    def text(self, tokens: list[int]) -> str:
        """The words of an answer's tokens."""
        return self._tokenizer.decode(tokens)

    def _prompt(self, prompt: Prompt, num_images: int) -> tuple[int, ...]:
        tokens: list[int] = []
        for token in self._tokenizer.encode(chat_text(self._tokenizer, prompt, num_images), add_special_tokens=False):
            tokens.extend([token] * (IMAGE_TOKENS if token == self._image else 1))
        return tuple(tokens)

    def _answer(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text + END_OF_TURN, add_special_tokens=False))


def request(task: PocketTask, num_ratings: int, with_rubric: bool, mode: AskingMode) -> RatingRequest:
    """A request on a task, without its picture."""
    scale = RatingScale.likert(num_ratings, task.rubrics[num_ratings] if with_rubric else ())
    return RatingRequest(images=(), task=task.text, scale=scale, mode=mode)


def analyses(task: PocketTask) -> list[str]:
    """Every description of a task, by hand state and then object state."""
    hands, objects = range(max(1, len(task.words.hand))), range(len(task.words.object))
    return [task.words.analysis(hand, thing) for hand in hands for thing in objects]


def all_texts(tasks: tuple[PocketTask, ...]) -> Iterator[str]:
    """Every text that the tokenizer should know well."""
    for task in tasks:
        for num_ratings in SCALE_WORDS:
            for with_rubric in (False, True):
                asked = request(task, num_ratings, with_rubric, "two_turn")
                for prompt in (analysis_prompt(asked), answer_only_prompt(asked)):
                    yield f"{prompt.system}\n{prompt.text}"
                for analysis in analyses(task):
                    yield rating_prompt(asked, analysis).text
        yield from analyses(task)
    yield "system\n user\n assistant\n 1 2 3 4 5"


@dataclass(frozen=True)
class TokenBatch:
    """Questions with their answers, padded on the right to one length."""

    tokens: Tensor
    """[B, L] int64."""
    positions: Tensor
    """[3, B, L] int64: temporal, height and width position, as in Qwen2-VL."""
    targets: Tensor
    """[B, L] int64: the token to predict at each place, -100 where nothing is learnt."""


def token_batch(rows: list[tuple[tuple[int, ...], tuple[int, ...]]], image_token: int) -> TokenBatch:
    """A batch of pairs of prompt and answer."""
    length = max(len(prompt) + len(answer) for prompt, answer in rows) - 1
    tokens = np.zeros((len(rows), length), dtype=np.int64)
    positions = np.zeros((3, len(rows), length), dtype=np.int64)
    targets = np.full((len(rows), length), -100, dtype=np.int64)
    known: dict[tuple[int, ...], np.ndarray] = {}
    for row, (prompt, answer) in enumerate(rows):
        tokens[row, : len(prompt)] = prompt
        tokens[row, len(prompt) : len(prompt) + len(answer) - 1] = answer[:-1]
        targets[row, len(prompt) - 1 : len(prompt) - 1 + len(answer)] = answer
        if prompt not in known:
            known[prompt] = _positions(np.array(prompt) == image_token, length)
        positions[:, row] = known[prompt]
    return TokenBatch(torch.from_numpy(tokens), torch.from_numpy(positions), torch.from_numpy(targets))


def _positions(is_image: np.ndarray, length: int) -> np.ndarray:
    """Positions [3, length] of a text with one picture at most: a picture takes as many places as its longer side."""
    steps = np.arange(length)
    if not is_image.any():
        return np.tile(steps, (3, 1))
    start, side = int(is_image.argmax()), GRID // MERGE
    places = np.tile(np.where(steps < start, steps, steps - IMAGE_TOKENS + side), (3, 1))
    inside = slice(start, start + IMAGE_TOKENS)
    rows, columns = np.divmod(np.arange(IMAGE_TOKENS), side)
    places[:, inside] = start + np.stack([np.zeros(IMAGE_TOKENS, dtype=np.int64), rows, columns])
    return places
