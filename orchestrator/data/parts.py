"""The Parquet files of a trajectory data set: each holds whole episodes, and is read row group by row group."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.data.check import PartError
from orchestrator.data.schema import SCHEMA_VERSION
from orchestrator.storage.writing import write_atomic

ROWS_PER_GROUP = 128
"""Rows that are read together."""

_TABLE = {b"likert.table": b"trajectories", b"likert.schema_version": str(SCHEMA_VERSION).encode()}


def write_part(path: Path, table: pa.Table) -> None:
    """Write a part whole, in place of what stood there."""
    table = table.replace_schema_metadata(_TABLE)
    leaves = [f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in table.schema]

    def write(file: Any) -> None:
        pq.write_table(
            table,
            file,
            row_group_size=ROWS_PER_GROUP,
            # PNG files do not get smaller.
            compression={name: "none" if name == "frame" else "zstd" for name in leaves},
            use_dictionary=[name for name in leaves if name in ("episode_id", "instruction", "action_name")],
            write_page_checksum=True,
        )

    write_atomic(path, write)


def open_part(path: Path) -> pq.ParquetFile:
    """Open a part. Raises PartError if it cannot be read, or is none."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        names = file.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PartError(f"the file cannot be read: {error}") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PartError(f"it has the column {twice!r} twice")
    missing = [name for name in ("episode_id", "t") if name not in names]
    if missing:
        raise PartError(f"it has no column {missing[0]!r}, so it is no part of a trajectory data set")
    return file


def _row_groups(path: Path, left_out: set[str]) -> Iterator[pa.Table]:
    with open_part(path) as file:
        columns = [name for name in file.schema_arrow.names if name not in left_out]
        for group in range(file.num_row_groups):
            try:
                table = file.read_row_group(group, columns=columns)
                table.validate(full=True)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise PartError(f"row group {group} of {file.num_row_groups} cannot be read: {error}") from error
            yield table


def episode_rows(path: Path, left_out: set[str]) -> Iterator[tuple[int, pa.Table]]:
    """For each run of rows with one episode id: the number of its first row, and the rows without columns `left_out`.

    Raises PartError if the part, or what is left of it, cannot be read.
    """
    waiting: list[pa.Table] = []
    first_row = 0
    for group in _row_groups(path, left_out):
        for run in _runs(group):
            if waiting and waiting[0]["episode_id"][0] != run["episode_id"][0]:
                rows = pa.concat_tables(waiting)
                yield first_row, rows
                first_row += rows.num_rows
                waiting = []
            waiting.append(run)
    if waiting:
        yield first_row, pa.concat_tables(waiting)


def read_whole(path: Path) -> pa.Table:
    """All rows of a part. Raises PartError."""
    try:
        return pq.read_table(path, page_checksum_verification=True, partitioning=None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PartError(f"the file cannot be read: {error}") from error


def _runs(table: pa.Table) -> Iterator[pa.Table]:
    """The table cut where the episode id changes."""
    names = table["episode_id"].to_numpy()
    edges = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(names)]
    for start, end in itertools.pairwise(edges):
        if end > start:
            yield table.slice(start, end - start)
