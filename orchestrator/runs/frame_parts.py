"""Files of frames in a run's folder: blocks of `frame_codec` by the step that they begin with. Written once each."""

import json
import logging
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from algorithms.frame_codec import block_shape
from orchestrator.runs.layout import STEP_FRAMES_FILE
from orchestrator.storage.locations import RemotePath
from orchestrator.storage.writing import write_atomic

log = logging.getLogger(__name__)

_PREFIX, _SUFFIX = "from-", ".frames"
_HEADER = struct.Struct("<4sII")
"""Magic, number of blocks, and a check sum of their table."""
_MAGIC = b"LkFP"
_ROW = np.dtype([("first", "<i8"), ("length", "<i8")])
"""Of the table: the global index of a block's first step, and the block's bytes."""


@dataclass(frozen=True)
class StoredBlock:
    """Where a block lies."""

    first: int
    """Global index of its first step."""
    num_steps: int
    """Its frames are one more: row 0 is what was seen before the first step."""
    path: Path
    offset: int
    length: int
    """Bytes."""

    def read(self) -> bytes:
        """The block, as it lies there. Raises FileNotFoundError; what is damaged, its decoder finds."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


def write_part(folder: Path, blocks: Sequence[tuple[int, bytes]]) -> list[StoredBlock]:
    """Write blocks, each with the global index of its first step, into a new file, which is then there for good."""
    path = folder / f"{_PREFIX}{blocks[0][0]:012d}{_SUFFIX}"
    table = np.array([(first, len(block)) for first, block in blocks], dtype=_ROW)
    header = _HEADER.pack(_MAGIC, len(table), zlib.crc32(table.tobytes()))

    def write(file: BinaryIO) -> None:
        file.writelines([header, table.tobytes(), *(block for _, block in blocks)])

    write_atomic(path, write)
    return _located(path, table, [block_shape(block)[0] - 1 for _, block in blocks])


def read_part(path: Path) -> list[StoredBlock]:
    """The blocks of a file, all of which are looked through. What is damaged is left out, and told in one warning."""
    try:
        content = path.read_bytes()
        table = _table(content)
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s); the frames in it are lost", path, error)
        return []
    counts: list[int | None] = []
    end = _HEADER.size + table.nbytes
    for length in table["length"]:
        try:
            counts.append(block_shape(content[end : end + length])[0] - 1)
        except ValueError:
            counts.append(None)
        end += int(length)
    if None in counts:
        log.warning(
            "%s: %d of %d blocks of frames are damaged, and their frames lost", path, counts.count(None), len(counts)
        )
    return _located(path, table, counts)


def parts(folder: Path | RemotePath) -> list[Any]:
    """The files in a folder, in the order of their steps."""
    return sorted(folder.glob(f"{_PREFIX}{'[0-9]' * 12}{_SUFFIX}"), key=lambda path: path.name)


def take_over_parts(source: Path | RemotePath, target: Path, checkpoint: Path) -> None:
    """Put the files that another run's `checkpoint` needs into the place of this run's own, if it needs any.

    Raises FileNotFoundError if the other run has dropped one meanwhile.
    """
    if not (checkpoint / STEP_FRAMES_FILE).exists():
        return
    following = json.loads((checkpoint / STEP_FRAMES_FILE).read_text())["next"]
    for path in parts(target):
        path.unlink()
    target.mkdir(parents=True, exist_ok=True)
    for path in parts(source):
        if first_step(path) < following:
            write_atomic(target / path.name, path.read_bytes())


def first_step(path: Path | RemotePath) -> int:
    """Global index of the first step in a file, by its name."""
    return int(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX))


def _table(content: bytes) -> np.ndarray:
    if len(content) < _HEADER.size or content[: len(_MAGIC)] != _MAGIC:
        raise ValueError("it is no file of frames")
    _, num_blocks, check_sum = _HEADER.unpack_from(content)
    table = content[_HEADER.size : _HEADER.size + num_blocks * _ROW.itemsize]
    if zlib.crc32(table) != check_sum:
        raise ValueError("its table is damaged")
    return np.frombuffer(table, dtype=_ROW)


def _located(path: Path, table: np.ndarray, counts: Sequence[int | None]) -> list[StoredBlock]:
    ends = _HEADER.size + table.nbytes + np.cumsum(table["length"])
    return [
        StoredBlock(int(row["first"]), count, path, int(end - row["length"]), int(row["length"]))
        for row, end, count in zip(table, ends, counts, strict=True)
        if count is not None
    ]
