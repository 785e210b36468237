"""Every question about two pictures as tokens."""

from collections.abc import Iterator

from transformers import Qwen2Tokenizer

from actors.pocket.frames.model import LAYOUT
from actors.pocket.frames.questions import PocketTask, Question, analyses
from actors.pocket.questions import Questions
from algorithms.prompts import analysis_prompt, answer_labels, answer_only_prompt, rating_prompt
from algorithms.ratings import AskingMode, RatingRequest
from algorithms.scales import RatingScale


class PairQuestions(Questions):
    """All questions on a list of tasks, in one tokenizer's words."""

    def __init__(self, tasks: tuple[PocketTask, ...], tokenizer: Qwen2Tokenizer) -> None:
        super().__init__(tokenizer, LAYOUT)
        self.tasks = tasks
        self._labels = [self.answer(label) for label in answer_labels(RatingScale.preference())]

    def answer_only(self, task: PocketTask) -> Question:
        """Both pictures and the question; answers are those of `algorithms.scales.PREFERENCES`."""
        return Question(self.prompt(answer_only_prompt(request(task, "answer_only")), 2), self._labels)

    def analysis(self, task: PocketTask) -> Question:
        """Turn one. Answers describe both: index `first * number of descriptions + second`, each as in `analyses`."""
        return Question(
            self.prompt(analysis_prompt(request(task, "two_turn")), 2),
            [self.answer(text) for text in comparisons(task)],
        )

    def comparison(self, task: PocketTask, analysis: str) -> Question:
        """Turn two; answers as of `answer_only`."""
        return Question(self.prompt(rating_prompt(request(task, "two_turn"), analysis), 0), self._labels)


def request(task: PocketTask, mode: AskingMode) -> RatingRequest:
    """A request on a task, without its pictures."""
    return RatingRequest(images=(), task=task.text, scale=RatingScale.preference(), mode=mode)


def comparisons(task: PocketTask) -> list[str]:
    """What may be said of two pictures of a task, by the description of the first and then of the second."""
    said = analyses(task)
    return [f"First: {first} Second: {second}" for first in said for second in said]


def stages_of(task: PocketTask, comparison: int) -> tuple[int, int]:
    """The stages that the text at a place in `comparisons` means."""
    first, second = divmod(comparison, len(analyses(task)))
    count = len(task.words.object)
    return task.stage(*divmod(first, count)), task.stage(*divmod(second, count))


def all_texts(tasks: tuple[PocketTask, ...]) -> Iterator[str]:
    """Every text that the tokenizer should know well."""
    for task in tasks:
        asked = request(task, "two_turn")
        for prompt in (analysis_prompt(asked), answer_only_prompt(asked)):
            yield f"{prompt.system}\n{prompt.text}"
        for text in comparisons(task):
            yield rating_prompt(asked, text).text
            yield text
    yield "system\n user\n assistant\n 1 2 3"
