"""How pictures are sized for a Qwen-VL and for an endpoint: once, within bounds, as qwen-vl-utils does it."""

import io
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from actors.rating.backend import Refused
from actors.rating.engine_site.likert_engine_hooks import mend_torchvision
from actors.rating.images import LONGEST_RATIO, fitted_size, prepare_images, sized_png
from algorithms.images import encode_png
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND

mend_torchvision()  # before qwen-vl-utils is imported, which the tests compare with

POCKET = (112 * 112, 112 * 112, 28)
WINDOWS = (252 * 252, 252 * 252, 28)
DEFAULT = (3136, 1_003_520, 28)


def picture(width, height, mode="RGB"):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize("side", [1, 20, 111, 112, 113, 224, 640])
def test_square_pictures_are_brought_to_the_size_that_the_pocket_raters_know(side):
    assert fitted_size(side, side, *POCKET) == (112, 112)
    assert fitted_size(side, side, *WINDOWS) == (252, 252)


@pytest.mark.parametrize(
    ("width", "height", "bounds", "fitted"),
    [
        # Sixteen tokens are 4 x 4, 8 x 2 or 16 x 1; of 1.5 the square is nearer than 4, of 3 the 4 is.
        (300, 200, POCKET, (112, 112)),
        (200, 300, POCKET, (112, 112)),
        (300, 100, POCKET, (224, 56)),
        (100, 3000, POCKET, (28, 448)),
        # A strip of 16 tokens would stretch it by four: it keeps as many tokens in a row as there may be.
        (6400, 100, POCKET, (448, 28)),
        (640, 480, WINDOWS, (252, 252)),
        (2700, 300, DEFAULT, (2688, 308)),
        (1, 1, DEFAULT, (56, 56)),
        # 17 tokens are in one row only, which stretches a square by 17: it holds 16.
        (115, 115, (13_328, 13_328, 28), (112, 112)),
        (10, 10, (13_328, 13_328, 28), (112, 112)),
        # Not one token is allowed.
        (50, 40, (100, 100, 28), (28, 28)),
        # One token by 201 would be as large as wanted, but too long to be looked at.
        (1, 101, (156_801, 157_584, 28), (28, 3976)),
        # Patches of sixteen pixels: Qwen3-VL.
        (300, 200, (65_536, 16_777_216, 32), (320, 224)),
    ],
)
def test_sizes_by_hand(width, height, bounds, fitted):
    assert fitted_size(width, height, *bounds) == fitted


def sized_as_the_library_does(width, height, least, more, token_px):
    from qwen_vl_utils import smart_resize

    assume(max(width, height) < LONGEST_RATIO * min(width, height))
    most = least + more
    fitted = fitted_size(width, height, least, most, token_px)
    assert fitted[0] % token_px == fitted[1] % token_px == 0
    assert math.prod(fitted) <= max(most, token_px**2)
    rows, columns = smart_resize(height, width, token_px, least, most)
    if least <= rows * columns <= most and max(rows, columns) < LONGEST_RATIO * min(rows, columns):
        assert fitted == (columns, rows)
    elif least <= math.prod(fitted) <= most:
        # What was chosen between the bounds keeps its size if it is looked at again.
        assert smart_resize(*fitted, token_px, least, most) == fitted


SIZES = given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 200_000),
    st.integers(0, 100_000),
    st.sampled_from([28, 32]),
)
test_sizes_are_the_librarys_own_where_those_keep_the_bounds = A_HUNDRED(SIZES(sized_as_the_library_does))
test_many_sizes = pytest.mark.slow(TEN_THOUSAND(SIZES(sized_as_the_library_does)))


@pytest.mark.parametrize("size", [(200, 1), (1, 200), (2010, 10), (4000, 20)])
def test_strips_are_refused(size):
    with pytest.raises(Refused, match=r"image 1 of 2 is \d+ x \d+ pixels: one side must be less than 200 times"):
        prepare_images((picture(8, 8), picture(*size)), *POCKET)


def test_what_is_no_picture_for_a_rater_is_refused():
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(file, format="PNG")
    with pytest.raises(Refused, match="image 0 of 1 has 16 bits a channel"):
        prepare_images((file.getvalue(),), *POCKET)
    with pytest.raises(Refused, match="image 0 of 1 is no readable PNG file"):
        sized_png(b"nothing", 1, 10)


def test_square_frames_reach_the_model_as_before():
    """As qwen-vl-utils prepares them, which was asked before, and nothing after it."""
    from qwen_vl_utils import fetch_image

    for side, (least, most, token_px) in [(112, POCKET), (224, POCKET), (300, WINDOWS), (252, WINDOWS), (480, DEFAULT)]:
        png = picture(side, side)
        limits = {"min_pixels": least, "max_pixels": most}
        before = fetch_image({"image": Image.open(io.BytesIO(png)), **limits}, image_patch_size=token_px // 2)
        (now,) = prepare_images((png,), least, most, token_px)
        assert now.tobytes() == before.tobytes() and now.size == before.size


@pytest.mark.parametrize(
    ("size", "bounds", "sized"),
    [
        ((300, 200), (1, 60_000), (300, 200)),
        ((300, 200), (1, 15_000), (150, 100)),
        ((30, 20), (60_000, 70_000), (300, 200)),
        ((100, 100), (12_544, 12_544), (112, 112)),
        ((640, 480), (1, 100_000), (365, 273)),  # 365.1 x 273.9; rounded to the nearest, they are 100,010 pixels
        ((150, 1), (1, 10), (38, 1)),
    ],
)
def test_pictures_for_an_endpoint_keep_their_proportions(size, bounds, sized):
    with Image.open(io.BytesIO(sized_png(picture(*size), *bounds))) as image:
        assert (image.size, image.mode) == (sized, "RGB")


def test_a_file_that_needs_no_change_is_sent_as_it_is():
    plain = picture(30, 20)
    assert sized_png(plain, 1, 600) == plain
    assert sized_png(picture(30, 20, "P"), 1, 600) != picture(30, 20, "P")
    assert sized_png(encode_png(np.zeros((3, 3, 3), np.uint8)), 9, 9) == encode_png(np.zeros((3, 3, 3), np.uint8))
