"""Every question about an episode as tokens, in the words that runs ask in."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from transformers import Qwen2Tokenizer

from actors.pocket.episodes import NUM_FRAMES
from actors.pocket.episodes.model import LAYOUT
from actors.pocket.episodes.words import NOTHING, NUM_PORTABLE, THEN, THINGS, Sights, analysis_of
from actors.pocket.questions import Conversation, Questions, joined
from algorithms.prompts import analysis_prompt, answer_only_prompt, pictures_note, rating_prompt
from algorithms.ratings import AskingMode, RatingRequest, TaskText
from algorithms.scales import SCALE_WORDS, RatingScale

Levels = Mapping[tuple[int, int], tuple[int, ...]]
"""By number of ratings and number of sub-tasks: the level for each number of sub-tasks done."""


@dataclass(frozen=True)
class EpisodeConversation(Conversation):
    """A conversation about an episode."""

    ends: np.ndarray
    """int64 [sub-tasks]: the token that ends each sub-task's words."""


class EpisodeQuestions(Questions):
    """Questions about episodes, in one tokenizer's words."""

    def __init__(self, text: TaskText, levels: Levels, tokenizer: Qwen2Tokenizer) -> None:
        """`text` is what all episodes share; its instruction is replaced by theirs."""
        super().__init__(tokenizer, LAYOUT)
        self.levels = levels
        self._text = text
        self.labels = [self.answer(str(level + 1)) for level in range(max(SCALE_WORDS))]
        """Tokens of each level as an answer."""

    def level(self, num_ratings: int, num_subtasks: int, num_done: int) -> int:
        """The true level."""
        return self.levels[num_ratings, num_subtasks][num_done]

    def answer_only(self, instruction: str, num_ratings: int) -> list[int]:
        """Tokens up to where the level is to be said at once."""
        return self.prompt(answer_only_prompt(request(self._text, instruction, num_ratings, "answer_only")), NUM_FRAMES)

    def analysis(self, instruction: str) -> list[int]:
        """Tokens of turn one, up to where the analysis begins."""
        return self.prompt(analysis_prompt(request(self._text, instruction, 2, "two_turn")), NUM_FRAMES)

    def rating(self, instruction: str, num_ratings: int, analysis: str) -> list[int]:
        """Tokens of turn two, up to where the level is said."""
        return self.prompt(rating_prompt(request(self._text, instruction, num_ratings, "two_turn"), analysis), 0)

    def looking(self, subtasks: list[str]) -> EpisodeConversation:
        """Pictures and sub-tasks, up to where the last one's words end: nothing is asked yet, and nothing learnt."""
        instruction = THEN.join(subtasks)
        prompt = self.analysis(instruction)
        ends = self._ends(prompt, instruction)
        talk = joined([(prompt[: ends[-1] + 2], False)])
        return EpisodeConversation(talk.tokens, talk.weights, ends)

    def answered(self, prompt: list[int], instruction: str, answer: list[int]) -> EpisodeConversation:
        """A question about pictures with its answer."""
        talk = joined([(prompt, False), (answer, True)])
        return EpisodeConversation(talk.tokens, talk.weights, self._ends(prompt, instruction))

    def _ends(self, prompt: list[int], instruction: str) -> np.ndarray:
        """Where the words of each sub-task end, in the tokens of a prompt with pictures."""
        words = self.tokenizer.decode([token for token in prompt if token != self.image_token])
        begin = words.index(f"{instruction}.")
        known = self.tokenizer(words, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        token_ends = [end for _, end in known]
        ends, at = [], begin - len(THEN)
        for part in instruction.split(THEN):
            at += len(THEN) + len(part)
            # Pictures come before all words of the user's.
            ends.append(bisect_left(token_ends, at) + NUM_FRAMES * self.layout.num_tokens)
        return np.array(ends)


def request(text: TaskText, instruction: str, num_ratings: int, mode: AskingMode) -> RatingRequest:
    """A request about an episode, without its pictures."""
    scale, note = RatingScale.likert(num_ratings), pictures_note(NUM_FRAMES, joined=False)
    return RatingRequest((), replace(text, instruction=instruction), scale, mode, note)


def all_texts(text: TaskText, instructions: Iterable[str]) -> Iterator[str]:
    """Every text that the tokenizer should know well."""
    for number, instruction in enumerate(instructions):
        for num_ratings in SCALE_WORDS:
            asked = request(text, instruction, num_ratings, "two_turn")
            said = analysis_of(_some_sights(number), number % 4, 3)
            for prompt in (analysis_prompt(asked), answer_only_prompt(asked), rating_prompt(asked, said)):
                yield f"{prompt.system}\n{prompt.text}"
    yield "system\n user\n assistant\n 1 2 3 4 5"


def _some_sights(number: int) -> Sights:
    thing, door = number % NUM_PORTABLE, NUM_PORTABLE + number % (len(THINGS) - NUM_PORTABLE)
    return Sights((NOTHING, thing), ((thing, number % len(THINGS)),) * (number % 2), (door,) * (number % 2))
