"""Rating stores in which models and people have spoken."""

import uuid
from dataclasses import replace

from algorithms.ratings import Rating
from orchestrator.ratings.people.opinions import Opinion, PeopleStore
from orchestrator.ratings.store import RatingStore
from tests.fakes.small_store import IDENTITY, SAMPLING, question


def answer(folder, levels, identity=IDENTITY, seed=3, run="run-a"):
    """Ratings of the questions 0, 1, ... by these levels."""
    rows = [
        (question(n), Rating(f"{identity.model}-{seed}-{n}", level, (), "", 1, 1, 0.1))
        for n, level in enumerate(levels)
    ]
    RatingStore(folder).append(rows, identity, replace(SAMPLING, seed=seed), run)


def say(folder, person, levels, seen=False):
    """Opinions on the questions 0, 1, ...: a level, or `cannot_tell`, `pass`, or None for nothing."""
    store = PeopleStore(folder)
    asked = {row["images"][0]: row for row in RatingStore(folder).rows()}
    rows = sorted(asked.values(), key=lambda row: int(row["key"].rpartition("-")[2]))
    for row, level in zip(rows, levels, strict=False):
        if level is not None:
            said = level if isinstance(level, str) else "level"
            given = None if isinstance(level, str) else level
            store.append(row, Opinion(uuid.uuid4().hex, person, said, given, seen, 1.0))
