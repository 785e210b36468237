"""Pictures from outside: what is shown to the rater, and what is refused, by name, before it is decoded."""

import base64
import io
import struct
import zlib

import pytest
from PIL import Image

from tests.actors.rating.serving.asking import call, chat, data_url, likely, picture, shown

CHAT = "/v1/chat/completions"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_saying(width: int, height: int, depth: int = 8, *between: bytes) -> bytes:
    """A small PNG file whose header promises much."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def asked_with(*files: bytes, kind: str = "png", **limits):
    """The response to pictures, and what of them the rater saw."""
    seen = []
    body = chat(*[shown(data_url(file, kind)) for file in files])
    (response,) = call(lambda prompt, images, choices: seen.append(images) or "x", ("POST", CHAT, body), **limits)
    return response, seen


GOOD = picture()
BOMB = png_saying(60_000, 60_000)


@pytest.mark.parametrize(
    ("file", "status", "message"),
    [
        (BOMB, 413, "has 60000 x 60000 pixels; a picture may have 16777216 in all"),
        (png_saying(2**31 - 1, 2**31 - 1), 413, "pixels; a picture may have"),
        # A second header, which decoders would believe.
        (png_saying(8, 8, 8, chunk(b"IHDR", struct.pack(">IIBBBBB", 9_000, 9_000, 8, 2, 0, 0, 0))), 413, "9000 x 9000"),
        (png_saying(0, 8), 422, ""),
        (png_saying(10_000, 1), 422, "a side must be less than 200 times the other"),
        (png_saying(8, 8, 16), 422, "16 bits a channel"),
        (picture(mode="I;16"), 422, "16 bits a channel"),
        (GOOD[:50], 422, "is no readable P"),
        (GOOD[:20], 422, "its header is cut short"),
        (GOOD[:41] + b"\0\0\0\0" + GOOD[45:], 422, "is no readable P"),
        (b"GIF89a", 422, "is not a PNG file, nor a JPEG file"),
        (b"", 422, "is not a PNG file, nor a JPEG file"),
        (b"\xff\xd8\xff", 422, "is no readable picture"),
        (picture(kind="JPEG")[:300], 422, "is no readable picture"),
        (picture(mode="CMYK", kind="JPEG"), 422, "JPEG file in CMYK"),
    ],
)
def test_a_picture_that_cannot_be_shown_is_named(file, status, message):
    response, seen = asked_with(GOOD, file)
    assert (response.status_code, seen) == (status, [])
    error = response.json()["error"]
    assert error["message"].startswith("messages[1].content[1].image_url.url ") and message in error["message"]
    assert error["param"] == "messages[1].content[1].image_url.url"


def test_a_file_of_many_pictures_is_refused():
    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(file, format="PNG", save_all=True, append_images=frames[1:])
    response, _ = asked_with(file.getvalue())
    assert response.status_code == 422 and "is an animation of 2 pictures" in response.text


def test_our_own_way_of_asking_refuses_the_same():
    for file, status in ((BOMB, 413), (GOOD[:50], 422), (picture(kind="JPEG"), 422)):
        images = [base64.b64encode(one).decode() for one in (GOOD, file)]
        body = {"images": images, "instruction": "close the drawer", "focus": "the drawer"}
        (response,) = call(likely, ("POST", "/v1/ratings", body))
        assert response.status_code == status and "images[1]" in response.text


def test_all_pictures_together_are_bounded():
    files = [png_saying(4096, 4096)] * 5
    response, seen = asked_with(*files)
    assert (response.status_code, seen) == (413, [])
    assert "messages[1].content[4].image_url.url: with this one the pictures have 83886080 pixels" in response.text
    response, _ = asked_with(*[GOOD] * 65)
    assert response.status_code == 413 and "65 pictures: a request may hold 64" in response.text


def test_png_files_are_shown_as_they_came():
    files = [GOOD, picture(mode="L"), picture(mode="RGBA"), picture(mode="P")]
    response, seen = asked_with(*files)
    assert response.status_code == 200 and seen == [tuple(files)]


def test_a_jpeg_file_is_shown_as_the_png_of_its_pixels_the_right_way_up():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for kind, options, size in (("jpeg", {}, (16, 8)), ("jpg", {"exif": exif}, (8, 16))):
        file = picture((16, 8), kind="JPEG", **options)
        response, [[png]] = asked_with(file, kind=kind)
        assert response.status_code == 200
        with Image.open(io.BytesIO(png)) as seen, Image.open(io.BytesIO(file)) as sent:
            assert (seen.format, seen.size, seen.getpixel((0, 0))) == ("PNG", size, sent.getpixel((0, 0)))


@pytest.mark.parametrize("text", ["$$$", "é", "AAA"])
def test_what_is_not_base64_is_named(text):
    (response,) = call(likely, ("POST", CHAT, chat(shown(f"data:image/png;base64,{text}"))))
    assert response.status_code == 400 and "messages[1].content[0].image_url.url is not base64" in response.text
