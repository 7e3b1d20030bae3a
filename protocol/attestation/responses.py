"""The commitment to a run's responses: an RFC 6962 tree whose leaves can be opened one by one and reveal nothing else.

Rules:
1. Leaf i stands for answer i of the run: `salt || run (u32 BE) || i (u32 BE) || SHA-256(answer)`, where `answer` is the
   serialised `Answer` message of the wire. Answer i is that to point i mod n of the dataset's n points in pass i div n.
2. Each leaf has a secret 256-bit salt of its own, HMAC-SHA-256(secret, run || point) under a secret of the session: an
   opened leaf shows its salt, and no other leaf can be guessed from it.
3. The root is in the signed outcome; the secret and the answers stay with the operator.
"""

from __future__ import annotations

import hashlib
import hmac

SECRET_BYTES = 32


def salt(secret: bytes, run: int, point: int) -> bytes:
    """Return the salt of one leaf, 32 bytes."""
    return hmac.digest(secret, _place(run, point), hashlib.sha256)


def leaf(salt_of_leaf: bytes, run: int, point: int, answer: bytes) -> bytes:
    """Return the leaf's data for the tree (not yet hashed), 72 bytes."""
    return salt_of_leaf + _place(run, point) + hashlib.sha256(answer).digest()


def _place(run: int, point: int) -> bytes:
    return run.to_bytes(4, "big") + point.to_bytes(4, "big")
