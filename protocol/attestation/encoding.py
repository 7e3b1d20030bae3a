"""Base64 with exactly one spelling: standard alphabet, full padding, no spare bits (RFC 4648 section 3.5)."""

from __future__ import annotations

import base64
import binascii

from protocol.attestation.refusal import refuse


def b64encode(data: bytes) -> str:
    """Return the canonical base64 text of the bytes."""
    return base64.b64encode(data).decode("ascii")


def b64decode(text: str) -> bytes:
    """Return the bytes of a canonical base64 text; VerificationError BAD_BASE64 for any other spelling of them."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError) as error:
        raise _not_canonical(text) from error
    if b64encode(data) != text:
        raise _not_canonical(text)
    return data


def _not_canonical(text: str) -> Exception:
    return refuse("BAD_BASE64", observed=repr(text[:40]), expected="canonical base64 (RFC 4648 section 3.5)")
