"""Canaries: what the run had rated first is asked again before each session, to see whether the rater still answers as
it did; and pictures of known levels are asked, to see whether it is right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from algorithms.prompts import words_version
from algorithms.ratings import Rating
from algorithms.settings import CanarySettings
from orchestrator.online.asking.known import Known
from orchestrator.online.questions import QuestionMaker
from orchestrator.ratings.question import Question
from orchestrator.ratings.schema import StoredRating
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.layout import CANARIES_CHANGED, CANARIES_WRONG
from orchestrator.screen.counts import counted

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


@dataclass(frozen=True)
class KnownSong:
    """What the answers about pictures of known levels came to."""

    num_asked: int
    wrong: float
    """Share of the answers that are another level."""
    worst: str
    """What was taken for what most often, in words; empty if nothing was."""

    @property
    def metrics(self) -> dict[str, float]:
        """By name."""
        return {"canary/known_asked": float(self.num_asked), CANARIES_WRONG: self.wrong}

    def __str__(self) -> str:
        return f"{self.wrong:.0%} of {self.num_asked} pictures of known levels are answered otherwise; {self.worst}"


def hear_known(known: Sequence[Known], maker: QuestionMaker, service: RatingService) -> KnownSong | None:
    """Ask about pictures of known levels; None if nothing was answered. Stored nowhere, and learned by nobody."""
    questions = [maker.question([png], 0, None) for png, _ in known]
    outcomes = service.ask_again(questions).result() if questions else []
    pairs = [(level, one.rating) for (_, level), one in zip(known, outcomes, strict=True) if isinstance(one, Rating)]
    if not pairs:
        return None
    wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
    worst = ""
    if wrong:
        words = questions[0].request.scale.words
        (level, answer), number = min(wrong.items(), key=lambda item: (-item[1], item[0]))
        worst = f"most often {words[level]!r} is called {words[answer]!r}, {counted(number, 'time')}"
    return KnownSong(len(pairs), sum(wrong.values()) / len(pairs), worst)


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
