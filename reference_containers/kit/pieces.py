"""Tokens of a byte-level vocabulary as text: whole characters only, however the tokens cut them.

A byte-level BPE vocabulary (GPT-2, and SmolLM after it) spells each byte as a printable character: bytes that print
stand for themselves, the others for the characters from U+0100 on, in order.
Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019, `bytes_to_unicode` of its code.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

_PRINTED = (*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1))


def _alphabet() -> dict[str, int]:
    """Return the byte that each character of the vocabulary stands for: 256 characters."""
    others = (byte for byte in range(256) if byte not in _PRINTED)
    return {chr(byte): byte for byte in _PRINTED} | {chr(256 + place): byte for place, byte in enumerate(others)}


ALPHABET = _alphabet()


def bytes_of(spelled: str) -> bytes:
    """Return the bytes of a token as the vocabulary spells it; characters that spell no byte are left out."""
    return bytes(ALPHABET[letter] for letter in spelled if letter in ALPHABET)


class Pieces:
    """Joins tokens to text: a character comes out when its last byte has come in, broken ones as U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, spelled: str) -> str:
        """Return the characters that this token completes."""
        return self._decoder.decode(bytes_of(spelled))

    def end(self) -> str:
        """Drop a character that the last token left half written and return "", as a stream has nothing to wait for."""
        self._decoder.reset()
        return ""


def text_of(tokens: Iterable[str]) -> str:
    """Return the text of all tokens; a character that the last of them leaves half written is dropped."""
    pieces = Pieces()
    return "".join(pieces.add(spelled) for spelled in tokens)
