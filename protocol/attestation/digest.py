"""SHA-256 in the two spellings that the formats use: 32 raw bytes, and 64 lower-case hexadecimal digits."""

from __future__ import annotations

import hashlib
import re

from protocol.attestation.refusal import refuse

DIGEST_BYTES = 32
IMAGE_DIGEST_PREFIX = "sha256:"

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


def sha256(data: bytes) -> bytes:
    """Return the 32 raw bytes of the SHA-256 digest."""
    return hashlib.sha256(data).digest()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 digest as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def is_sha256_hex(text: str) -> bool:
    """Tell whether the text is exactly 64 lower-case hexadecimal digits."""
    return _HEX.fullmatch(text) is not None


def parse_sha256_hex(text: str) -> bytes:
    """Return the 32 bytes of a lower-case hexadecimal digest; VerificationError BAD_DIGEST on anything else."""
    if not is_sha256_hex(text):
        raise refuse("BAD_DIGEST", observed=repr(text[:80]), expected="64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def is_image_digest(text: str) -> bool:
    """Tell whether the text is `sha256:` and 64 lower-case hexadecimal digits, as container images are named."""
    return text.startswith(IMAGE_DIGEST_PREFIX) and is_sha256_hex(text[len(IMAGE_DIGEST_PREFIX) :])
