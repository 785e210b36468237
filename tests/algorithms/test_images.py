"""Pictures: lossless files, and averages worked by hand."""

import numpy as np
import pytest

from algorithms.images import decode_png, encode_png, join_frames, reduce_image


def grey(rows):
    """A picture uint8 [1, H, W, 3] of grey values."""
    return np.repeat(np.array(rows, dtype=np.uint8)[None, :, :, None], 3, axis=3)


def test_png_loses_nothing():
    frame = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(frame)), frame)


def test_png_of_a_flipped_view():
    frame = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(frame[::-1, ::-1])), frame[::-1, ::-1])


def test_equal_pictures_give_equal_bytes():
    frame = np.full((8, 8, 3), 77, dtype=np.uint8)
    assert encode_png(frame) == encode_png(frame.copy())


def test_reduce_averages_blocks_and_rounds_halves_up():
    image = grey([[0, 2, 10, 10], [4, 6, 10, 10], [0, 0, 255, 255], [1, 1, 255, 255]])
    # Means 3, 10, 0.5 and 255.
    np.testing.assert_array_equal(reduce_image(image, 2), grey([[3, 10], [1, 255]]))


def test_reduce_shares_pixels_that_lie_on_an_edge():
    image = grey([[90, 0, 30], [0, 90, 0], [30, 0, 90]])
    # Each target covers 1.5 x 1.5 source pixels: (90 + 0.5 * (0 + 0) + 0.25 * 90) / 2.25 = 50 on the diagonal,
    # (30 + 0.25 * 90) / 2.25 = 23.3 off it.
    np.testing.assert_array_equal(reduce_image(image, 2), grey([[50, 23], [23, 50]]))


def test_reduce_keeps_channels_apart_and_constant_pictures_constant():
    image = np.broadcast_to(np.array([10, 200, 255], dtype=np.uint8), (2, 224, 224, 3))
    np.testing.assert_array_equal(reduce_image(image, 56), np.broadcast_to([10, 200, 255], (2, 56, 56, 3)))


def test_reduce_of_no_picture_and_to_the_same_size():
    assert reduce_image(np.empty((0, 8, 8, 3), dtype=np.uint8), 4).shape == (0, 4, 4, 3)
    image = grey([[1, 2], [3, 4]])
    np.testing.assert_array_equal(reduce_image(image, 2), image)


@pytest.mark.parametrize("shape", [(1, 8, 6, 3), (1, 3, 3, 3)])
def test_reduce_refuses_what_it_cannot_average(shape):
    with pytest.raises(ValueError, match="cannot reduce pictures of"):
        reduce_image(np.zeros(shape, dtype=np.uint8), 4)


def test_joined_picture_keeps_frames_under_different_numbers():
    frames = [np.full((40, 30, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    picture = join_frames(frames)
    assert picture.shape == (56, 98, 3)
    for index, frame in enumerate(frames):
        left = index * 34
        np.testing.assert_array_equal(picture[16:, left : left + 30], frame)
    numbers = [picture[:16, index * 34 : index * 34 + 30] for index in range(3)]
    assert all(number.min() < 100 for number in numbers)
    assert not np.array_equal(numbers[0], numbers[1])
    assert not np.array_equal(numbers[1], numbers[2])
