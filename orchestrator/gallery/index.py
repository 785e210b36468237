"""What a store holds, in memory and without pictures, so that a page can choose among many at once."""

import math
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from algorithms.scales import RatingScale
from orchestrator.errors import SettingsError
from orchestrator.gallery.place import Place
from orchestrator.ratings.people.opinions import Opinion, PeopleStore
from orchestrator.ratings.store import RatingStore

_ASKED = [
    "images", "frames", "prompt_version", "instruction", "focus", "words", "rubric", "mode", "frame_note", "model",
    "revision", "env_step", "success", "run", "asked_at",
]  # fmt: skip
_ANSWERED = ["key", "rating", "probabilities", "analysis", *_ASKED]
_FAILED = ["key", "failure_id", "cause", "detail", "attempts", *_ASKED]

Kind = Literal["rating", "failure"]


@dataclass(frozen=True)
class Task:
    """What raters were told of a task, with their scale."""

    instruction: str
    focus: str
    words: tuple[str, ...]
    rubric: tuple[str, ...]

    @property
    def compares(self) -> bool:
        """Whether two pictures are compared, and no level is said."""
        return RatingScale(self.words).compares


@dataclass(frozen=True)
class Entry:
    """A question of a model, with its answer or why there is none."""

    number: int
    """Place in the index; it stays while the program runs."""
    kind: Kind
    row: Mapping[str, Any]
    """Its columns in the store."""
    task: int
    """Place among the tasks."""
    doubt: float | None
    """Entropy of the levels' probabilities in [0, 1], 1 where all are equal; None where there are none."""
    disagrees: bool | None
    """Whether the model's level and the simulator's success flag contradict; None where that cannot be said."""

    @property
    def key(self) -> str:
        """Of the question."""
        return str(self.row["key"])

    @property
    def level(self) -> int | None:
        """The model's answer, from 0, the worst."""
        return self.row.get("rating")


def entropy(probabilities: Sequence[float]) -> float | None:
    """Of probabilities of n alternatives, as a share of the largest, log n; None for none."""
    if len(probabilities) < 2:
        return None
    bits = sum(-one * math.log(one) for one in probabilities if one > 0.0)
    return min(1.0, bits / math.log(len(probabilities)))


def contradicts(task: Task, level: int | None, success: bool | None) -> bool | None:
    """Whether one says success and the other does not: success is the best level. None if either is unknown."""
    if level is None or success is None or task.compares:
        return None
    return (level == len(task.words) - 1) != success


class GalleryIndex:
    """Entries of a store and what people said of them. Methods may be called from several threads."""

    def __init__(self, place: Place) -> None:
        """Read the columns. Raises SettingsError for a store without any question of that run, or at all."""
        self.place = place
        self.tasks: list[Task] = []
        self.entries: list[Entry] = []
        self.by_key: dict[str, Entry] = {}
        self._store = RatingStore(place.store)
        self._people = PeopleStore(place.store)
        self._lock = threading.Lock()
        self._read: dict[Kind, set[str]] = {"rating": set(), "failure": set()}
        """Ids of rows that were looked at, those of other runs included."""
        self.refresh()
        if not self.entries:
            of_run = f"asked by the run {place.run!r}" if place.run else "in it"
            raise SettingsError(
                f"{place.store}: there is no rating and no failed question {of_run}; nothing can be shown. Run "
                "something that asks a rater first"
            )

    def refresh(self) -> None:
        """Take notice of what was written since; entries keep their numbers."""
        with self._lock:
            for row in self._store.rows_besides(self._read["rating"], _ANSWERED):
                self._add("rating", row["key"], row)
            for row in self._store.failures_besides(self._read["failure"], _FAILED):
                self._add("failure", row["failure_id"], row)

    def pictures(self, names: Sequence[str]) -> dict[str, bytes]:
        """PNG files by name; those that the store does not hold are left out."""
        return self._store.images(names)

    def with_pictures(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those of which all that was shown is in the store; of failed questions it often is not."""
        held = self._store.held_images({name for one in entries for name in one.row["images"]})
        return [one for one in entries if held.issuperset(one.row["images"])]

    def opinions(self) -> dict[str, list[dict[str, Any]]]:
        """What people said, by the question's key, from the earliest."""
        found = defaultdict(list)
        for row in self._people.opinions():
            found[row["key"]].append(row)
        return found

    def say(self, entry: Entry, opinion: Opinion) -> dict[str, Any]:
        """Keep an opinion; it is on disk when this returns. Raises ValueError for one that cannot be."""
        return self._people.append(entry.row, opinion)

    def _add(self, kind: Kind, row_id: str, row: dict[str, Any]) -> None:
        self._read[kind].add(row_id)
        if self.place.run not in ("", row["run"]):
            return
        task = Task(row["instruction"], row["focus"], tuple(row["words"]), tuple(row["rubric"]))
        if task not in self.tasks:
            self.tasks.append(task)
        doubt = entropy(row.get("probabilities", ()))
        disagrees = contradicts(task, row.get("rating"), row["success"])
        entry = Entry(len(self.entries), kind, row, self.tasks.index(task), doubt, disagrees)
        self.entries.append(entry)
        # A question that failed and was answered later is known by its answer.
        if kind == "rating" or entry.key not in self.by_key:
            self.by_key[entry.key] = entry
