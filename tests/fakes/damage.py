"""Damage to the bytes of a Parquet file, and to its columns where the file stays whole."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TO_BYTES = ("flip", "cut", "insert", "zero", "foreign", "empty")
TO_COLUMNS = ("gone", "renamed", "other_type", "null", "twice")


def damaged_bytes(content: bytes, how: str, rng: np.random.Generator) -> bytes:
    """Half the damage is done to the footer, which no checksum guards."""
    changed = bytearray(content)
    start = int(rng.integers(len(content))) if rng.random() < 0.5 else len(content) - 1 - int(rng.integers(3000))
    start = max(0, start)
    if how == "flip":
        for place in (start, *rng.integers(len(content), size=rng.integers(3))):
            changed[place] ^= 1 << int(rng.integers(8))
    elif how == "cut":
        del changed[start : start + int(rng.integers(1, 400)) if rng.random() < 0.5 else len(content)]
    elif how == "insert":
        changed[start:start] = rng.bytes(int(rng.integers(1, 100)))
    elif how == "zero":
        changed[start : start + 64] = bytes(len(changed[start : start + 64]))
    elif how == "foreign":
        return rng.bytes(50) if rng.random() < 0.5 else b"PAR1" + rng.bytes(200) + b"PAR1"
    elif how == "empty":
        return b""
    return bytes(changed)


def damaged_columns(content: bytes, how: str, rng: np.random.Generator) -> bytes:
    """A file that Parquet finds whole; a column of it is not what it was."""
    table = pq.read_table(io.BytesIO(content), partitioning=None)
    index = int(rng.integers(table.num_columns))
    field, column = table.schema.field(index), table.column(index)
    if how == "gone":
        table = table.remove_column(index)
    elif how == "renamed":
        table = table.rename_columns([f"{n}_" if n == field.name else n for n in table.column_names])
    elif how == "other_type":
        words = pa.array([str(value) for value in column.to_pylist()])
        other = pa.array(range(len(table)), pa.int16()) if words.type == field.type else words
        table = table.set_column(index, pa.field(field.name, other.type), other)
    elif how == "null":
        table = table.set_column(index, pa.field(field.name, field.type), pa.nulls(len(table), field.type))
    else:
        table = table.append_column(field, column)
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()
