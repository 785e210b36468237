"""Labels by any labeller that looks at whole trajectories, part by part.

    part -> trajectories -> questions -> the store, else the rating server -> labels -> the part's columns

Labellers with a model of their own ask nothing. A part's columns are written at once, so a labelling that was killed
goes on with the parts that lack them. Memory is needed for one part.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from actors.rating.labellers.labeller import BROKEN_FRAME, Labeller
from algorithms.progress import value_order_correlation
from algorithms.progress_prompts import PROGRESS_PROMPT_VERSION
from algorithms.ratings import RaterIdentity, RatingFailure
from algorithms.scores import Scores
from algorithms.trajectories import Trajectory
from algorithms.windows import rewards_of
from orchestrator.data.check import PartError, Problem, structure_problems, value_problems
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import REWARD, SCORE, trajectory_of
from orchestrator.labelling.settings import LabelSettings
from orchestrator.labelling.windows import is_labelled
from orchestrator.ratings.answer_counts import AnswerCounts, stop_if_failing
from orchestrator.ratings.score_service import ScoreService
from orchestrator.ratings.score_store import AskedWindow


@dataclass
class _Episode:
    """A trajectory on its way."""

    first_row: int
    trajectory: Trajectory
    answers: list[Scores | None] = field(default_factory=list)


class EpisodeLabelling:
    """One pass over a data set. `tell` hears of problems, `show` of progress."""

    def __init__(
        self,
        settings: LabelSettings,
        dataset: TrajectoryDataset,
        labeller: Labeller,
        about: dict[str, Any],
        service: ScoreService | None = None,
        tell: Callable[[Problem], None] = lambda _: None,
        show: Callable[[AnswerCounts], None] = lambda _: None,
    ) -> None:
        """`about` is what `about_labels` says; `service` answers the labeller's questions, if it has any."""
        self._settings = settings
        self._dataset = dataset
        self._labeller = labeller
        self._about = about
        self._digest = digest_of(settings, about)
        self._service = service
        self._tell = tell
        self._show = show
        self.counts = AnswerCounts()

    def parts_to_do(self) -> list[str]:
        """Parts without these columns, and parts some of whose questions failed."""
        return [
            part for part in self._dataset.parts if not is_labelled(self._dataset, part, self._settings, self._digest)
        ]

    def run(self, parts: Iterable[str]) -> None:
        """Label `parts` and write their columns.

        Raises RatingsFailing if too many questions get no answer, and DiskFailing if nothing can be written.
        """
        for part in parts:
            try:
                self._label_part(part)
            except PartError as error:
                self._name(Problem(part, str(error)))
        for name, reward in self._settings.rewards.items():
            self._dataset.record_labels(name, self._about | {"reward": reward.model_dump(mode="json")})
        self._show(self.counts)

    def _label_part(self, part: str) -> None:
        episodes = list(self._episodes(part))
        failed_before = self.counts.failed
        self._ask(episodes)
        num_rows = self._dataset.num_rows(part)
        names = [SCORE + self._settings.name, *(REWARD + name for name in self._settings.rewards)]
        columns = {name: np.full(num_rows, np.nan, dtype=np.float32) for name in names}
        for episode in episodes:
            self._label_episode(episode, columns)
        stamp = {"digest": self._digest, "failed": self.counts.failed - failed_before}
        self._dataset.write_columns(part, columns, stamp)

    def _label_episode(self, episode: _Episode, columns: dict[str, np.ndarray]) -> None:
        trajectory = episode.trajectory
        labels = self._labeller.label(trajectory, episode.answers)
        rows = slice(episode.first_row, episode.first_row + len(trajectory))
        columns[SCORE + self._settings.name][rows] = labels.scores
        for name, reward in self._settings.rewards.items():
            columns[REWARD + name][rows] = rewards_of(
                labels.dense, trajectory.sparse_rewards, reward, self._labeller.full_score
            )
        self.counts.actions += int(np.isfinite(labels.dense).sum())
        self.counts.episodes += 1
        self._show(self.counts)

    def _episodes(self, part: str) -> Iterator[_Episode]:
        """Trajectories of a part whose structure is whole; their broken frames become BROKEN_FRAME."""
        dataset = self._dataset
        for first_row, rows in dataset.episode_rows(part, frames=self._labeller.needs_frames, symbolic=False):
            structure = structure_problems(part, first_row, rows, dataset.info)
            values = [] if structure else value_problems(part, first_row, rows, dataset.info)
            if not self._labeller.needs_frames:
                values = [problem for problem in values if problem.column != "frame"]
            for problem in (*structure, *values):
                self._name(problem)
            if structure or (self._labeller.needs_frames and "frame" not in rows.column_names):
                continue
            trajectory = trajectory_of(rows, dataset.info)
            broken = {problem.row - first_row for problem in values if problem.column == "frame"}
            frames = tuple(BROKEN_FRAME if i in broken else png for i, png in enumerate(trajectory.frames))
            yield _Episode(first_row, replace(trajectory, frames=frames))

    def _ask(self, episodes: list[_Episode]) -> None:
        if self._service is None:
            return
        for answer in self._service.stream(self._questions(episodes)):
            number, place = answer.tag
            counts, outcome = self.counts, answer.outcome
            counts.windows += 1
            counts.from_store += answer.from_store
            if isinstance(outcome, RatingFailure):
                counts.failed += 1
                counts.first_failure = counts.first_failure or f"{outcome.cause}: {outcome.detail}"
                stop_if_failing(counts, self._settings.tolerated_failure_share)
            else:
                episodes[number].answers[place] = outcome
                if not answer.from_store:
                    counts.prompt_tokens += outcome.prompt_tokens
                    counts.completion_tokens += outcome.completion_tokens
            self._show(counts)

    def _questions(self, episodes: list[_Episode]) -> Iterator[tuple[tuple[int, int], AskedWindow]]:
        name = self._dataset.info.name
        for number, episode in enumerate(episodes):
            requests = self._labeller.questions(episode.trajectory)
            episode.answers = [None] * len(requests)
            for place, request in enumerate(requests):
                yield (number, place), AskedWindow(request, name, episode.trajectory.episode_id, 0)

    def _name(self, problem: Problem) -> None:
        self.counts.problems += not problem.is_note
        self._tell(problem)


def about_labels(settings: LabelSettings, identity: RaterIdentity | None, asks: bool, **more: Any) -> dict[str, Any]:
    """What decides the labels, for `metadata.json`: the labeller's settings, and the weights that answer.

    `asks`: the weights are the rating server's. `more` is added.
    """
    about = {"scores": SCORE + settings.name, "labeller": settings.labeller.model_dump(mode="json"), **more}
    if identity is not None:
        about |= {"model": identity.model, "revision": identity.revision}
    if asks:
        about |= {"prompt_version": PROGRESS_PROMPT_VERSION, "sampling": vars(settings.rater.sampling)}
    return about


def digest_of(settings: LabelSettings, about: dict[str, Any]) -> str:
    """Stands for all that decides what the columns hold."""
    rewards = {name: reward.model_dump(mode="json") for name, reward in settings.rewards.items()}
    return hashlib.sha256(json.dumps([about, rewards], sort_keys=True).encode()).hexdigest()


def order_correlations(dataset: TrajectoryDataset, name: str, labeller: Labeller) -> list[float | None]:
    """VOC of each trajectory by its column `score_<name>`, over the frames that the labeller was asked about."""
    found = []
    for trajectory in dataset.episodes(frames=False, symbolic=False, on_problem=lambda _: None):
        # The score of an action is the value of the frame after it.
        places = [frame - 1 for frame in labeller.asked_frames(len(trajectory))]
        if name in trajectory.scores:
            found.append(value_order_correlation(trajectory.scores[name][places].astype(np.float64)))
    return found
