"""Every question about a window as tokens, with what is to be learnt of its answer."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import Qwen2Tokenizer

from actors.pocket.questions import Conversation, Questions, joined
from actors.pocket.tokenizer import END_OF_TURN
from actors.pocket.windows.data import TiledWindow
from actors.pocket.windows.model import LAYOUT
from actors.pocket.windows.words import EFFECTS, SCORE_OF, SIGHTS, analysis_of
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
class WindowConversation(Conversation):
    """A conversation about a window, in which its actions are judged."""

    judges: np.ndarray
    """int64 [L]: which of the window's actions a token begins to judge; -1 for all other tokens."""


class WindowQuestions(Questions):
    """Questions about windows, in one tokenizer's words."""

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        super().__init__(tokenizer, LAYOUT)
        self.letters = [self.encode(letter)[0] for letter in SCORE_LETTERS]

    def two_turns(self, window: TiledWindow, effects: Sequence[int]) -> WindowConversation:
        """Both questions and what is to be answered if the actions had these effects."""
        analysis, scores = analysis_of(window.sights, effects), _scores(effects)
        first, second = self.turn_one(window), self.turn_two(window, analysis)
        said = self.answer(analysis)
        between = second[len(first) + len(said) :]
        talk = _conversation([(first, False), (said, True), (between, False), (self.answer(scores), True)])
        talk.weights[self._starts(len(first), analysis, r"\d+:? ")] = DECISION_WEIGHT
        talk.weights[self._starts(len(first) + len(said) + len(between), scores, SCORES_BEGIN)] = DECISION_WEIGHT
        judged = self._starts(len(first), analysis, r"\d+: ")
        talk.judges[judged] = range(len(judged))
        return talk

    def single_turn(self, window: TiledWindow, effects: Sequence[int]) -> WindowConversation:
        """The one question for all scores, with its answer."""
        question, scores = self.one_turn(window), _scores(effects)
        talk = _conversation([(question, False), (self.answer(scores), True)])
        judged = self._starts(len(question), scores, SCORES_BEGIN)
        talk.weights[judged] = DECISION_WEIGHT
        talk.judges[judged] = range(len(judged))
        return talk

    def one_score(self, window: TiledWindow, place: int, effects: Sequence[int]) -> WindowConversation:
        """The question for one action's letter, with its answer."""
        question, letter = self.letter(window, place), SCORE_LETTERS[SCORE_OF[effects[place]]]
        talk = _conversation([(question, False), (self.answer(letter), True)])
        talk.judges[len(question)] = place
        return talk

    def turn_one(self, window: TiledWindow) -> list[int]:
        """Tokens up to where the analysis begins."""
        return self.prompt(window_analysis_prompt(window.request("two_turn")), 1)

    def turn_two(self, window: TiledWindow, analysis: str) -> list[int]:
        """Tokens up to where the scores begin."""
        return self.prompt(scores_prompt(window.request("two_turn"), analysis), 1)

    def one_turn(self, window: TiledWindow) -> list[int]:
        """Tokens of the single turn up to where the scores begin."""
        return self.prompt(single_turn_prompt(window.request("single_turn")), 1)

    def letter(self, window: TiledWindow, place: int) -> list[int]:
        """Tokens up to where the letter of the action at that place stands."""
        return self.prompt(one_score_prompt(window.request("logits"), place), 1)

    def _starts(self, begin: int, answer: str, before: str) -> list[int]:
        """The tokens after each match of the pattern `before`, of an answer that begins at token `begin`."""
        offsets = self.tokenizer(answer + END_OF_TURN, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in offsets["offset_mapping"]]
        return [begin + bisect_right(ends, match.end()) for match in re.finditer(before, answer)]


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


def _scores(effects: Sequence[int]) -> str:
    return scores_text([SCORE_OF[effect] for effect in effects])


def _conversation(parts: list[tuple[list[int], bool]]) -> WindowConversation:
    """A conversation where no token judges yet."""
    talk = joined(parts)
    return WindowConversation(talk.tokens, talk.weights, np.full(len(talk.tokens), -1))
