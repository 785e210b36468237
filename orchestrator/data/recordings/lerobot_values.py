"""Values of a LeRobotDataset's tables, column by column: of the right type, present and finite, or a problem."""

from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.data.recordings.importing import ImportProblem
from orchestrator.data.recordings.lerobot_metadata import whole_number


def numbers(rows: pa.Table, name: str, dtype: Any = np.float32) -> np.ndarray:
    """A column of numbers, or of lists of them, as [rows, entries]. Raises ImportProblem unless all are finite."""
    column = _column(rows, name)
    kind = column.type
    while _is_list(kind):
        kind = kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ImportProblem(f"{name} is {kind}, but must be numbers")
    try:
        values = np.array(_values(column, name), dtype=np.float64)
    except (ValueError, TypeError):
        raise ImportProblem(f"{name} has not the same number of entries in each row") from None
    with np.errstate(over="ignore"):
        values = values.reshape(len(values), -1).astype(dtype)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, entry = wrong[0]
        raise ImportProblem(
            f"{name}, entry {entry} is {values[row, entry]}, which is no finite number, {len(wrong)} times"
        )
    return values


def whole_numbers(rows: pa.Table, name: str) -> list[int]:
    """A column of whole numbers from 0; floats that are whole count. Raises ImportProblem."""
    return [whole_number(_single(value), name) for value in _values(_column(rows, name), name)]


def flags(rows: pa.Table, name: str) -> list[bool]:
    """A column of true and false, or of 1 and 0; empty if there is none. Raises ImportProblem."""
    if name not in rows.column_names:
        return []
    values = [_single(value) for value in _values(_column(rows, name), name)]
    odd = next((value for value in values if not isinstance(value, bool | int | float) or value not in (0, 1)), False)
    if odd is not False:
        raise ImportProblem(f"{name} is {odd!r}, but must be true or false")
    return [bool(value) for value in values]


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    try:
        return rows[name]
    except KeyError:
        number = rows.column_names.count(name)
        raise ImportProblem(f"its table has {number or 'no'} columns {name!r}") from None


def _values(column: pa.ChunkedArray, name: str) -> list[Any]:
    try:
        return column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise ImportProblem(f"{name} cannot be read: {error}") from error


def _single(value: Any) -> Any:
    """The value itself where a feature of one entry was written as a list."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )
