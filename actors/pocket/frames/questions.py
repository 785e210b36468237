"""Every question about a frame as tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

from transformers import Qwen2Tokenizer

from actors.pocket.frames.model import LAYOUT
from actors.pocket.frames.words import TaskWords
from actors.pocket.questions import Conversation, Questions, joined
from algorithms.prompts import analysis_prompt, answer_only_prompt, rating_prompt
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
    """A question's tokens, up to where the answer begins, and what may be answered."""

    prompt: list[int]
    answers: list[list[int]]
    """Tokens of each possible answer, its end of turn included."""

    def answered(self, answer: int) -> Conversation:
        """The question with one of its answers, which is to be learnt."""
        return joined([(self.prompt, False), (self.answers[answer], True)])


class FrameQuestions(Questions):
    """All questions on a list of tasks, in one tokenizer's words."""

    def __init__(self, tasks: tuple[PocketTask, ...], tokenizer: Qwen2Tokenizer) -> None:
        super().__init__(tokenizer, LAYOUT)
        self.tasks = tasks
        self._labels = [self.answer(str(level + 1)) for level in range(max(SCALE_WORDS))]

    def answer_only(self, task: PocketTask, num_ratings: int, with_rubric: bool) -> Question:
        """The picture and the question; answers are levels."""
        prompt = answer_only_prompt(request(task, num_ratings, with_rubric, "answer_only"))
        return Question(self.prompt(prompt, 1), self._labels[:num_ratings])

    def analysis(self, task: PocketTask) -> Question:
        """Turn one. Answers are all descriptions, hand by hand: index `hand * number of object states + object`."""
        prompt = analysis_prompt(request(task, 2, False, "two_turn"))
        return Question(self.prompt(prompt, 1), [self.answer(text) for text in analyses(task)])

    def rating(self, task: PocketTask, num_ratings: int, with_rubric: bool, analysis: str) -> Question:
        """Turn two; answers are levels."""
        prompt = rating_prompt(request(task, num_ratings, with_rubric, "two_turn"), analysis)
        return Question(self.prompt(prompt, 0), self._labels[:num_ratings])


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
