"""Frames that cannot be drawn again, kept as they came: blocks of `frame_codec` by the steps' global indices."""

from bisect import bisect_right
from pathlib import Path

import numpy as np

from algorithms.frame_codec import block_shape, decode
from orchestrator.storage.writing import read_arrays, write_arrays

FILE = "frames.npz"
"""In a checkpoint's folder."""


class FrameArchive:
    """Blocks in the order of their steps. Row 0 of a block is the frame before its first step."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._blocks: list[bytes] = []

    def add(self, first_index: int, block: bytes) -> None:
        """Keep the frames of the steps from `first_index` on."""
        self._firsts.append(first_index)
        self._blocks.append(block)

    def drop_before(self, oldest_index: int) -> None:
        """Forget blocks all of whose steps come before `oldest_index`."""
        while len(self._firsts) > 1 and self._firsts[1] <= oldest_index:
            del self._firsts[0], self._blocks[0]

    def frames(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [N, H, W, 3]: what was seen after these steps. Raises KeyError if one is not kept."""
        places = np.array([bisect_right(self._firsts, index) - 1 for index in indices])
        if not len(indices) or places.min() < 0:
            raise KeyError(f"frames of steps {indices.tolist()[:3]} ... are not kept")
        frames: list[np.ndarray] = [np.empty(0)] * len(indices)
        for place in np.unique(places):
            wanted = np.flatnonzero(places == place)
            rows = np.asarray(indices)[wanted] - self._firsts[place] + 1
            for number, frame in zip(wanted, decode(self._blocks[place], rows), strict=True):
                frames[number] = frame
        return np.stack(frames)

    def save(self, folder: Path) -> None:
        """Write all into a folder."""
        lengths = [len(block) for block in self._blocks]
        joined = np.frombuffer(b"".join(self._blocks), dtype=np.uint8)
        firsts = np.array(self._firsts, dtype=np.int64)
        write_arrays(folder / FILE, {"firsts": firsts, "lengths": np.array(lengths, dtype=np.int64), "bytes": joined})

    def restore(self, folder: Path) -> None:
        """Put back what `save` wrote."""
        stored = read_arrays(folder / FILE)
        ends = np.cumsum(stored["lengths"])
        self._firsts = stored["firsts"].tolist()
        self._blocks = [
            stored["bytes"][end - length : end].tobytes() for end, length in zip(ends, stored["lengths"], strict=True)
        ]
        for block in self._blocks:
            block_shape(block)
