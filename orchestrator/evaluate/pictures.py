"""Decoding a picture that a vendor's model made, within bounds, by Pillow.

Rules:
1. The header is read first (`protocol.pictures`): what claims more than a bearable size is not decoded.
2. Only PNG and JPEG are decoded, the first frame, to grey, scaled down to at most THUMBNAIL pixels a side.
3. Whatever a decoder trips over makes the picture unreadable, and nothing else.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from functools import lru_cache
from io import BytesIO

from PIL import Image

from protocol.pictures import is_bearable, picture_size

THUMBNAIL = 128
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, MemoryError)
_DAMAGED = (*_BROKEN, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_KEPT = 2048  # a run repeats its answers pass by pass


@lru_cache(maxsize=_KEPT)
def grey(content: bytes) -> Image.Image | None:
    """Return a picture in 8-bit grey, None where it is no readable picture of a bearable size."""
    size = picture_size(content)
    if size is None or not is_bearable(size):
        return None
    try:
        with warnings.catch_warnings(), Image.open(BytesIO(content), formats=("PNG", "JPEG")) as opened:
            warnings.simplefilter("ignore")
            shown = _on_white(opened) if "A" in opened.getbands() or "transparency" in opened.info else opened
            found = shown.convert("L")
            found.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    except _DAMAGED:
        return None
    return found


def _on_white(opened: Image.Image) -> Image.Image:
    shown = opened.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
