"""Canaries: what the run had rated first is asked again before each session, to see whether the rater still answers as
it did."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from algorithms.prompts import words_version
from algorithms.ratings import Rating
from algorithms.settings import CanarySettings
from orchestrator.ratings.question import Question
from orchestrator.ratings.schema import StoredRating
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.layout import CANARIES_CHANGED

_UNKNOWN = (
    "neither the weights' name and revision nor the words of the question have changed: another engine or version "
    "of it, another precision or chat template, or a server that gives other weights under the same name"
)


@dataclass(frozen=True)
class Song:
    """What the canaries' answers came to."""

    num_asked: int
    changed: float
    """Share of the answers that are no longer what they were."""
    shift: float | None
    """Mean total variation between the probabilities of an answer then and now, from 0 to 1; None if none were told."""
    what: str
    """What of the rater is another than it was, in words."""

    @property
    def metrics(self) -> dict[str, float]:
        """By name."""
        shift = {} if self.shift is None else {"canary/shift": self.shift}
        return {"canary/asked": float(self.num_asked), CANARIES_CHANGED: self.changed} | shift

    def __str__(self) -> str:
        moved = "" if self.shift is None else f", and their probabilities moved by {self.shift:.2f} of 1"
        return f"{self.changed:.0%} of {self.num_asked} canaries are answered otherwise than before{moved}; {self.what}"


def hear(settings: CanarySettings, keys: Sequence[str], store: RatingStore, service: RatingService) -> Song | None:
    """Ask again what has the first of these `keys` in the store; None if nothing was answered.

    What comes back is stored nowhere, and learned by nobody.
    """
    if not keys:
        return None
    known = store.load(keys[: settings.number])
    questions = [Question(one.request, one.frames, one.env_step, one.success) for one in known]
    outcomes = service.ask_again(questions).result() if questions else []
    pairs = [(old, new) for old, new in zip(known, outcomes, strict=True) if isinstance(new, Rating)]
    if not pairs:
        return None
    changed = np.mean([old.rating.rating != new.rating for old, new in pairs])
    shifts = [
        0.5 * np.abs(np.subtract(old.rating.probabilities, new.probabilities)).sum()
        for old, new in pairs
        if old.rating.probabilities and new.probabilities
    ]
    shift = float(np.mean(shifts)) if shifts else None
    return Song(len(pairs), float(changed), shift, _what_differs(pairs[0][0], service))


def _what_differs(old: StoredRating, service: RatingService) -> str:
    request = old.request
    before = asdict(old.identity) | asdict(old.sampling) | {"words of the question": old.prompt_version}
    now = asdict(service.identity) | asdict(service.sampling)
    now["words of the question"] = words_version(request.task.agent, request.scale)
    differing = [f"{name} is {now[name]!r}, and was {before[name]!r}" for name in before if now[name] != before[name]]
    return "; ".join(differing) or _UNKNOWN
