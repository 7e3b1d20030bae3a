"""Mutations of our own, the same ones every time: for the short pass, and where no coverage-guided fuzzer installs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

TOKENS = (
    *(b"\x00", b"\xff", b"\n", b"\r\n", b"\t", b" ", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"-", b"+", b"."),
    *(b"0", b"1", b"-1", b"013", b"1_3", b"1e9", b"9007199254740993", b"18446744073709551616", b"1" * 5000, b"NaN"),
    *(b"null", b"true", b"{}", b"[]", b"[" * 200, b'{"a":' * 200, b'"\\ud800"', b"\xe2\x80\x94", b"\xf0\x9f\x94\x92"),
    *(b"..", b"/", b"../", b"sha256:", b"=", b"A" * 64, b"0" * 64),
)


def mutations(seeds: Sequence[bytes], count: int, *, seed: int, limit: int) -> Iterator[bytes]:
    """Yield the seeds, and then mutations of them up to `count` in all, none longer than `limit`."""
    chance = random.Random(seed)
    known = list(seeds) or [b""]
    yield from known[:count]
    for _ in range(count - len(known)):
        data = bytearray(chance.choice(known))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            _mutate(data, known, chance)
        yield bytes(data[:limit])


def _mutate(data: bytearray, known: Sequence[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((1, 2, 4, 16, 64, 1024)))
    match chance.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(data):
            data[at] = chance.randrange(256)
        case 2:
            del data[at:end]
        case 3:
            data[at:at] = data[at:end]
        case 4:
            data[at:at] = chance.choice(TOKENS)
        case 5:
            data[at:end] = chance.choice(TOKENS)
        case _:
            other = chance.choice(known)
            start = chance.randrange(len(other) + 1)
            data[at:end] = other[start : start + 1024]
