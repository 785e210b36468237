"""Which entries are wanted, and in which order."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.errors import SettingsError
from orchestrator.gallery.index import Entry, GalleryIndex


class Choice(BaseModel):
    """A choice among entries: all of what is given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ratings", "failures", "all"] = "ratings"
    """Answers, questions that got none, or both."""
    task: int | None = Field(None, ge=1)
    """The task's number on the page, from 1."""
    level: int | None = Field(None, ge=1)
    """The model's level, 1 for the worst."""
    doubt: float = Field(0.0, ge=0.0, le=1.0)
    """Entropy of the model's probabilities at least, as a share of the largest."""
    disagrees: bool = False
    """Only answers that the simulator's success flag contradicts."""
    rated: Literal["all", "person", "nobody", "me", "not_me"] = "all"
    """By people."""
    model: str = ""
    """The rater's name, whole."""
    run: str = ""
    """The run that asked."""
    order: Literal["written", "newest", "doubt", "shuffled"] = "written"
    """`doubt`: most doubtful first. `shuffled`: by chance, and always the same."""


_ROUNDING = 1e-6
"""Probabilities are rounded, and all alike must have the doubt 1."""
KEYS = ", ".join(Choice.model_fields)


def parse_choice(given: Mapping[str, str]) -> Choice:
    """A choice from texts by name. Raises ValueError with one line."""
    try:
        return Choice.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{name} is unknown; there are {KEYS}") from None
        raise ValueError(f"{name}={first['input']}: {first['msg']}") from None


def choice_argument(texts: Sequence[str]) -> Choice:
    """A choice from `KEY=VALUE` of the command line. Raises SettingsError."""
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--only {text}: must be KEY=VALUE, with one of {KEYS}")
        given[name] = value
    try:
        choice = parse_choice(given)
    except ValueError as error:
        raise SettingsError(f"--only {error}") from None
    if choice.rated in ("me", "not_me"):
        raise SettingsError(
            f"--only rated={choice.rated}: is for the page, which knows who you are; use person, nobody"
        )
    return choice


def chosen(index: GalleryIndex, choice: Choice, person: str = "", with_pictures: bool = False) -> list[Entry]:
    """Entries that fit, in order. `person` is who `me` is; `with_pictures` leaves out what has lost its pictures."""
    said = index.opinions()
    found = [one for one in index.entries if _fits(one, choice, said.get(one.key, ()), person)]
    if with_pictures:
        found = index.with_pictures(found)
    if choice.order == "newest":
        found.sort(key=lambda one: one.row["asked_at"], reverse=True)
    elif choice.order == "doubt":
        found.sort(key=lambda one: -1.0 if one.doubt is None else one.doubt, reverse=True)
    elif choice.order == "shuffled":
        found.sort(key=lambda one: hashlib.sha256(one.key.encode()).digest())
    return found


def _fits(entry: Entry, choice: Choice, said: Sequence[Mapping[str, Any]], person: str) -> bool:
    mine = any(row["person"] == person for row in said)
    by_people = {"all": True, "person": bool(said), "nobody": not said, "me": mine, "not_me": not mine}
    return (
        choice.kind in ("all", f"{entry.kind}s")
        and choice.task in (None, entry.task + 1)
        and (choice.level is None or entry.level == choice.level - 1)
        and (choice.doubt == 0.0 or (entry.doubt is not None and entry.doubt >= choice.doubt - _ROUNDING))
        and (not choice.disagrees or entry.disagrees is True)
        and by_people[choice.rated]
        and choice.model in ("", entry.row["model"])
        and choice.run in ("", entry.row["run"])
    )
