"""Windows of a data set as a stream: read, cut and drawn by Ray Data, a bounded number of them at a time."""

import logging
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from algorithms.label_settings import WindowSettings
from algorithms.scores import ScoreRequest, ScoringMode
from algorithms.windows import Window, score_request, windows_of
from orchestrator.data.check import PartError, Problem, structure_problems, value_problems
from orchestrator.data.datasets import TrajectoryDataset

WINDOWS_PER_BATCH = 16
"""Windows that travel together."""
ROWS_AHEAD = 64
"""Rows that wait in this process at most."""
LOOK_S = 0.05
"""Whoever takes rows hears after so long that none is there yet."""
BLOCK_BYTES = 4 * 2**20
"""Ray Data hands on what a reader has made once it takes so many bytes, and lets it rest while much is waiting."""

ROW = pa.schema(
    [
        pa.field("kind", pa.string()),
        pa.field("part", pa.string()),
        pa.field("row", pa.int64()),
        pa.field("episode_id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("picture", pa.binary()),
        pa.field("actions", pa.list_(pa.string())),
        pa.field("frame_note", pa.string()),
        pa.field("first_action", pa.int32()),
        pa.field("kept_places", pa.list_(pa.int32())),
        pa.field("kept_rows", pa.list_(pa.int64())),
        pa.field("is_note", pa.bool_()),
    ]
)
"""`kind` is `window`, where `text` is the instruction, `kept_rows` the rows of the part that get the scores at
`kept_places`; `problem`, where `text` says what is wrong with a row; or `end`, after a part's last."""

Row = dict[str, Any]
_END = object()


def window_rows(folder: Path, part: str, settings: WindowSettings) -> Iterator[Row]:
    """All windows of a part, and what keeps others from being asked about, in order."""
    dataset = TrajectoryDataset(folder)
    try:
        for first_row, rows in dataset.episode_rows(part, symbolic=False):
            yield from _episode_windows(dataset, part, first_row, rows, settings)
    except PartError as error:
        yield _problem_row(Problem(part, str(error)))
    yield {"kind": "end", "part": part}


def request_of(row: Row, mode: ScoringMode) -> ScoreRequest:
    """The question in a row of kind `window`."""
    return ScoreRequest((row["picture"],), row["text"], tuple(row["actions"]), mode, row["frame_note"])


def problem_of(row: Row) -> Problem:
    """The problem in a row of kind `problem`."""
    return Problem(row["part"], row["text"], row["row"], row["episode_id"], bool(row["is_note"]))


def stream_windows(
    folder: Path, parts: Sequence[str], settings: WindowSettings, num_readers: int
) -> Iterator[Row | None]:
    """Rows of `window_rows` for all `parts`, part after part, made by Ray Data beside whoever takes them.

    None while the next is not there yet. Ray must be connected.
    """
    return without_waiting(_ray_rows(folder, parts, settings, num_readers))


def without_waiting(rows: Iterable[Row]) -> Iterator[Row | None]:
    """`rows`, read by a thread of their own, a few ahead; None whenever the next is not there yet."""
    ahead: queue.Queue[Any] = queue.Queue(maxsize=ROWS_AHEAD)
    given_up = threading.Event()

    def put(item: Any) -> None:
        while not given_up.is_set():
            try:
                ahead.put(item, timeout=LOOK_S)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for row in rows:
                put(row)
                if given_up.is_set():
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - raised again where the rows are taken
            put(error)

    threading.Thread(target=read, name="windows", daemon=True).start()
    try:
        while True:
            try:
                item = ahead.get(timeout=LOOK_S)
            except queue.Empty:
                yield None
                continue
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        given_up.set()


def _ray_rows(folder: Path, parts: Sequence[str], settings: WindowSettings, num_readers: int) -> Iterator[Row]:
    import ray.data

    # It announces every plan, and each process that has to wait for a processor.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = BLOCK_BYTES
    context.enable_progress_bars = False
    context.execution_options.verbose_progress = False
    # A part's column is written once all its windows are answered, so parts should come one after the other.
    context.execution_options.preserve_order = True
    names = ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts))
    read = partial(_read_batch, folder=folder, settings=settings)
    readers = ray.data.TaskPoolStrategy(size=num_readers)
    rows = names.map_batches(read, batch_size=1, num_cpus=1, compute=readers)
    for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        yield from batch.to_pylist()


def _read_batch(batch: Row, folder: Path, settings: WindowSettings) -> Iterator[pa.Table]:
    for part in batch["part"]:
        waiting: list[Row] = []
        for row in window_rows(folder, str(part), settings):
            waiting.append(row)
            if len(waiting) >= WINDOWS_PER_BATCH:
                yield pa.Table.from_pylist(waiting, schema=ROW)
                waiting = []
        yield pa.Table.from_pylist(waiting, schema=ROW)


def _episode_windows(
    dataset: TrajectoryDataset, part: str, first_row: int, rows: pa.Table, settings: WindowSettings
) -> Iterator[Row]:
    structure = structure_problems(part, first_row, rows, dataset.info)
    values = [] if structure else value_problems(part, first_row, rows, dataset.info)
    for problem in (*structure, *values):
        yield _problem_row(problem)
    if structure or "frame" not in rows.column_names:
        return
    bad_frames = {problem.row - first_row for problem in values if problem.column == "frame"}
    bad_actions = {problem.row - first_row for problem in values if problem.column == "action"}
    frames, names = rows["frame"].to_pylist(), rows["action_name"].to_pylist()
    for window in windows_of(rows.num_rows - 1, settings):
        # A picture or an action that is broken spoils the windows that show it, and no others.
        if bad_frames.isdisjoint(window.frames) and bad_actions.isdisjoint(window.actions):
            yield _window_row(part, first_row, rows, window, frames, names, settings)


def _window_row(
    part: str,
    first_row: int,
    rows: pa.Table,
    window: Window,
    frames: Sequence[bytes],
    names: Sequence[str],
    settings: WindowSettings,
) -> Row:
    # The mode does not change what is shown, so it is left to whoever asks.
    request = score_request(window, frames, names, rows["instruction"][0].as_py(), "two_turn", settings)
    return {
        "kind": "window",
        "part": part,
        "row": first_row,
        "episode_id": rows["episode_id"][0].as_py(),
        "text": request.instruction,
        "picture": request.images[0],
        "actions": list(request.actions),
        "frame_note": request.frame_note,
        "first_action": window.actions[0],
        "kept_places": [place for place, _ in window.kept],
        "kept_rows": [first_row + t for _, t in window.kept],
    }


def _problem_row(problem: Problem) -> Row:
    return {
        "kind": "problem",
        "part": problem.part,
        "row": problem.row,
        "episode_id": problem.episode_id,
        "text": problem.text,
        "is_note": problem.is_note,
    }
