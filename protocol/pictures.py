"""How large a picture is, from the first bytes of its file, without decoding any of it.

Rules:
1. PNG (ISO/IEC 15948, 11.2.2): the IHDR chunk comes first and holds width and height.
2. JPEG (ISO/IEC 10918-1, B.2.2): the first frame header (SOF0 to SOF15 but DHT, JPG and DAC) holds height and width;
   the segments before it are skipped by their lengths.
3. Whoever decodes a picture that somebody else made asks here first: a file of a kilobyte may claim to be a billion
   pixels.
"""

from __future__ import annotations

from typing import Final

from protocol.samples import ImageEncoding, image_encoding

MAX_SIDE: Final = 4096
MAX_PIXELS: Final = 4096 * 4096
"""What an answer's picture may measure: four times the largest picture of the standard image-generation models."""

_PNG_HEADER: Final = b"\x00\x00\x00\x0dIHDR"
_PNG_SIZE_AT: Final = 16
_JPEG_START: Final = 2
_SEGMENT_LENGTH: Final = 2
_NO_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0 to RST7, SOI
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ENDS: Final = frozenset({0xD9, 0xDA})  # EOI, SOS: no frame header comes after them


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Return a picture's width and height in pixels, None where its header does not tell them."""
    encoding = image_encoding(content)
    if encoding is None:
        return None
    size = _png_size(content) if encoding is ImageEncoding.PNG else _jpeg_size(content)
    return size if size is not None and min(size) > 0 else None


def is_bearable(size: tuple[int, int]) -> bool:
    """Return whether a picture of that size may be decoded."""
    width, height = size
    return max(size) <= MAX_SIDE and width * height <= MAX_PIXELS


def _png_size(content: bytes) -> tuple[int, int] | None:
    if content[8:_PNG_SIZE_AT] != _PNG_HEADER or len(content) < _PNG_SIZE_AT + 8:
        return None
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    at = _JPEG_START
    while at + 4 <= len(content) and content[at] == 0xFF:  # noqa: PLR2004 - what every marker begins with
        marker = content[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            at += 1
        elif marker in _NO_LENGTH:
            at += 2
        elif marker in _ENDS:
            return None
        elif marker in _FRAMES:
            frame = content[at + 5 : at + 9]
            return (int.from_bytes(frame[2:], "big"), int.from_bytes(frame[:2], "big")) if len(frame) == 4 else None  # noqa: PLR2004 - two numbers of two bytes
        else:
            at += 2 + max(int.from_bytes(content[at + 2 : at + 4], "big"), _SEGMENT_LENGTH)
    return None
