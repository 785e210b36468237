"""A table in a folder of immutable Parquet parts, which several processes may append to and read at once."""

import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import LikertError
from orchestrator.storage.locations import RemotePath, file_size, open_input
from orchestrator.storage.writing import remove_stale_temporaries, write_atomic

log = logging.getLogger(__name__)

ROWS_PER_GROUP = 64
"""Rows that are read together; small, because a look-up wants single rows."""
COMPACT_BYTES = 256 * 2**20
"""`compact` merges parts into parts of about this many bytes in memory."""
COMPACT_REMOTE_BYTES = 32 * 2**20
"""The same for a remote table, whose parts are read whole."""
REMOTE_READS = 16
"""Parts of a remote table that are read at once: each is a request that mostly waits."""

LONGEST_VERSION = 6
"""Digits."""

_TABLE = b"likert.table"
_VERSION = b"likert.schema_version"


class StoreVersionError(LikertError):
    """A part was written by a newer version of this package."""


class _ForeignPartError(ValueError):
    """A file is Parquet, and not a part of this table."""


_UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, EOFError)
"""What reading a damaged part raises: text that is no UTF-8 is a ValueError, a time beyond all years an overflow."""


@dataclass(frozen=True)
class RowCheck:
    """Which rows of a part that can be read make no sense, so that nobody wrote them."""

    columns: tuple[str, ...]
    """What it looks at, beside the key."""
    problem: Callable[[Mapping[str, Any]], str | None]
    """What is wrong with a row of these columns, or None."""


ANY_ROW = RowCheck((), lambda _: None)


class PartsTable:
    """Rows with a unique key, spread over parts named by time and chance.

    A part is written aside, flushed and renamed, and never changed afterwards. Of rows with equal keys the one in the
    earliest part counts. A part that cannot be read, or whose columns are others, is named in one warning and left
    out; so are rows that `check` finds impossible.
    """

    def __init__(
        self,
        folder: Path | RemotePath,
        name: str,
        schema: pa.Schema,
        key_column: str,
        version: int,
        check: RowCheck = ANY_ROW,
    ) -> None:
        self.folder = folder
        self.name = name
        self._key_column = key_column
        self._check = check
        self._version = version
        self._schema = schema.with_metadata({_TABLE: name.encode(), _VERSION: str(version).encode()})
        self._parts: set[str] = set()
        self._damaged: set[str] = set()
        self._named: set[str] = set()
        """Parts of which rows are left out, and that were named."""
        self._index: dict[str, tuple[str, int]] = {}
        self._remote = isinstance(folder, RemotePath)
        remove_stale_temporaries(folder)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write `rows` as a new part; nothing is written for no rows."""
        if rows:
            self._write(f"part-{time.time_ns():020d}", pa.Table.from_pylist(list(rows), schema=self._schema))

    def refresh(self) -> None:
        """Take notice of parts that other processes, or this one, have written or merged since."""
        present = {path.name for path in self.folder.glob("part-*.parquet")}
        if self._parts - present:
            # Rows of a part that is gone may stand in one that was skipped as a copy: index anew.
            self._parts.clear()
            self._index.clear()
        new = sorted(present - self._parts - self._damaged)
        for part, keys in zip(new, self._keys_of(new), strict=True):
            self._index_part(part, keys)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def keys(self) -> KeysView[str]:
        """Keys known at the last look, in the order of writing."""
        return self._index.keys()

    def read(self, keys: Iterable[str], columns: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
        """Rows by key; keys that the table does not hold are left out. Looks for new parts first."""
        wanted = set(keys)
        found: dict[str, dict[str, Any]] = {}
        while True:
            self.refresh()
            by_part = defaultdict(list)
            for key in wanted - found.keys():
                if key in self._index:
                    part, row = self._index[key]
                    by_part[part].append(row)
            if not by_part:
                return found
            for part, rows in by_part.items():
                # A part that was merged away, or is damaged, is dropped and its rows are looked for again.
                found |= {row[self._key_column]: row for row in self._read_rows(part, sorted(rows), columns)}

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[list[dict[str, Any]]]:
        """All rows, one part after the other, each key once. A part that is merged meanwhile yields nothing."""
        self.refresh()
        by_part = defaultdict(list)
        for part, row in self._index.values():
            by_part[part].append(row)
        for part in sorted(by_part):
            yield self._read_rows(part, sorted(by_part[part]), columns)

    def compact(self) -> tuple[int, int]:
        """Merge small parts; return the number of parts before and after. Others may read and append meanwhile."""
        self.refresh()
        before = len(self._parts)
        owned = defaultdict(list)
        for part, row in self._index.values():
            owned[part].append(row)
        batch: list[str] = []
        size = 0
        full = COMPACT_REMOTE_BYTES if self._remote else COMPACT_BYTES
        # Merging deletes what it merges; rows that were left out are somebody's to look at.
        for part in sorted(self._parts - self._named):
            part_bytes = self._size(part)
            if part_bytes > full // 2:
                continue
            if size + part_bytes > full:
                self._merge(batch, owned)
                batch, size = [], 0
            batch.append(part)
            size += part_bytes
        self._merge(batch, owned)
        self.refresh()
        return before, len(self._parts)

    def _merge(self, parts: list[str], owned: Mapping[str, list[int]]) -> None:
        if len(parts) < 2:
            return
        tables = [self._read_table(part, sorted(owned[part]), None) for part in parts]
        # Parts that could not be read stay where they are; rows that count elsewhere are not carried over.
        merged = [part for part, table in zip(parts, tables, strict=True) if table is not None]
        rows = pa.concat_tables([table for table in tables if table is not None])
        if rows.num_rows:
            # The first part's time, so that of equal keys the earliest row goes on to count.
            self._write(parts[0].rsplit("-", 1)[0], rows.cast(self._schema))
        for part in merged:
            (self.folder / part).unlink(missing_ok=True)

    def _write(self, stem: str, table: pa.Table) -> None:
        def write(file: Any) -> None:
            pq.write_table(
                table,
                file,
                row_group_size=ROWS_PER_GROUP,
                compression={column: "none" if column == "png" else "zstd" for column in _leaves(table.schema)},
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
            )

        write_atomic(self.folder / f"{stem}-{uuid.uuid4().hex[:8]}.parquet", write)

    def _size(self, part: str) -> int:
        try:
            return file_size(self.folder / part)
        except FileNotFoundError:
            return 0

    def _index_part(self, part: str, keys: list[str | None] | Exception) -> None:
        if isinstance(keys, FileNotFoundError):
            return
        if isinstance(keys, Exception):
            self._leave_out(part, keys)
            return
        self._parts.add(part)
        for row, key in enumerate(keys):
            if key is not None:
                self._index.setdefault(key, (part, row))

    def _keys_of(self, parts: list[str]) -> list[list[str | None] | Exception]:
        """Keys of each part's rows, None for rows that are left out; or why they cannot be read."""
        if not self._remote or len(parts) < 2:
            return [self._keys(part) for part in parts]
        with ThreadPoolExecutor(REMOTE_READS) as pool:
            return list(pool.map(self._keys, parts))

    def _keys(self, part: str) -> list[str | None] | Exception:
        try:
            with self._open(part) as file:
                rows = file.read(columns=[self._key_column, *self._check.columns]).to_pylist()
                if len(rows) != file.metadata.num_rows:
                    raise _ForeignPartError(f"it has {len(rows)} rows, and names {file.metadata.num_rows}")
        except _UNREADABLE as error:
            return error
        problems = {number: text for number, row in enumerate(rows) if (text := self._problem(row))}
        if problems and part not in self._named:
            self._named.add(part)
            number, text = next(iter(problems.items()))
            log.warning(
                "%s: %d of %d rows are left out, as nobody can have written them: row %d, %s. The others count",
                self.folder / part, len(problems), len(rows), number, text,
            )  # fmt: skip
        return [None if number in problems else row[self._key_column] for number, row in enumerate(rows)]

    def _problem(self, row: Mapping[str, Any]) -> str | None:
        return self._check.problem(row) if row[self._key_column] else f"its {self._key_column} is missing"

    def _open(self, part: str) -> pq.ParquetFile:
        file = pq.ParquetFile(open_input(self.folder / part), page_checksum_verification=True)
        metadata = file.schema_arrow.metadata or {}
        version = metadata.get(_VERSION, b"")
        if metadata.get(_TABLE) != self.name.encode() or not version.isdigit() or len(version) > LONGEST_VERSION:
            raise _ForeignPartError(f"it is no part of a rating store's table of {self.name}")
        if int(version) > self._version:
            raise StoreVersionError(
                f"{self.folder / part} has schema version {int(version)}; this likert-rl reads up to {self._version}. "
                "Update likert-rl, or give another ratings_folder"
            )
        found = file.schema_arrow.remove_metadata()
        if not found.equals(self._schema.remove_metadata()):
            raise _ForeignPartError(f"its columns are not those of {self.name}: {_difference(found, self._schema)}")
        return file

    def _read_rows(self, part: str, rows: list[int], columns: Sequence[str] | None) -> list[dict[str, Any]]:
        return self._from_part(part, rows, columns, pa.Table.to_pylist) or []

    def _read_table(self, part: str, rows: list[int], columns: Sequence[str] | None) -> pa.Table | None:
        """Rows of a part by position, in order, or None if it is gone or damaged."""
        return self._from_part(part, rows, columns, lambda table: table)

    def _from_part(
        self, part: str, rows: list[int], columns: Sequence[str] | None, take: Callable[[pa.Table], Any]
    ) -> Any:
        """What `take` makes of these rows, or None if the part is gone or damaged."""
        if columns is not None:
            columns = list(dict.fromkeys([self._key_column, *columns]))
        try:
            with self._open(part) as file:
                return take(_take(file, rows, columns))
        except FileNotFoundError:
            return None  # Merged by another process; the next refresh notices.
        except _UNREADABLE as error:
            self._leave_out(part, error)
            return None

    def _leave_out(self, part: str, error: Exception) -> None:
        self._damaged.add(part)
        # Rows of this part may stand in another that was skipped as a copy: index anew at the next refresh.
        self._parts.clear()
        self._index.clear()
        log.warning(
            "%s cannot be read (%s); its rows are left out. Delete it once you have looked", self.folder / part, error
        )


def _take(file: pq.ParquetFile, rows: list[int], columns: Sequence[str] | None) -> pa.Table:
    """Rows at sorted positions, from only those row groups that hold one."""
    tables = []
    start = 0
    position = 0
    for group in range(file.num_row_groups):
        end = start + file.metadata.row_group(group).num_rows
        first = position
        while position < len(rows) and rows[position] < end:
            position += 1
        if position > first:
            local = [row - start for row in rows[first:position]]
            tables.append(file.read_row_group(group, columns=columns).take(local))
        start = end
    if not tables:
        return file.schema_arrow.empty_table() if columns is None else file.schema_arrow.empty_table().select(columns)
    return pa.concat_tables(tables)


def _difference(found: pa.Schema, wanted: pa.Schema) -> str:
    """The first column in which they differ."""
    for field in wanted:
        index = found.get_field_index(field.name)
        if index < 0:
            return f"{field.name!r} is missing"
        if not found.field(index).equals(field):
            return f"{field.name!r} is {_kind(found.field(index))}, and must be {_kind(field)}"
    others = [name for name in found.names if name not in wanted.names]
    return f"{others[0]!r} is unknown" if others else "they stand in another order, or twice"


def _kind(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ', never null'}"


def _leaves(schema: pa.Schema) -> list[str]:
    """Names under which Parquet knows the columns."""
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema]
