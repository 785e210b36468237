"""Frames kept for relabelling: those of the latest agent steps, as many as the memory allows."""

from collections.abc import Iterator

import numpy as np


class FrameCache:
    """Blocks of frames of consecutive agent steps. The oldest steps go first once `max_bytes` are exceeded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._blocks: dict[int, np.ndarray] = {}
        self._words: dict[int, np.ndarray] = {}
        """Of blocks whose steps have instructions of their own."""
        self.nbytes = 0
        """Memory taken."""

    def add(self, first_index: int, frames: np.ndarray, words: np.ndarray | None = None) -> None:
        """Keep frames uint8 [T, px, px, 3] of the steps from `first_index` on; a block with the same first is replaced.

        `words` int32 [T, words] are those of the instructions, of all blocks or of none. Steps that are in no other
        block, or the relabelled would name them twice.
        """
        self._drop(first_index)
        # Copied: what Ray hands over lives in shared memory that others need.
        self._blocks[first_index] = frames.copy()
        if words is not None:
            self._words[first_index] = words
        self.nbytes += frames.nbytes
        while self.nbytes > self._max_bytes:
            self._drop(min(self._blocks))

    def drop_before(self, index: int) -> None:
        """Forget the blocks that end before step `index`."""
        for first_index, frames in list(self._blocks.items()):
            if first_index + len(frames) <= index:
                self._drop(first_index)

    def groups(self, num_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """Indices int64 [N], frames uint8 [N, px, px, 3] and words int32 [N, words], if there are any, in order of
        steps; N is `num_frames` or a block more."""
        group: list[int] = []
        for first_index in sorted(self._blocks):
            group.append(first_index)
            if sum(len(self._blocks[first]) for first in group) >= num_frames:
                yield self._joined(group)
                group = []
        if group:
            yield self._joined(group)

    def _joined(self, group: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        frames = [self._blocks[first] for first in group]
        indices = [np.arange(first, first + len(block)) for first, block in zip(group, frames, strict=True)]
        words = np.concatenate([self._words[first] for first in group]) if self._words else None
        return np.concatenate(indices), np.concatenate(frames), words

    def _drop(self, first_index: int) -> None:
        block = self._blocks.pop(first_index, None)
        self._words.pop(first_index, None)
        self.nbytes -= 0 if block is None else block.nbytes
