"""Moonshine's vocabulary as its authors ship it: tokens one after the other, each behind its length.

A length below 128 is one byte; a longer one is two, seven bits first: 0x80 | length % 128, then length // 128.
U+2581 stands for a space, <0x..> for a byte that no other token spells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPACE = "\u2581".encode()
_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
_LONG = 0x80
_FIRST_WRITTEN = 3  # <unk>, <s> and </s> write nothing


def read_vocabulary(content: bytes) -> list[bytes]:
    """Return the tokens by their number; raises ValueError where the file ends inside one."""
    tokens, place = [], 0
    while place < len(content):
        length = content[place]
        place += 1
        if length >= _LONG:
            length = length % _LONG + content[place] * _LONG
            place += 1
        if place + length > len(content):
            raise ValueError("the vocabulary ends inside a token")
        tokens.append(content[place : place + length])
        place += length
    return tokens


def text_of(vocabulary: list[bytes], tokens: Iterable[int]) -> str:
    """Return the text of tokens, without a space at either end; what is no UTF-8 becomes U+FFFD."""
    written = [vocabulary[token] for token in tokens if token >= _FIRST_WRITTEN]
    spelled = [bytes.fromhex(found[1].decode()) if (found := _BYTE.fullmatch(piece)) else piece for piece in written]
    return b"".join(spelled).replace(_SPACE, b" ").decode("utf-8", "replace").strip()
