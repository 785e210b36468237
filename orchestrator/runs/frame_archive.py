"""Frames that cannot be drawn again, by the global index of the step that they were seen after.

The newest blocks stay in memory, all others lie in files of the run's folder. A file is written once: a checkpoint
adds one with what was in memory alone, and names no more than the steps that it needs. A file goes when no checkpoint
that is kept needs a step in it.
"""

import json
import logging
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.frame_codec import block_shape, decode
from orchestrator.errors import LikertError
from orchestrator.runs.frame_parts import StoredBlock, first_step, parts, read_part, write_part
from orchestrator.runs.layout import STEP_FRAMES_FILE
from orchestrator.storage.writing import write_json

log = logging.getLogger(__name__)


class FramesDamaged(LikertError, RuntimeError):
    """A file of frames was damaged while the run went on. It can be resumed, without these frames."""


class FrameArchive:
    """Blocks of frames of consecutive steps, in the order of their steps. One process owns the folder."""

    def __init__(self, folder: Path, memory_bytes: int, disk_bytes: int, checkpoints_kept: int) -> None:
        """Nothing is read or changed before `add` or `restore`.

        Args:
            folder: For the files of this archive alone; it need not be there.
            memory_bytes: How much of the newest is held in memory.
            disk_bytes: What all that is held may take. Beyond it the oldest blocks go, and `oldest` rises. Files that
                only older checkpoints need come on top.
            checkpoints_kept: How many of the latest checkpoints must be restorable at any time.
        """
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._checkpoints_kept = checkpoints_kept
        self._needed: list[int] = []
        """The oldest step that each of the latest checkpoints needs, the oldest checkpoint first."""
        self._oldest = 0
        self._owns_files = False
        self._hold_nothing()

    def _hold_nothing(self) -> None:
        self._firsts: list[int] = []
        """Global index of each block's first step; rising."""
        self._stops: list[int] = []
        self._lengths: list[int] = []
        self.nbytes = 0
        """What all blocks that are held take, wherever they lie."""
        self._stored: dict[int, StoredBlock] = {}
        """Blocks that lie in files, by first step."""
        self._recent: dict[int, bytes] = {}
        """Blocks in memory that lie in files too."""
        self._unwritten: dict[int, bytes] = {}
        """Blocks that no file has yet."""
        self._unwritten_bytes = 0

    @property
    def oldest(self) -> int:
        """Global index before which there are no frames: they were dropped, or there was no room for them."""
        return self._oldest

    @property
    def memory_bytes(self) -> int:
        """What is held in memory."""
        return _size(self._recent) + self._unwritten_bytes

    def add(self, first_index: int, block: bytes) -> None:
        """Keep the frames of the steps from `first_index` on, which come after all steps that are held.

        Row 0 of the block is what was seen before the first step. Raises ValueError if it is no block of a step or
        more, or if the steps come earlier.
        """
        num_steps = block_shape(block)[0] - 1
        following = self._stops[-1] if self._stops else self._oldest
        if num_steps < 1 or first_index < following:
            raise ValueError(f"frames of {num_steps} steps from {first_index} on; the next step to come is {following}")
        if not self._owns_files:
            self._delete_from(0)
        self._firsts.append(first_index)
        self._stops.append(first_index + num_steps)
        self._lengths.append(len(block))
        self.nbytes += len(block)
        self._unwritten[first_index] = block
        self._unwritten_bytes += len(block)
        if 2 * self._unwritten_bytes > self._memory_bytes:
            self._write()
        excess = 0
        while self.nbytes - sum(self._lengths[:excess]) > self._disk_bytes and excess + 1 < len(self._firsts):
            excess += 1
        if excess:
            self.drop_before(self._stops[excess - 1])

    def drop_before(self, index: int) -> None:
        """Forget the frames of steps before `index`. Their files stay as long as a checkpoint needs them."""
        self._oldest = max(self._oldest, index)
        gone = bisect_right(self._stops, index)
        for first in self._firsts[:gone]:
            self._stored.pop(first, None)
            self._recent.pop(first, None)
            self._unwritten_bytes -= len(self._unwritten.pop(first, b""))
        self.nbytes -= sum(self._lengths[:gone])
        del self._firsts[:gone], self._stops[:gone], self._lengths[:gone]

    def has(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """bool [N]: whether the frames of these steps are here."""
        steps = np.asarray(indices, dtype=np.int64)
        stops = np.array([0, *self._stops])[self._places(steps) + 1]
        return (steps >= self._oldest) & (steps < stops)

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3]: what was seen after these steps, one at least, in their order.

        Raises KeyError if one is not here, FramesDamaged if a file is no longer what was written.
        """
        steps = np.asarray(indices, dtype=np.int64)
        missing = steps[~self.has(steps)]
        if len(missing) or not len(steps):
            raise KeyError(f"the frames of {len(missing)} steps are not here: {missing[:3].tolist()} ...")
        places = self._places(steps)
        frames: list[Any] = [None] * len(steps)
        for place in np.unique(places):
            wanted = np.flatnonzero(places == place)
            first = self._firsts[place]
            for number, frame in zip(wanted, self._decoded(first, steps[wanted] - first + 1), strict=True):
                frames[number] = frame
        return np.stack(frames)

    def save(self, checkpoint: Path) -> None:
        """Write what no file has yet, and note in the folder of a checkpoint that is being written what it needs."""
        self._write()
        # Those that were there before this one are still restorable until it is published.
        self._needed = [*self._needed, self._oldest][-self._checkpoints_kept - 1 :]
        files = parts(self._folder)
        for path, following in pairwise(files):
            if first_step(following) <= self._needed[0]:
                path.unlink()
        next_index = self._stops[-1] if self._stops else self._oldest
        write_json(checkpoint / STEP_FRAMES_FILE, {"oldest": self._oldest, "next": next_index, "needed": self._needed})

    def restore(self, checkpoint: Path) -> None:
        """Hold again what was held when this checkpoint was saved; files of later steps are deleted.

        Frames that are damaged or missing are told in warnings, and `has` says which are there.
        """
        state = json.loads((checkpoint / STEP_FRAMES_FILE).read_text())
        oldest, following, needed = int(state["oldest"]), int(state["next"]), [int(step) for step in state["needed"]]
        self._hold_nothing()
        self._oldest, self._needed = oldest, needed
        self._delete_from(following)
        found = [block for path in parts(self._folder) for block in read_part(path)]
        held = [block for block in found if block.first + block.num_steps > oldest]
        self._firsts = [block.first for block in held]
        self._stops = [block.first + block.num_steps for block in held]
        self._lengths = [block.length for block in held]
        self.nbytes = sum(self._lengths)
        self._stored = {block.first: block for block in held}
        missing = following - oldest - int(self.has(np.arange(oldest, following)).sum())
        if missing:
            log.warning(
                "%s has lost the frames of %d of %d steps; the run goes on without them", self._folder, missing,
                following - oldest,
            )  # fmt: skip

    def _write(self) -> None:
        if not self._unwritten:
            return
        for block in write_part(self._folder, list(self._unwritten.items())):
            self._stored[block.first] = block
        self._recent |= self._unwritten
        self._unwritten, self._unwritten_bytes = {}, 0
        room = self._memory_bytes // 2
        size = _size(self._recent)
        for first in list(self._recent):
            if size <= room:
                break
            size -= len(self._recent.pop(first))

    def _decoded(self, first: int, rows: np.ndarray) -> np.ndarray:
        block = self._unwritten.get(first) or self._recent.get(first)
        if block is not None:
            return decode(block, rows)
        stored = self._stored[first]
        try:
            return decode(stored.read(), rows)
        except (OSError, ValueError) as error:
            raise FramesDamaged(
                f"{stored.path}, which this run wrote, cannot be read any more ({error}). Give the same command again: "
                "the run goes on from its newest checkpoint, without the frames that are lost"
            ) from None

    def _places(self, steps: np.ndarray) -> np.ndarray:
        """Place of the block that would hold each step; -1 before all."""
        return np.searchsorted(np.array(self._firsts, dtype=np.int64), steps, side="right") - 1

    def _delete_from(self, index: int) -> None:
        """Delete the files of steps from `index` on: of a run that was killed after its checkpoint, or began anew."""
        self._owns_files = True
        for path in parts(self._folder):
            if first_step(path) >= index:
                path.unlink()


def _size(blocks: dict[int, bytes]) -> int:
    return sum(map(len, blocks.values()))
