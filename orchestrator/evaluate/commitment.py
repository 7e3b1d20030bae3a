"""Committing to a run's answers: the root that is signed, and the leaves that stay with the operator."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.attestation import responses
from protocol.tlog import merkle


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """The root over one run's salted answers (32 bytes), how many leaves it has, and the answers by point."""

    root: bytes
    leaves: int
    answers: Mapping[int, bytes]


def new_secret() -> bytes:
    """Return the secret of a session from which its leaves' salts are derived."""
    return secrets.token_bytes(responses.SECRET_BYTES)


def commit(secret: bytes, run: int, answers: Mapping[int, bytes]) -> Commitment:
    """Commit to one run's answers: `answers` maps each one's place to the bytes of its `Answer` message.

    An answer's place is its pass times the number of points, plus its point's index.
    """
    leaves = [
        responses.leaf(responses.salt(secret, run, point), run, point, answers[point]) for point in sorted(answers)
    ]
    return Commitment(root=merkle.root_of(map(merkle.leaf_hash, leaves)), leaves=len(leaves), answers=answers)
