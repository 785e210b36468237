"""PNG bytes to the pictures that a Qwen-VL sees, by qwen-vl-utils."""

from io import BytesIO
from typing import TYPE_CHECKING

from actors.rating.backend import Refused

if TYPE_CHECKING:
    from PIL.Image import Image


def prepare_images(images: tuple[bytes, ...], min_pixels: int, max_pixels: int, patch_size: int) -> list["Image"]:
    """Decode PNG files and fit them to the model's patches: RGB, sides multiples of two patches, pixels in bounds.

    Raises Refused if a file is no PNG. Addresses and paths are never followed: only bytes come in.
    """
    from PIL import Image, UnidentifiedImageError
    from qwen_vl_utils import process_vision_info

    pictures = []
    for number, image in enumerate(images):
        try:
            pictures.append(Image.open(BytesIO(image), formats=["PNG"]))
            pictures[-1].load()
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise Refused(f"image {number} of {len(images)} is no readable PNG file: {error}") from error
    limits = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    content = [{"type": "image", "image": picture, **limits} for picture in pictures]
    try:
        prepared, _ = process_vision_info([{"role": "user", "content": content}], image_patch_size=patch_size)
    except ValueError as error:  # one side many times longer than the other
        raise Refused(f"an image does not fit the model: {error}") from error
    return prepared or []
