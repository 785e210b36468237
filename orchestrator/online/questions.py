"""From a rendered segment to the question that a rater is asked about it."""

from collections.abc import Sequence
from dataclasses import replace

from actors.rating.backend import Needs
from actors.worlds.settings import TaskSettings
from algorithms.prompts import answer_labels
from algorithms.ratings import AskingMode, TaskText
from algorithms.scales import RatingScale
from algorithms.settings import FeedbackSettings
from orchestrator.ratings.question import Question, rating_request


class QuestionMaker:
    """Words the questions of one run: its task, its scale, its layout."""

    def __init__(self, task: TaskSettings, settings: FeedbackSettings, mode: AskingMode) -> None:
        self._task = TaskText(task.instruction, task.focus, task.agent)
        self._scale = RatingScale.likert(settings.num_ratings, task.rubrics.get(settings.num_ratings, ()))
        self._layout = settings.segment.layout
        self._mode: AskingMode = mode

    def needs(self, num_frames: int) -> Needs:
        """What questions about segments of so many frames ask of a rater. Levels come without probabilities if they
        must: no reward is made of those."""
        return Needs(answer_labels(self._scale), num_pictures=1 if self._layout == "joined" else num_frames)

    def question(self, frames: Sequence[bytes], env_step: int, success: bool | None, instruction: str = "") -> Question:
        """The question about a segment whose frames are these PNG files, in time order.

        `instruction` is of the segment's episode, where that has one of its own.
        """
        task = replace(self._task, instruction=instruction) if instruction else self._task
        request = rating_request(frames, task, self._scale, self._mode, self._layout)
        return Question(request, tuple(frames), env_step, success)
