"""The table `people` of a rating store: what people say, beside the answers of models. See docs/gallery.md.

It is a folder of its own, and not rows among `ratings`: whatever learns from a store reads that folder, and programs of
others do, too; a person's row there would be taken for a model's answer. An older version of this package passes the
folder `people` over.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa

from orchestrator.ratings.columns import STRINGS, required
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.parquet_parts import PartsTable, RowCheck

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning. A table of a newer version is refused."""
LONGEST_NAME = 60
"""Characters of a person's name."""

Said = Literal["level", "cannot_tell", "pass"]
"""A level; that the pictures do not show it; or that this person leaves the question to others."""

PEOPLE = pa.schema(
    [
        required("opinion_id", pa.string()),
        required("key", pa.string()),
        required("person", pa.string()),
        required("said", pa.string()),
        pa.field("level", pa.int8()),
        required("answer_seen", pa.bool_()),
        required("seconds", pa.float64()),
        required("images", STRINGS),
        required("frames", STRINGS),
        required("prompt_version", pa.string()),
        required("instruction", pa.string()),
        required("focus", pa.string()),
        required("words", STRINGS),
        required("rubric", STRINGS),
        required("frame_note", pa.string()),
        required("rated_at", pa.timestamp("us", tz="UTC")),
    ]
)
QUESTION_COLUMNS = (
    "key",
    "images",
    "frames",
    "prompt_version",
    "instruction",
    "focus",
    "words",
    "rubric",
    "frame_note",
)
"""What an opinion copies from the question, so that it can be read without the model's row."""


@dataclass(frozen=True)
class Opinion:
    """What a person says of one question."""

    opinion_id: str
    """32 hexadecimal digits, drawn by whoever asks: sent twice, it is one opinion."""
    person: str
    """A name, of at most `LONGEST_NAME` characters."""
    said: Said
    level: int | None
    """In [0, number of words) if a level was said, else None."""
    answer_seen: bool
    """Whether the person had seen the model's answer to this question."""
    seconds: float
    """From the picture to the answer."""


def _impossible(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row, or None."""
    said, level = row["said"], row["level"]
    if said not in get_args(Said):
        return f"it says {said!r}"
    if (level is None) == (said == "level"):
        return f"it says {said!r} with level {level}"
    if level is not None and not 0 <= level < len(row["words"]):
        return f"level {level} is outside its scale of {len(row['words'])} levels"
    return None


class PeopleStore:
    """Opinions, one row each, never changed. Methods may be called from several threads, and by several processes."""

    def __init__(self, folder: Path | RemotePath) -> None:
        """Of the rating store in `folder`; the first opinion makes the table. Raises StoreVersionError if too new."""
        self._table = PartsTable(
            folder / "people", "people", PEOPLE, "opinion_id", SCHEMA_VERSION,
            RowCheck(("said", "level", "words"), _impossible),
        )  # fmt: skip
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = {}

    def append(self, question: Mapping[str, Any], opinion: Opinion) -> dict[str, Any]:
        """Write an opinion about `question`, a row of ratings or of failures; it is on disk when this returns.

        An opinion whose id is there already is left as it is, and its row is returned. Raises ValueError for an opinion
        that cannot be.
        """
        row: dict[str, Any] = {
            **{name: question[name] for name in QUESTION_COLUMNS},
            **vars(opinion),
            "rated_at": datetime.now(UTC),
        }
        name = opinion.person
        if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(f"a name must have 1 to {LONGEST_NAME} characters that can be printed")
        if not re.fullmatch("[0-9a-f]{32}", opinion.opinion_id):
            raise ValueError("opinion_id must be 32 hexadecimal digits")
        if not 0.0 <= opinion.seconds < float("inf"):
            raise ValueError("seconds must be a number from 0")
        if problem := _impossible(row):
            raise ValueError(problem)
        with self._lock:
            self._look()
            if opinion.opinion_id not in self._rows:
                self._table.append([row])
                self._look()
            return self._rows[opinion.opinion_id]

    def opinions(self) -> list[dict[str, Any]]:
        """Every opinion, those of other processes included, from the earliest."""
        with self._lock:
            self._look()
            return sorted(self._rows.values(), key=lambda row: row["rated_at"])

    def compact(self) -> tuple[int, int]:
        """Merge small parts; number of parts before and after."""
        with self._lock:
            return self._table.compact()

    def _look(self) -> None:
        self._table.refresh()
        # Each opinion is a part of its own: only what is new is read.
        self._rows |= self._table.read(self._table.keys() - self._rows.keys())
