"""The store's answers about windows of actions: two tables beside those of ratings. See docs/labelling.md.

They are kept as ratings are: whole parts only, several writers, equal keys are one row, and failures in a table of
their own.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from actors.rating.asking import prompt_version
from algorithms.progress import PERCENT, ProgressRequest
from algorithms.progress_prompts import TRUTHS, VERDICTS
from algorithms.ratings import RaterIdentity, RatingFailure, Sampling
from algorithms.scores import MAX_SCORE, ScoreRequest, Scores
from algorithms.scoring_prompts import SCORE_LETTERS
from orchestrator.ratings.answer_store import AnswerStore
from orchestrator.ratings.columns import (
    ANSWER_COLUMNS,
    STRINGS,
    TOLERANCE,
    answer_columns,
    answer_fields,
    answer_schema,
    asked_now,
    failure_schema,
    impossible_probabilities,
    question_fields,
    request_columns,
    required,
)
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.parquet_parts import RowCheck

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning. A store of a newer version is refused."""

_QUESTION = question_fields(
    told=[required("actions", STRINGS)],
    place=[
        required("dataset", pa.string()),
        required("episode_id", pa.string()),
        required("first_action", pa.int32()),
    ],
)
SCORES = answer_schema(
    [
        required("scores", pa.list_(pa.float32())),
        # One after the other for each action in logits mode; of True and False, of yes and no; else empty.
        required("probabilities", pa.list_(pa.float32())),
    ],
    _QUESTION,
)
SCORE_FAILURES = failure_schema(_QUESTION)


def _impossible(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row of scores that can be read, or None."""
    scores, probabilities, mode = row["scores"], row["probabilities"], row["mode"]
    if None in row["actions"] or None in row["images"]:
        return "an action, or a picture's name, is missing"
    if not row["images"]:
        return "it shows no picture"
    if not scores:
        return "it has no score"
    if mode not in TOP_OF and len(scores) != len(row["actions"]):
        return f"it has {len(scores)} scores of {len(row['actions'])} actions"
    most = TOP_OF.get(mode, MAX_SCORE)
    if any(one is None or not -TOLERANCE <= one <= most + TOLERANCE for one in scores):
        return f"{scores} are no scores from 0 to {most}"
    return impossible_probabilities(probabilities, NUM_ALTERNATIVES.get(mode, 0) * len(scores))


TOP_OF = {"gvl": PERCENT, "topreward": 1, "verdict": 1, "verdict_two_turn": 1}
"""The highest score by mode; MAX_SCORE in those that score windows."""
NUM_ALTERNATIVES = {
    "logits": len(SCORE_LETTERS),
    "topreward": len(TRUTHS),
    "verdict": len(VERDICTS),
    "verdict_two_turn": len(VERDICTS),
}
"""Probabilities that a score has by mode; none in the others."""
SCORE_CHECK = RowCheck(("scores", "probabilities", "actions", "images", "mode"), _impossible)
"""What the program itself never wrote."""


@dataclass(frozen=True)
class AskedWindow:
    """A request, and which window of which trajectory it is about; action 0 where it is about the whole."""

    request: ScoreRequest | ProgressRequest
    dataset: str
    episode_id: str
    first_action: int


class ScoreStore(AnswerStore):
    """Tables `scores` and `score_failures` in a store's folder."""

    def __init__(self, folder: Path | RemotePath) -> None:
        """Open the store in `folder`. Raises StoreVersionError if it is too new."""
        super().__init__(folder, ("scores", SCORES), ("score_failures", SCORE_FAILURES), SCHEMA_VERSION, SCORE_CHECK)

    def lookup(self, keys: Iterable[str]) -> dict[str, Scores]:
        """The answers that the store holds among `keys`, those of other processes included."""
        rows = self._read(keys, ["scores", "probabilities", *ANSWER_COLUMNS])
        return {key: _scores_of(row) for key, row in rows.items()}

    def append(
        self, answers: Sequence[tuple[AskedWindow, Scores]], identity: RaterIdentity, sampling: Sampling
    ) -> None:
        """Write answers; they are on disk when this returns. A key that is there already keeps its first answer.

        Raises TypeError if one is no Scores.
        """
        asked = asked_now(identity, sampling)
        self._append([{**_score_columns(scores), **_window_columns(window), **asked} for window, scores in answers])

    def append_failures(
        self, failures: Sequence[tuple[AskedWindow, RatingFailure]], identity: RaterIdentity, sampling: Sampling
    ) -> None:
        """Write questions that got no answer. Raises TypeError if one is no RatingFailure."""
        asked = asked_now(identity, sampling)
        self._append_failures([({**_window_columns(window), **asked}, failure) for window, failure in failures])

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Windows that have scores, by data set, mode and model."""
        found: Counter[tuple[str, str, str]] = Counter()
        for row in self.rows(["dataset", "mode", "model"]):
            found[row["dataset"], row["mode"], row["model"]] += 1
        return dict(found)

    def failure_counts(self) -> dict[tuple[str, str], int]:
        """Questions that failed, by data set and cause."""
        found = Counter((row["dataset"], row["cause"]) for row in self.failures(["dataset", "cause"]))
        return dict(found)


def _score_columns(scores: Scores) -> dict[str, Any]:
    if not isinstance(scores, Scores):
        raise TypeError(f"a {type(scores).__name__} is never stored as scores")
    flat = [value for one in scores.probabilities for value in one]
    return {**answer_columns(scores), "scores": list(scores.scores), "probabilities": flat}


def _window_columns(window: AskedWindow) -> dict[str, Any]:
    request = window.request
    return {
        **request_columns(request),
        "prompt_version": prompt_version(request),
        "instruction": request.instruction,
        "actions": list(request.actions),
        "dataset": window.dataset,
        "episode_id": window.episode_id,
        "first_action": window.first_action,
    }


def _scores_of(row: dict[str, Any]) -> Scores:
    number = len(row["probabilities"]) // max(1, len(row["scores"]))
    flat = row["probabilities"]
    return Scores(
        scores=tuple(row["scores"]),
        probabilities=tuple(tuple(flat[start : start + number]) for start in range(0, len(flat), number or 1)),
        **answer_fields(row),
    )
