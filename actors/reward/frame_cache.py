"""Frames kept for relabelling: those of the latest agent steps, as many as the memory allows."""

from collections.abc import Iterator

import numpy as np


class FrameCache:
    """Blocks of frames of consecutive agent steps. The oldest steps go first once `max_bytes` are exceeded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: dict[int, np.ndarray] = {}
        self.nbytes = 0
        """Memory taken."""

    def add(self, first_index: int, frames: np.ndarray) -> None:
        """Keep frames uint8 [T, px, px, 3] of the steps from `first_index` on; a block with the same first is replaced.

        Steps that are in no other block, or the relabelled would name them twice.
        """
        self._drop(first_index)
        # Copied: what Ray hands over lives in shared memory that others need.
        self._blocks[first_index] = frames.copy()
        self.nbytes += frames.nbytes
        while self.nbytes > self._max_bytes:
            self._drop(min(self._blocks))

    def drop_before(self, index: int) -> None:
        """Forget the blocks that end before step `index`."""
        for first_index, frames in list(self._blocks.items()):
            if first_index + len(frames) <= index:
                self._drop(first_index)

    def groups(self, num_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Indices int64 [N] and frames uint8 [N, px, px, 3] in order of steps; N is `num_frames` or a block more."""
        indices: list[np.ndarray] = []
        frames: list[np.ndarray] = []
        for first_index, block in sorted(self._blocks.items()):
            indices.append(np.arange(first_index, first_index + len(block)))
            frames.append(block)
            if sum(map(len, frames)) >= num_frames:
                yield np.concatenate(indices), np.concatenate(frames)
                indices, frames = [], []
        if frames:
            yield np.concatenate(indices), np.concatenate(frames)

    def _drop(self, first_index: int) -> None:
        block = self._blocks.pop(first_index, None)
        self.nbytes -= 0 if block is None else block.nbytes
