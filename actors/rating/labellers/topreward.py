"""Probability of "True" for growing beginnings of a trajectory: TOPReward (arXiv 2602.19313), by the rating server.

The paper takes the log-probability of "True"; here it is the probability, with "True" and "False" as the only answers.
"""

from collections.abc import Sequence

import numpy as np

from actors.rating.backend import Needs
from actors.rating.labellers.labeller import BROKEN_FRAME, Labeller, Labels, labels_of_values
from actors.rating.labellers.settings import TopRewardLabeller
from algorithms.progress import ProgressRequest, interpolated, spread
from algorithms.progress_prompts import TRUTHS
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory


class TopReward(Labeller):
    """A frame's value is how probable it is that the trajectory up to it completes the task."""

    def __init__(self, settings: TopRewardLabeller) -> None:
        self._settings = settings

    def questions(self, episode: Trajectory) -> list[ProgressRequest]:
        """One for each beginning whose last frame can be read."""
        return [self._question(episode, end) for end in self._ends(episode)]

    def needs(self) -> Needs:
        """The probability of "True", and several pictures at once."""
        return Needs(TRUTHS, probabilities=True, num_pictures=self._settings.num_frames)

    def label(self, episode: Trajectory, answers: Sequence[Scores | None]) -> Labels:
        """Probabilities, and straight lines between them; none beside a question that failed."""
        known = [np.nan if one is None else one.scores[0] for one in answers]
        values = interpolated(self._ends(episode), known, len(episode.frames))
        values[[index for index, png in enumerate(episode.frames) if png == BROKEN_FRAME]] = np.nan
        return labels_of_values(values, self._settings.reward)

    def asked_frames(self, num_actions: int) -> list[int]:
        """Last frames of the beginnings, but the first frame alone."""
        return _ends(num_actions, self._settings.stride)[1:]

    def _ends(self, episode: Trajectory) -> list[int]:
        ends = _ends(len(episode), self._settings.stride)
        return [end for end in ends if episode.frames[end] != BROKEN_FRAME]

    def _question(self, episode: Trajectory, end: int) -> ProgressRequest:
        whole = [png for png in episode.frames[: end + 1] if png != BROKEN_FRAME]
        shown = tuple(whole[place] for place in spread(len(whole), self._settings.num_frames))
        return ProgressRequest(shown, episode.instruction, "topreward", "in time order")


def _ends(num_actions: int, stride: int) -> list[int]:
    return [*range(0, num_actions, stride), num_actions]
