"""The order in which a run asks the points: drawn from the session's nonce, so that nobody can know it beforehand.

Rule `sha256-sort/1`: the seed of run k is SHA-256(nonce || k), k as a big-endian 32-bit number from 1; point i gets the
key SHA-256(seed || i), i as a big-endian 32-bit number; the order is the points sorted by key. It needs no generator
whose stream could differ between libraries or releases.
"""

from __future__ import annotations

import hashlib

ORDER_RULE = "sha256-sort/1"


def run_order(nonce: bytes, run: int, points: int) -> list[int]:
    """Return the indices of the points in the order of run `run` (from 1) under a 32-byte session nonce."""
    seed = hashlib.sha256(nonce + run.to_bytes(4, "big")).digest()
    return sorted(range(points), key=lambda index: hashlib.sha256(seed + index.to_bytes(4, "big")).digest())
