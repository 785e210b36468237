"""`likert label`: every action of a data set gets a score from the rater, and the parts get their columns.

    parts -> windows (Ray Data) -> the store, else the rating server -> scores of a part's rows -> its columns

A part's columns are written once all its windows are answered, so a labelling that was killed goes on with the parts
that lack them, and finds in the store what was answered of those.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algorithms.ratings import RaterIdentity, RatingFailure
from algorithms.scores import Scores
from algorithms.scoring_prompts import SCORING_PROMPT_VERSION
from algorithms.windows import rewards_of
from orchestrator.data.check import PartError, Problem, structure_problems
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.schema import REWARD, SCORE
from orchestrator.labelling.settings import LabelSettings
from orchestrator.labelling.window_stream import Row, problem_of, request_of
from orchestrator.ratings.answer_counts import AnswerCounts, stop_if_failing
from orchestrator.ratings.score_service import ScoreService, WindowAnswer
from orchestrator.ratings.score_store import AskedWindow


@dataclass
class _Part:
    """A part on its way."""

    rows: list[int] = field(default_factory=list)
    """Rows that have a score."""
    scores: list[float] = field(default_factory=list)
    waiting: int = 0
    """Windows without an outcome."""
    failed: int = 0
    ended: bool = False
    """No window is to come."""


class Labelling:
    """One pass over a data set. `tell` hears of problems, `show` of progress."""

    def __init__(
        self,
        settings: LabelSettings,
        dataset: TrajectoryDataset,
        service: ScoreService,
        identity: RaterIdentity,
        tell: Callable[[Problem], None] = lambda _: None,
        show: Callable[[AnswerCounts], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._dataset = dataset
        self._service = service
        self._identity = identity
        self._tell = tell
        self._show = show
        self._parts: dict[str, _Part] = {}
        self._digest = settings.digest(identity.model, identity.revision, SCORING_PROMPT_VERSION)
        self.counts = AnswerCounts()

    def parts_to_do(self) -> list[str]:
        """Parts without these columns, and parts some of whose questions failed."""
        return [
            part for part in self._dataset.parts if not is_labelled(self._dataset, part, self._settings, self._digest)
        ]

    def run(self, rows: Iterable[Row | None]) -> None:
        """Ask about all windows in `rows`, as `stream_windows` makes them of `parts_to_do`, and write the columns.

        None among them says that none is there yet.

        Raises RatingsFailing if too many questions get no answer, and DiskFailing if nothing can be written.
        """
        for answer in self._service.stream(self._windows(rows)):
            self._take_in(answer)
            self._write_finished()
            self._show(self.counts)
        self._write_finished()
        self._record()
        self._show(self.counts)

    def _windows(self, rows: Iterable[Row | None]) -> Iterator[tuple[Any, AskedWindow] | None]:
        for row in rows:
            if row is None:
                yield None
                continue
            part = self._parts.setdefault(row["part"], _Part())
            if row["kind"] == "window":
                part.waiting += 1
                tag = (row["part"], row["kept_places"], row["kept_rows"])
                window = AskedWindow(
                    request_of(row, self._settings.mode),
                    self._dataset.info.name,
                    row["episode_id"],
                    row["first_action"],
                )
                yield tag, window
            elif row["kind"] == "problem":
                problem = problem_of(row)
                self.counts.problems += not problem.is_note
                self._tell(problem)
            else:
                part.ended = True

    def _take_in(self, answer: WindowAnswer) -> None:
        name, places, rows = answer.tag
        part, counts, outcome = self._parts[name], self.counts, answer.outcome
        part.waiting -= 1
        counts.windows += 1
        counts.from_store += answer.from_store
        if isinstance(outcome, RatingFailure):
            part.failed += 1
            counts.failed += 1
            counts.first_failure = counts.first_failure or f"{outcome.cause}: {outcome.detail}"
            stop_if_failing(counts, self._settings.tolerated_failure_share)
            return
        part.rows += rows
        part.scores += [outcome.scores[place] for place in places]
        counts.actions += len(rows)
        self._count_tokens(outcome, answer.from_store)

    def _count_tokens(self, scores: Scores, from_store: bool) -> None:
        if not from_store:
            self.counts.prompt_tokens += scores.prompt_tokens
            self.counts.completion_tokens += scores.completion_tokens

    def _write_finished(self) -> None:
        for name in [name for name, part in self._parts.items() if part.ended and not part.waiting]:
            self._write(name, self._parts.pop(name))

    def _write(self, name: str, part: _Part) -> None:
        """Put the columns into a part. One that cannot be read was named already, and stays as it is."""
        try:
            columns = label_columns(
                self._dataset, name, np.array(part.rows, dtype=np.int64), part.scores, self._settings
            )
            stamp = {"digest": self._digest, "failed": part.failed}
            self._dataset.write_columns(name, columns, stamp)
        except PartError:
            pass

    def _record(self) -> None:
        settings = self._settings
        about = {
            "scores": SCORE + settings.name,
            "mode": settings.mode,
            "window": settings.window.model_dump(mode="json"),
            "model": self._identity.model,
            "revision": self._identity.revision,
            "prompt_version": SCORING_PROMPT_VERSION,
            "sampling": vars(settings.rater.sampling),
        }
        for labeller, reward in settings.rewards.items():
            self._dataset.record_labels(labeller, about | {"reward": reward.model_dump(mode="json")})


def is_noted(dataset: TrajectoryDataset, settings: LabelSettings) -> bool:
    """Whether `metadata.json` knows of the labelling's columns.

    Without that nobody would find them, and a kill may have come between the last part and the note.
    """
    return settings.rewards.keys() <= dataset.info.labels.keys()


def is_labelled(dataset: TrajectoryDataset, part: str, settings: LabelSettings, digest: str) -> bool:
    """Whether a part has all columns of a labelling, and no question about it failed."""
    try:
        stamps = [dataset.label_stamp(part, labeller) for labeller in settings.rewards]
    except PartError:
        return False
    return all(stamp is not None and stamp == {"digest": digest, "failed": 0} for stamp in stamps)


def label_columns(
    dataset: TrajectoryDataset, part: str, rows: np.ndarray, scores: list[float], settings: LabelSettings
) -> dict[str, np.ndarray]:
    """Columns by name, float32 for each row of the part; NaN where there is no score. Raises PartError.

    Args:
        rows: int64, rows of the part that have a score.
        scores: their scores.
    """
    num_rows = dataset.num_rows(part)
    column = np.full(num_rows, np.nan, dtype=np.float32)
    column[rows] = scores
    columns = {SCORE + settings.name: column}
    columns |= {REWARD + labeller: np.full(num_rows, np.nan, dtype=np.float32) for labeller in settings.rewards}
    for first_row, episode in dataset.episode_rows(part, frames=False, symbolic=False):
        if structure_problems(part, first_row, episode, dataset.info):
            continue
        actions = slice(first_row, first_row + episode.num_rows - 1)
        sparse = np.array(episode["sparse_reward"].to_pylist()[:-1], dtype=np.float32)
        for labeller, reward in settings.rewards.items():
            columns[REWARD + labeller][actions] = rewards_of(column[actions], sparse, reward)
    return columns
