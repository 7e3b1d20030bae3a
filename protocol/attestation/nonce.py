"""The session nonce: what could not be known before the intent was in a witnessed checkpoint."""

from __future__ import annotations

from protocol.attestation.digest import DIGEST_BYTES, sha256_hex
from protocol.attestation.refusal import refuse

_DOMAIN = b"session-nonce/v1\x00"


def session_nonce(intent_leaf_hash: bytes, checkpoint_body: bytes) -> str:
    """Return the nonce of a session in hexadecimal.

    SHA-256 over the domain name and a zero byte, the RFC 6962 leaf hash of the intent (32 bytes), and the body of the
    cosigned checkpoint that covers it (its text without the signature lines). It proves freshness and is no fair coin:
    an operator can ask again for another checkpoint, and every intent that it leaves behind is in the log.
    """
    if len(intent_leaf_hash) != DIGEST_BYTES:
        raise refuse("BAD_DIGEST", observed=f"{len(intent_leaf_hash)} bytes", expected=f"{DIGEST_BYTES} bytes")
    return sha256_hex(_DOMAIN + intent_leaf_hash + checkpoint_body)
