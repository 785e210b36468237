"""In which batches a network scores."""

import numpy as np
import pytest
import torch

from algorithms.score_batches import LARGEST, agreeing_sizes, cut


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, [(0, 16)]),
        (1, [(0, 16)]),
        (16, [(0, 16)]),
        (17, [(0, 32)]),
        (33, [(0, 64)]),
        (64, [(0, 64)]),
        (65, [(0, 64), (64, 16)]),
        (200, [(0, 64), (64, 64), (128, 64), (192, 16)]),
    ],
)
def test_what_is_left_goes_into_the_smallest_batch_that_holds_it(count, expected):
    assert list(cut(count, (16, 32, 64))) == expected


def test_with_one_size_all_batches_have_it():
    assert list(cut(65, (64,))) == [(0, 64), (64, 64)]
    assert list(cut(0, (64,))) == [(0, 64)]


@pytest.mark.parametrize("like", [np.zeros((0, 5), dtype=np.float32), np.zeros((3, 4, 4, 3), dtype=np.uint8)])
def test_a_size_that_moves_one_bit_of_one_row_is_not_used(like):
    def outputs(batch):
        rows = torch.from_numpy(batch).flatten(1).float().mean(dim=1)
        if len(batch) == 32:
            rows[31] = torch.nextafter(rows[31], torch.tensor(1e9))
        return torch.stack([rows, 2 * rows])

    assert agreeing_sizes(outputs, like) == (16, LARGEST)


def test_sizes_that_agree_are_all_used():
    sizes = agreeing_sizes(lambda batch: torch.from_numpy(batch)[None, :, 0], np.zeros((1, 2), dtype=np.float32))
    assert sizes == (16, 32, LARGEST)
