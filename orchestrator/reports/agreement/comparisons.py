"""Who is held against whom: people against one another, people against each version of a rater, and its repeats."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from algorithms.scales import CANNOT_TELL, RatingScale
from orchestrator.ratings.people.shown import SHOWN_COLUMNS, Shown, shown
from orchestrator.reports.agreement.measures import NO_LEVEL, Agreement, against, among


@dataclass(frozen=True)
class RaterVersion:
    """What must be the same for ratings to be of one rater; the seed alone may differ between its repeats."""

    model: str
    revision: str
    mode: str
    prompt_version: str
    temperature: float
    max_analysis_tokens: int
    min_pixels: int
    max_pixels: int
    precision: str


VERSION_COLUMNS = tuple(field.name for field in fields(RaterVersion))
RATING_COLUMNS = ["rating", "seed", "run", *dict.fromkeys((*SHOWN_COLUMNS, *VERSION_COLUMNS))]
"""Of the table `ratings`: what is read here."""
SHORT = 16
"""Characters of a digest that are shown."""

Kind = Literal["people", "people and model", "repeats of the model"]


@dataclass(frozen=True)
class Line:
    """One comparison."""

    kind: Kind
    who: str
    """People by name or number; empty for repeats."""
    rater: str
    """The version of the model; empty between people."""
    agreement: Agreement
    is_total: bool = True
    """Whether it is of all people, and not of one among several."""


@dataclass(frozen=True)
class TaskAgreement:
    """All comparisons on one task and scale."""

    instruction: str
    focus: str
    words: tuple[str, ...]
    """Levels that are compared, worst first; of pairs of pictures, either."""
    num_people: int
    num_said: Mapping[str, int]
    """What people said before they knew the model's answer: `level`, `cannot_tell`, `pass`; and `later`, what they said
    knowing it, or of what they had rated before, which is not compared."""
    lines: Sequence[Line]
    runs: frozenset[str]
    """That had it rated."""


def compare(ratings: Iterable[Mapping[str, Any]], opinions: Iterable[Mapping[str, Any]]) -> list[TaskAgreement]:
    """By task and scale, from rows of the tables `ratings` and `people`, these from the earliest.

    Tasks of which nobody said anything and no rater was asked twice are left out. Of a person the first opinion of what
    was shown counts, if the model's answer was not known. "Cannot tell" and passes are counted, and are no levels.
    """
    tasks: dict[Shown, _Task] = defaultdict(_Task)
    for row in ratings:
        item = shown(row)
        tasks[_task_of(item)].add_rating(item, row)
    for row in opinions:
        item = shown(row)
        tasks[_task_of(item)].add_opinion(item, row)
    found = [_compared(key, task) for key, task in tasks.items()]
    return [one for one in found if one.lines]


def _task_of(item: Shown) -> Shown:
    told = dict(zip(SHOWN_COLUMNS, item, strict=True))
    return tuple(told[name] for name in ("instruction", "focus", "words", "rubric"))


class _Task:
    """Levels by rater and by what was shown."""

    def __init__(self) -> None:
        self.people: dict[str, dict[Shown, int]] = defaultdict(dict)
        self.models: dict[RaterVersion, dict[int, dict[Shown, int]]] = defaultdict(lambda: defaultdict(dict))
        """By version and seed."""
        self.said = {"level": 0, "cannot_tell": 0, "pass": 0, "later": 0}
        self.runs: set[str] = set()

    def add_rating(self, item: Shown, row: Mapping[str, Any]) -> None:
        version = RaterVersion(**{name: row[name] for name in VERSION_COLUMNS})
        self.models[version][row["seed"]].setdefault(item, _level(row["rating"], row["words"]))
        self.runs.add(row["run"])

    def add_opinion(self, item: Shown, row: Mapping[str, Any]) -> None:
        known = self.people[row["person"]]
        if row["answer_seen"] or item in known:
            self.said["later"] += 1
            return
        known[item] = NO_LEVEL if row["level"] is None else _level(row["level"], row["words"])
        told = "cannot_tell" if row["said"] == "level" and known[item] == NO_LEVEL else row["said"]
        self.said[told] += 1


def _level(level: int, words: Sequence[str]) -> int:
    """Of a comparison, "cannot tell" is an answer and no level."""
    return NO_LEVEL if level == CANNOT_TELL and RatingScale(tuple(words)).compares else level


def _compared(key: Shown, task: _Task) -> TaskAgreement:
    instruction, focus, words, _ = key
    levels = words[:CANNOT_TELL] if RatingScale(words).compares else words
    said = {person: rated for person, rated in task.people.items() if rated}
    lines = []
    if task.people:
        items = _items(said.values())
        lines.append(Line("people", _who(said), "", among(_table(said.values(), items), len(levels))))
    names = version_names(list(task.models))
    for version, repeats in task.models.items():
        # Of what was asked with several seeds, people are held against the first that was.
        answers = {item: level for rated in reversed(repeats.values()) for item, level in rated.items()}
        beside = {
            person: own
            for person, rated in said.items()
            if (own := {item: level for item, level in rated.items() if item in answers})
        }
        if beside:
            lines += _beside(beside, answers, names[version], len(levels))
        several = {item for item in answers if sum(item in rated for rated in repeats.values()) > 1}
        if several:
            table = _table(repeats.values(), sorted(several))
            lines.append(Line("repeats of the model", "", names[version], among(table, len(levels))))
    return TaskAgreement(instruction, focus, levels, len(task.people), task.said, lines, frozenset(task.runs))


def _beside(
    people: Mapping[str, Mapping[Shown, int]], answers: Mapping[Shown, int], rater: str, num_levels: int
) -> list[Line]:
    """All people, and each of several, against a rater."""
    items = _items(people.values())
    said, model = _table(people.values(), items), _table([answers], items)[0]
    lines = [Line("people and model", _who(people), rater, against(said, model, num_levels))]
    if len(people) > 1:
        for person, own in zip(people, said, strict=True):
            lines.append(Line("people and model", person, rater, against(own[None], model, num_levels), False))
    return lines


def _who(people: Mapping[str, Any]) -> str:
    return next(iter(people)) if len(people) == 1 else f"{len(people) or 'no'} people"


def _items(rated: Iterable[Mapping[Shown, int]]) -> list[Shown]:
    return sorted({item for own in rated for item in own})


def _table(rated: Iterable[Mapping[Shown, int]], items: Sequence[Shown]) -> np.ndarray:
    """int64 [raters, items]."""
    rows = [[own.get(item, NO_LEVEL) for item in items] for own in rated]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(items))


def version_names(versions: Sequence[RaterVersion]) -> dict[RaterVersion, str]:
    """Names that tell these apart: the model's, and what else differs."""
    differing = [name for name in VERSION_COLUMNS[1:] if len({getattr(one, name) for one in versions}) > 1]
    return {
        one: ", ".join([_short(one.model), *(_told(name, getattr(one, name)) for name in differing)])
        for one in versions
    }


def _told(name: str, value: Any) -> str:
    if name == "mode":
        return str(value).replace("_", " ")
    if name == "prompt_version":
        return f"template {value[:8]}"
    return f"{name.replace('_', ' ')} {_short(str(value))}"


def _short(name: str) -> str:
    return name[:SHORT] if name.startswith("sha256:") else name
