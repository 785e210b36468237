"""From a rendered segment to the question that a rater is asked about it."""

from collections.abc import Sequence
from dataclasses import replace

from actors.rating.backend import Needs
from algorithms.prompts import answer_labels
from algorithms.ratings import AskingMode, TaskText
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.question import Question, rating_request


class QuestionMaker:
    """Words the questions of one run: its task, its scale, its layout."""

    def __init__(self, experiment: OnlineExperiment) -> None:
        task = experiment.task
        self._task = TaskText(task.instruction, task.focus, task.agent)
        self._scale = experiment.scale
        self._num_frames = experiment.num_shown
        self._layout = experiment.feedback.segment.layout
        self._mode: AskingMode = experiment.rater.mode

    @property
    def needs(self) -> Needs:
        """What the questions ask of a rater. Levels come without probabilities if they must: no reward is made of
        those."""
        joined = self._layout == "joined" and not self._scale.compares
        return Needs(answer_labels(self._scale), num_pictures=1 if joined else self._num_frames)

    def question(self, frames: Sequence[bytes], env_step: int, success: bool | None, instruction: str = "") -> Question:
        """The question about a segment whose frames are these PNG files, in time order, or about such a pair.

        `instruction` is of the segment's episode, where that has one of its own.
        """
        task = replace(self._task, instruction=instruction) if instruction else self._task
        request = rating_request(frames, task, self._scale, self._mode, self._layout)
        return Question(request, tuple(frames), env_step, success)
