"""What can be wrong with the rows of a trajectory data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from algorithms.images import decode_png
from orchestrator.data.schema import AUDIT, REWARD, SCORE, DatasetInfo, arrow_schema


class PartError(Exception):
    """A part's file, or the rest of it, cannot be read."""


@dataclass(frozen=True)
class Problem:
    """Something wrong, and where."""

    part: str
    text: str
    row: int | None = None
    """Row of the part, from 0; None for the whole part."""
    episode_id: str | None = None
    is_note: bool = False
    """Worth knowing, but nothing is wrong."""
    column: str = ""
    """Where it is about one value."""

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        episode = "" if self.episode_id is None else f", episode {self.episode_id}"
        return f"{self.part}{row}{episode}: {'note: ' if self.is_note else ''}{self.text}"


def column_problems(rows: pa.Table, info: DatasetInfo) -> list[str]:
    """Columns that are missing, or that hold something else."""
    wanted = arrow_schema(info)
    # A reader may have left out columns of states on purpose.
    missing = [n for n in wanted.names if n not in rows.column_names and n not in ("frame", "symbolic")]
    if missing:
        return [f"the column {column!r} is missing" for column in missing]
    return [
        f"the column {field.name!r} is {rows.schema.field(field.name).type}, but must be {field.type}"
        for field in wanted
        if field.name in rows.column_names and rows.schema.field(field.name).type != field.type
    ]


def structure_problems(part: str, first_row: int, rows: pa.Table, info: DatasetInfo) -> list[Problem]:
    """What keeps an episode's rows from being one whole trajectory: each problem, with its row."""
    name = rows["episode_id"][0].as_py()

    def problem(index: int, text: str) -> Problem:
        return Problem(part, text, first_row + index, name)

    columns = column_problems(rows, info)
    if columns:
        return [problem(0, text) for text in columns]
    times = rows["t"].to_pylist()
    gap = next((index for index, t in enumerate(times) if t != index), None)
    if gap is not None:
        return [problem(gap, f"t is {times[gap]}, but must be {gap}: rows are missing or out of order")]
    if rows.num_rows == 1:
        return [problem(0, "the episode has no action: only a last observation")]
    return [problem(index, text) for index, text in _row_problems(rows, info)]


def value_problems(part: str, first_row: int, rows: pa.Table, info: DatasetInfo) -> list[Problem]:
    """What is wrong with single values: pictures that cannot be read, actions that do not exist, and so on.

    Nothing of columns that hold something else: `structure_problems` tells those.
    """
    if column_problems(rows, info):
        return []
    name = rows["episode_id"][0].as_py()
    found = [*_frame_problems(rows, info), *_action_problems(rows, info), *_number_problems(rows)]
    problems = [Problem(part, text, first_row + index, name, column=column) for index, column, text in sorted(found)]
    if rows.num_rows == 2:
        problems.append(Problem(part, "the episode has one action only", first_row, name, is_note=True))
    return problems


def ending_problems(part: str, first_row: int, rows: pa.Table) -> list[Problem]:
    """What contradicts itself in how an episode ends, of rows that `structure_problems` has nothing against."""
    name, last = rows["episode_id"][0].as_py(), rows.num_rows - 2
    sparse = rows["sparse_reward"].to_pylist()[: last + 1]
    completing = [index for index, value in enumerate(sparse) if value == 1]
    terminated, truncated = (rows[column][last].as_py() for column in ("terminated", "truncated"))
    found = [
        (index, f"sparse_reward is {value}, but must be 1 for the action that completed the instruction, else 0", False)
        for index, value in enumerate(sparse)
        if value not in (0, 1) and np.isfinite(value)
    ]
    if len(completing) > 1:
        found.append(
            (completing[1], f"{len(completing)} actions completed the instruction, but one can at most", False)
        )
    elif completing and completing[0] < last:
        found.append((completing[0], "the instruction is completed before the last action", True))
    if terminated and not completing:
        found.append((last, "it terminated, though nothing completed the instruction: a failure for good", True))
    if not terminated and not truncated:
        found.append((last, "it is neither terminated nor truncated where it ends", True))
    return [Problem(part, text, first_row + index, name, is_note=is_note) for index, text, is_note in found]


def unknown_action(action: Any, info: DatasetInfo) -> str | None:
    """What is wrong with an action that is there and whole, or None."""
    number = len(info.actions.names)
    if info.actions.kind == "discrete":
        return None if 0 <= action < number else f"action {action} is unknown: there are 0 to {number - 1}"
    return None if np.isfinite(np.array(action, dtype=np.float64)).all() else "the action is not finite"


def broken_frame(png: bytes | None, info: DatasetInfo) -> str | None:
    """What is wrong with a frame, or None."""
    if png is None:
        return "the frame is missing"
    if not png.startswith(b"\x89PNG"):
        return "the frame is no PNG file"
    try:
        height, width, _ = decode_png(png).shape
    except ValueError as error:
        return f"the frame {error}"
    if info.frame_px is not None and (height, width) != tuple(info.frame_px):
        return f"the frame is {width} x {height}, but must be {info.frame_px[1]} x {info.frame_px[0]}"
    return None


def _row_problems(rows: pa.Table, info: DatasetInfo) -> Iterator[tuple[int, str]]:
    instructions = rows["instruction"].to_pylist()
    if not instructions[0] or not instructions[0].strip():
        yield 0, "the instruction is missing"
    elif len(set(instructions)) > 1:
        yield next(i for i, one in enumerate(instructions) if one != instructions[0]), "the instruction changes"
    last = rows.num_rows - 1
    for column in ("action", "action_name", "sparse_reward", "terminated", "truncated"):
        values = rows[column].is_valid().to_numpy()
        yield from ((int(index), f"{column} is missing") for index in np.flatnonzero(~values[:-1]))
        if values[-1]:
            yield last, f"{column} must be null in the row after the last action; is that row missing?"
    if info.actions.kind == "continuous":
        size = len(info.actions.names)
        lengths = pc.list_value_length(rows["action"]).to_pylist()
        found = [(index, length) for index, length in enumerate(lengths) if length not in (None, size)]
        yield from ((index, f"the action has {length} entries, but must have {size}") for index, length in found)
    for column in ("terminated", "truncated"):
        ended = [index for index, value in enumerate(rows[column].to_pylist()[:-2]) if value]
        yield from ((index, f"{column} is true before the last action") for index in ended)
    if info.symbolic_shape is not None and "symbolic" in rows.column_names:
        size = int(np.prod(info.symbolic_shape))
        lengths = [None if state is None else len(state) for state in rows["symbolic"].to_pylist()]
        yield from ((i, f"symbolic has {n} bytes, but must have {size}") for i, n in enumerate(lengths) if n != size)


def _frame_problems(rows: pa.Table, info: DatasetInfo) -> Iterator[tuple[int, str, str]]:
    if "frame" in rows.column_names:
        for index, png in enumerate(rows["frame"].to_pylist()):
            text = broken_frame(png, info)
            if text:
                yield index, "frame", text
    else:
        yield 0, "frame", "the column 'frame' is missing"


def _action_problems(rows: pa.Table, info: DatasetInfo) -> Iterator[tuple[int, str, str]]:
    if "action" in rows.column_names:
        for index, action in enumerate(rows["action"].to_pylist()[:-1]):
            # One that is missing, or lacks entries, is a problem of structure, told there.
            if action is not None and (text := unknown_action(action, info)):
                yield index, "action", text


def _number_problems(rows: pa.Table) -> Iterator[tuple[int, str, str]]:
    for column in rows.column_names:
        if column == "sparse_reward" or column.startswith((REWARD, SCORE, AUDIT)):
            for index, value in enumerate(rows[column].to_pylist()):
                if isinstance(value, float) and not np.isfinite(value):
                    yield index, column, f"{column} is {value}, which is no finite number"
