"""Pictures as arrays: PNG and JPEG to red, green and blue, scaled as a network wants them."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

MOST_PIXELS = 64_000_000  # a picture of more is not opened: 200 bytes can say that they are 10 gigapixels


GREY = (127, 127, 127)


def read(content: bytes) -> Image.Image | None:
    """Return a picture in RGB, None where it cannot be read; what is transparent lies on grey."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own bound, which is another
            with Image.open(io.BytesIO(content)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    return None
                if not picture.has_transparency_data:
                    return picture.convert("RGB")
                clear = picture.convert("RGBA")
                ground = Image.new("RGBA", clear.size, GREY)
                return Image.alpha_composite(ground, clear).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def letterbox(picture: Image.Image, side: int) -> tuple[np.ndarray, float, int, int]:
    """Return the whole picture in the middle of a grey square, and how to find its pixels there.

    The square is (side, side, 3) uint8; then come the scale and the left and upper margins in its pixels: a pixel x of
    the picture lies at left + x * scale.
    """
    scale = side / max(picture.size)
    width, height = (max(1, round(edge * scale)) for edge in picture.size)
    left, top = (side - width) // 2, (side - height) // 2
    square = np.full((side, side, 3), GREY, np.uint8)
    square[top : top + height, left : left + width] = np.asarray(
        picture.resize((width, height), Image.Resampling.BICUBIC)
    )
    return square, scale, left, top
