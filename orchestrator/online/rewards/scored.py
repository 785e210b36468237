"""The rater's levels as the reward itself: every n-th frame is rated as it comes, and no reward model learns."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from algorithms.episodes import EpisodeChunk
from algorithms.ratings import Rating, RatingFailure
from algorithms.replay import ColumnarReplay
from orchestrator.online.frames.step_frames import StepFrames
from orchestrator.online.questions import QuestionMaker
from orchestrator.online.rewards.held import held, last_of_each
from orchestrator.online.rewards.source import NewRewards, RewardSource, StillUnknown
from orchestrator.online.rollouts import Collected
from orchestrator.online.settings import OnlineExperiment
from orchestrator.online.stopping.progress import Progress
from orchestrator.online.telling.agreement import agreement
from orchestrator.online.telling.sessions import count_answers, counted_with, raise_if_failing, session_metrics
from orchestrator.ratings.question import Question
from orchestrator.ratings.service import RatingService, SessionAnswers

SCORED = 1
"""Version of rewards that the rater gave."""


@dataclass(frozen=True)
class _Asked:
    """What one worker's share of a round was asked about."""

    indices: np.ndarray
    """int64 [N]: global indices of the steps whose frames were rated."""
    questions: list[Question]
    answers: SessionAnswers

    @classmethod
    def joined(cls, parts: "Sequence[_Asked]") -> "_Asked":
        """What all workers' shares were asked about."""
        answers = SessionAnswers(
            [outcome for part in parts for outcome in part.answers.outcomes],
            sum(part.answers.num_from_store for part in parts),
            sum(part.answers.duration_s for part in parts),
            sum(part.answers.num_shared for part in parts),
        )
        indices = np.concatenate([np.zeros(0, dtype=np.int64), *(part.indices for part in parts)])
        return cls(indices, [question for part in parts for question in part.questions], answers)


class ScoredReward(RewardSource):
    """A step's reward is the mean level, by the rater's probabilities and in [0, 1], of the frame that stands for it.

    That is the last of `reward.every_agent_steps` steps, or of fewer where a round or an episode ends.
    """

    def __init__(self, experiment: OnlineExperiment, frames: StepFrames, service: RatingService) -> None:
        self._experiment = experiment
        self._frames = frames
        self._service = service
        self._maker = QuestionMaker(experiment)
        self._asked: list[_Asked] = []
        """Of the round that came last."""
        self._next_pictures = 0

    def known(self, progress: Progress) -> bool:
        return True

    def version(self, progress: Progress) -> int:
        return SCORED

    def of_new(self, observations: np.ndarray, part: Collected, first_index: int, progress: Progress) -> np.ndarray:
        """Raises RatingsFailing if too many of the questions got no answer; the rest is in the store."""
        places = [last_of_each(len(chunk), self._experiment.reward.every_agent_steps) for chunk in part.chunks]
        frames = self._frames.pngs_of(part.chunks, places)
        questions = [
            self._maker.question([png], progress.env_steps, self._success(chunk, place), chunk.instruction)
            for chunk, at, pngs in zip(part.chunks, places, frames, strict=True)
            for place, png in zip(at, pngs, strict=True)
        ]
        answers = self._service.ask(questions, partial(self._report, progress)).result()
        raise_if_failing(answers, self._experiment.feedback.tolerated_failure_share)
        count_answers(progress, answers, num_repeats=0)
        starts = first_index + np.cumsum([0, *(len(chunk) for chunk in part.chunks)])
        indices = np.concatenate([start + at for start, at in zip(starts, places, strict=False)])
        self._asked.append(_Asked(indices, questions, answers))
        scores = np.split(_scores(answers.outcomes, len(self._experiment.scale)), np.cumsum([*map(len, places)])[:-1])
        return np.concatenate([held(of_chunk, at) for of_chunk, at in zip(scores, places, strict=True)])

    def advance(self, replay: ColumnarReplay, progress: Progress, stands: bool) -> NewRewards | StillUnknown | None:
        """Nothing is rewritten; what the rater said is told."""
        asked, self._asked = _Asked.joined(self._asked), []
        rated = [place for place, one in enumerate(asked.answers.outcomes) if isinstance(one, Rating)]
        if not rated:
            return None
        task, settings = self._experiment.task, self._experiment.feedback
        indices = asked.indices[rated]
        ratings = np.array([asked.answers.outcomes[place].rating for place in rated], dtype=np.int64)
        num_levels = len(self._experiment.scale)
        metrics = session_metrics(progress, num_levels, asked.answers, {})
        metrics |= agreement(
            task,
            num_levels,
            ratings,
            replay.successes(indices),
            replay.next_observations(indices),
            replay.returns(indices),
        )
        self.folder.log(metrics, progress.env_steps)
        if progress.env_steps >= self._next_pictures:
            self._next_pictures = progress.env_steps + settings.interval_env_steps
            self.folder.keep_rated_frames(asked.questions, asked.answers, progress.env_steps)
        return None

    def _success(self, chunk: EpisodeChunk, place: int) -> bool | None:
        return bool(chunk.successes[place]) if self._experiment.task.knows_success else None

    def _report(self, progress: Progress, answered: int, failed: int, from_store: int, shared: int) -> None:
        counts = counted_with(progress, answered, failed, from_store, shared)
        self.folder.show(asked=counts["answered"] + counts["failed"], **counts)


def _scores(outcomes: Sequence[Rating | RatingFailure], num_ratings: int) -> np.ndarray:
    """Mean levels float32 [N] in [0, 1]; of a question without an answer, that of the nearest that has one."""
    levels = np.arange(num_ratings)
    found = [
        np.nan
        if isinstance(one, RatingFailure)
        else float(np.dot(levels, one.probabilities) if one.probabilities else one.rating) / (num_ratings - 1)
        for one in outcomes
    ]
    scores = np.array(found, dtype=np.float32)
    known = np.flatnonzero(np.isfinite(scores))
    if not len(known):
        return np.zeros(len(scores), dtype=np.float32)
    nearest = known[np.abs(np.arange(len(scores))[:, None] - known).argmin(axis=1)]
    return scores[nearest]
