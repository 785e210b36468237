"""In which batches a network scores, so that an input's score does not depend on what it is scored with.

The last bits of a product depend on its shape: on which routine a library takes for so many rows. If they came into a
score, a resumed run would drift from one that was never stopped. So batches have a few sizes only, and smaller ones
than the largest only where every row of them was seen to come out the same to the last bit.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

LARGEST = 64
"""Inputs that are scored together. More are no faster: what they become no longer fits a processor's cache."""
SMALLER = (16, 32)
"""For what is left. Below that the calls take longer than what they compute."""
PROBES = 128
"""Inputs on which sizes are compared: two of the largest batches, so that each place of a small one occurs often."""


def agreeing_sizes(outputs: Callable[[np.ndarray], torch.Tensor], like: np.ndarray) -> tuple[int, ...]:
    """Sizes of batches, in order, that bring each row the same bits here and now; `LARGEST` is always among them.

    Args:
        outputs: Of a batch of inputs, float [..., N].
        like: Inputs [N, ...] of the shape and type that will come, N >= 0. Random ones are tried: bytes of any value,
            or floats of a normal distribution.
    """
    rng, shape = np.random.default_rng(0), (PROBES, *like.shape[1:])
    bytes_only = like.dtype == np.uint8
    probes = rng.integers(0, 256, shape, dtype=np.uint8) if bytes_only else rng.normal(size=shape).astype(like.dtype)

    def in_batches_of(size: int) -> torch.Tensor:
        return torch.cat([outputs(probes[start : start + size]) for start in range(0, PROBES, size)], dim=-1)

    expected = in_batches_of(LARGEST)
    return (*(size for size in SMALLER if torch.equal(in_batches_of(size), expected)), LARGEST)


def cut(count: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """(start, size) of the batches that `count` inputs are scored in, of which the last may not be full; one at least.

    As many of the largest as there are, and for what is left the smallest that holds it.
    """
    start = 0
    while True:
        left = count - start
        size = next((size for size in sizes if size >= left), sizes[-1])
        yield start, size
        start += size
        if start >= count:
            return
