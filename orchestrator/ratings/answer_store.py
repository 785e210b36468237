"""What the store's halves share: a table of answers and one of failures, several writers, equal keys one row."""

import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from algorithms.ratings import RatingFailure
from orchestrator.ratings.columns import failure_columns
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.parquet_parts import ANY_ROW, PartsTable, RowCheck


class AnswerStore:
    """Answers by key, and apart from them questions that got none. Methods may be called from several threads."""

    def __init__(
        self,
        folder: Path | RemotePath,
        answers: tuple[str, pa.Schema],
        failures: tuple[str, pa.Schema],
        version: int,
        check: RowCheck = ANY_ROW,
    ) -> None:
        """Open two tables of `folder`, each given by name and columns; the first answer makes the folder. `check` says
        which answers nobody can have written.

        Raises StoreVersionError if one has parts of a newer `version`.
        """
        self.folder = folder
        self._lock = threading.RLock()
        self._version = version
        self._answers = self._open(*answers, "key", check)
        self._failures = self._open(*failures, "failure_id")
        self._tables = [self._answers, self._failures]

    def _open(self, name: str, schema: pa.Schema, key_column: str, check: RowCheck = ANY_ROW) -> PartsTable:
        table = PartsTable(self.folder / name, name, schema, key_column, self._version, check)
        table.refresh()
        return table

    def __len__(self) -> int:
        """Answers known at the last look."""
        return len(self._answers)

    def rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every answer once, as a row without pictures, in the order of writing."""
        return self._scan(self._answers, columns)

    def failures(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Every failed question, in the order of writing."""
        return self._scan(self._failures, columns)

    def rows_besides(self, known: Container[str], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Answers whose keys are not among `known`, in the order of writing; what is known is not read again."""
        return self._besides(self._answers, known, columns)

    def failures_besides(self, known: Container[str], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The same of failed questions, by their `failure_id`."""
        return self._besides(self._failures, known, columns)

    def compact(self) -> dict[str, tuple[int, int]]:
        """Merge small parts; number of parts before and after, by table. Others may read and write meanwhile."""
        with self._lock:
            return {table.name: table.compact() for table in self._tables}

    def _read(self, keys: Iterable[str], columns: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """Rows of the answers that the store holds among `keys`, those of other processes included."""
        with self._lock:
            return self._answers.read(keys, columns)

    def _append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write answers; they are on disk when this returns. A key that is there already keeps its first answer."""
        first: dict[str, Mapping[str, Any]] = {}
        for row in rows:
            first.setdefault(row["key"], row)
        with self._lock:
            self._answers.refresh()
            self._answers.append([row for key, row in first.items() if key not in self._answers])

    def _append_failures(self, failures: Sequence[tuple[Mapping[str, Any], RatingFailure]]) -> None:
        """Write failures, each with the columns of its question. Raises TypeError if one is no RatingFailure."""
        if any(not isinstance(failure, RatingFailure) for _, failure in failures):
            raise TypeError("append_failures takes failures only; answers go to append")
        rows = [{**failure_columns(failure), **question} for question, failure in failures]
        with self._lock:
            self._failures.append(rows)

    def _besides(self, table: PartsTable, known: Container[str], columns: Sequence[str] | None) -> list[dict[str, Any]]:
        with self._lock:
            table.refresh()
            found = table.read([key for key in table.keys() if key not in known], columns)
            return [found[key] for key in table.keys() if key in found]

    def _scan(self, table: PartsTable, columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
        parts = table.scan(columns)
        while True:
            # Held for a part at a time, so that a slow reader does not keep other threads from writing.
            with self._lock:
                rows = next(parts, None)
            if rows is None:
                return
            yield from rows
