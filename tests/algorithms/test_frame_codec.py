"""Blocks of frames: nothing is lost, single rows are found, and damage is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.frame_codec import block_shape, decode, encode
from tests.fakes.fuzz import A_HUNDRED


def noise(num_frames=5, height=7, width=9):
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def moving_square(num_frames=20, px=32):
    """A square on a still and uneven ground, as most worlds look."""
    frames = np.repeat(noise(1, px, px), num_frames, axis=0)
    for step, frame in enumerate(frames):
        frame[4:10, step : step + 6] = (255, 0, 0)
    return frames


@given(
    st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(1, 5)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 256]),
)
@A_HUNDRED
def test_nothing_is_lost(shape, seed, colours):
    frames = np.random.default_rng(seed).integers(0, colours, (*shape, 3)).astype(np.uint8)
    block = encode(frames)
    np.testing.assert_array_equal(decode(block), frames)
    assert block_shape(block) == shape


@pytest.mark.parametrize("frames", [noise(), moving_square()], ids=["noise", "moving"])
def test_single_rows_in_any_order(frames):
    block = encode(frames)
    for rows in ([], [0], [3, 1, 1, 4], np.array([len(frames) - 1])):
        np.testing.assert_array_equal(decode(block, rows), frames[rows if len(rows) else slice(0)])


def test_both_forms_are_used_where_they_are_shorter():
    # Differences of a still picture are zero; those of two colours that come and go are three.
    still = np.repeat(noise(1, 64, 64), 40, axis=0)
    assert len(encode(still)) < 1.1 * still[0].nbytes
    two_colours = np.random.default_rng(0).integers(0, 2, (10, 64, 64, 1)).astype(np.uint8).repeat(3, axis=3) * 200
    forms = {encode(still)[4], encode(two_colours)[4]}
    assert forms == {0, 1}


def test_a_flipped_view_and_a_picture_of_one_colour():
    frames = noise()[:, ::-1]
    np.testing.assert_array_equal(decode(encode(frames)), frames)
    black = np.zeros((50, 64, 64, 3), dtype=np.uint8)
    assert len(encode(black)) < 200
    np.testing.assert_array_equal(decode(encode(black)), black)


def test_equal_frames_give_equal_bytes():
    assert encode(moving_square()) == encode(moving_square())


@pytest.mark.parametrize(
    "frames", [noise().astype(np.float32), noise()[..., :1], noise()[0]], ids=["float", "grey", "one frame"]
)
def test_other_arrays_are_refused(frames):
    with pytest.raises(ValueError, match=r"frames must be uint8 \[N, H, W, 3\], not"):
        encode(frames)


def test_rows_that_are_not_there():
    for rows in ([5], [-1]):
        with pytest.raises(IndexError, match="the block has 5"):
            decode(encode(noise()), rows)


@given(st.data())
@A_HUNDRED
def test_damage_is_told_wherever_it_is(data):
    block = bytearray(encode(moving_square(4, 16)))
    where = data.draw(st.integers(0, len(block) - 1))
    block[where] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=r"is (no|a damaged) block of frames"):
        decode(bytes(block))


def test_a_block_that_was_cut_off_or_is_something_else():
    block = encode(moving_square(4, 16))
    for part in (b"", block[:3], block[:10], block[:-1], block + b"\0", b"\x89PNG" + block[4:]):
        with pytest.raises(ValueError, match=r"is (no|a damaged) block of frames"):
            decode(part)
