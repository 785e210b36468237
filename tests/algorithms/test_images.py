"""Pictures: lossless files, and averages worked by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from algorithms.images import decode_png, encode_png, join_frames, reduce_image
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND


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


# ------------------------------------------------------------------------------------------------ kinds of PNG files

RED = np.array([[[255, 0, 0], [0, 0, 0]]], dtype=np.uint8)


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def palette(*colours):
    """One pixel of each colour."""
    image = Image.new("P", (len(colours), 1))
    image.putpalette([value for colour in colours for value in colour])
    image.putdata(range(len(colours)))
    return image


def pixels(png):
    return decode_png(png)[0].tolist()


def test_kinds_of_colour_become_the_colours_that_they_mean():
    assert pixels(saved(Image.fromarray(np.array([[0, 255, 77]], dtype=np.uint8)))) == [[0] * 3, [255] * 3, [77] * 3]
    assert pixels(saved(Image.fromarray(np.array([[True, False]])))) == [[255] * 3, [0] * 3]
    assert pixels(saved(palette((1, 2, 3), (250, 0, 9)))) == [[1, 2, 3], [250, 0, 9]]
    # Two bits a pixel: the levels 0 to 3 are a third of the range apart.
    assert pixels(saved(palette((0, 0, 0), (9, 9, 9), (7, 7, 7), (5, 5, 5)), bits=2))[3] == [5, 5, 5]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_on_white(mode):
    grey = Image.new(mode, (3, 1), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    grey.putpixel((1, 0), (0, 0, 0, 255) if mode == "RGBA" else (0, 255))
    grey.putpixel((2, 0), (0, 0, 0, 51) if mode == "RGBA" else (0, 51))
    # A fifth of black on white is 204.
    assert pixels(saved(grey)) == [[255] * 3, [0] * 3, [204] * 3]


def test_colours_that_are_declared_transparent_lie_on_white():
    assert pixels(saved(palette((1, 2, 3), (250, 0, 9)), transparency=0)) == [[255] * 3, [250, 0, 9]]
    assert pixels(saved(palette((1, 2, 3), (0, 0, 0)), transparency=bytes([255, 51]))) == [[1, 2, 3], [204] * 3]
    assert pixels(saved(Image.fromarray(RED), transparency=(0, 0, 0))) == [[255, 0, 0], [255] * 3]
    assert pixels(saved(Image.fromarray(RED[:, :, 0]), transparency=0)) == [[255] * 3, [255] * 3]
    assert pixels(saved(Image.fromarray(RED[:, :, 0] > 0), transparency=0)) == [[255] * 3, [255] * 3]


def of_chunks(chunks):
    body = [struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def chunks_of(png):
    place = 8
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += length + 12


def deep(channels):
    """A PNG file of one pixel with 16 bits a channel; Pillow writes only the grey ones."""
    header = struct.pack(">IIBBBBB", 1, 1, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return of_chunks([(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + b"\x0f\xa0" * channels)), (b"IEND", b"")])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_a_channel_are_refused(channels):
    with pytest.raises(ValueError, match=r"has 16 bits a channel.*convert it to 8 bits"):
        decode_png(deep(channels))
    with pytest.raises(ValueError, match="has 16 bits a channel"):
        decode_png(saved(Image.fromarray(np.full((2, 2), 4000, dtype=np.uint16))))


def test_animations_and_other_formats_are_refused():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    with pytest.raises(ValueError, match="is an animation of 2 pictures"):
        decode_png(saved(frames[0], save_all=True, append_images=frames[1:]))
    jpeg = io.BytesIO()
    Image.new("CMYK", (4, 4)).save(jpeg, format="JPEG")
    for data in (jpeg.getvalue(), b"", b"\x89PNG no picture", saved(frames[0])[:30]):
        with pytest.raises(ValueError, match="is no readable PNG file"):
            decode_png(data)


def test_a_picture_bomb_is_refused_before_it_is_unpacked():
    bomb = bytearray(saved(Image.new("RGB", (8, 8))))
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(ValueError, match="is too large: 60000 x 60000 pixels"):
        decode_png(bytes(bomb))


def test_a_palette_that_is_missing_is_told():
    chunks = [(name, data) for name, data in chunks_of(saved(palette((1, 2, 3), (0, 0, 0)))) if name != b"PLTE"]
    with pytest.raises(ValueError, match="is no readable PNG file: it names colours of a palette, and has none"):
        decode_png(of_chunks(chunks))


def decoded_or_refused(kind, damage, cut):
    """Bytes written over others, with sums made right again, so that the damage is read; and an end that is missing."""
    chunks = [(name, bytearray(data)) for name, data in chunks_of(KINDS[kind % len(KINDS)])]
    for which, place, value in damage:
        data = chunks[which % len(chunks)][1]
        data[place % (len(data) + 1) : place % (len(data) + 1) + 1] = bytes([value])
    png = of_chunks(chunks)
    try:
        picture = decode_png(png[: len(png) - cut])
    except ValueError as error:
        assert str(error).startswith(("is ", "has "))
    else:
        assert picture.dtype == np.uint8 and picture.ndim == 3


KINDS = [
    saved(Image.fromarray(RED)),
    saved(palette((1, 2, 3), (0, 0, 0)), transparency=0),
    saved(Image.new("RGBA", (5, 3))),
    saved(Image.new("RGB", (4, 4)), save_all=True, append_images=[Image.new("RGB", (4, 4), "red")]),
]
DAMAGE = st.tuples(st.integers(0, 9), st.integers(0, 60), st.integers(0, 255))
DAMAGED = given(st.integers(0, 3), st.lists(DAMAGE, max_size=5), st.integers(0, 9))
test_damaged_files = A_HUNDRED(DAMAGED(decoded_or_refused))
test_many_damaged_files = pytest.mark.slow(TEN_THOUSAND(DAMAGED(decoded_or_refused)))
