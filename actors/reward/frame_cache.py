"""Frames kept for relabelling: those of the latest agent steps, as many as the memory allows."""

from collections import OrderedDict

import numpy as np


class FrameCache:
    """Blocks of consecutive frames, oldest out first once `max_bytes` are exceeded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: OrderedDict[int, np.ndarray] = OrderedDict()
        self._nbytes = 0

    def add(self, first_index: int, frames: np.ndarray) -> None:
        """Keep frames uint8 [T, px, px, 3] of the agent steps `first_index` onwards; equal first steps replace."""
        old = self._blocks.pop(first_index, None)
        self._nbytes += frames.nbytes - (0 if old is None else old.nbytes)
        # Copied: what Ray hands over lives in shared memory that others need.
        self._blocks[first_index] = frames.copy()
        while self._nbytes > self._max_bytes and self._blocks:
            _, block = self._blocks.popitem(last=False)
            self._nbytes -= block.nbytes

    def drop_before(self, index: int) -> None:
        """Forget blocks that end before agent step `index`: the replay no longer holds them."""
        for first_index, frames in list(self._blocks.items()):
            if first_index + len(frames) <= index:
                del self._blocks[first_index]
                self._nbytes -= frames.nbytes

    def blocks(self) -> list[tuple[int, np.ndarray]]:
        """First agent step and frames of each block, by step."""
        return sorted(self._blocks.items())

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return self._nbytes
