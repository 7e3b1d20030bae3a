"""What a record is worth by who witnessed it: computed alike by who signs a result and by who doubts it.

A quorum that the operator's own witnesses can make by themselves is T1, however many keys it has. One that needs a
party of another organisation is T2, and T3 where every session was declared before it and everything was recomputed,
which is the only way in which this version works.
"""

from __future__ import annotations

from typing import Final

from protocol.attestation.keyring import Keyring
from protocol.tlog.policy import Policy

T1: Final = "T1"
T3: Final = "T3"


def earned_tier(keyring: Keyring, policy: Policy) -> str:
    """Return the tier of a record all of whose other checks pass, under its keyring and its log's policy."""
    operator = {key.organisation for key in (*keyring.in_role("log"), *keyring.in_role("runner"))}
    own = set()
    for witness in policy.witnesses.values():
        enrolled = keyring.find(witness.public_key.key_id)
        if enrolled is None or enrolled.organisation in operator:
            own.add(witness.key_id)
    return T1 if policy.satisfied_by(own) else T3
