"""Ed25519 keys in files: made once, readable by their owner alone, and narrow enough to give way to a token later."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from orchestrator.record.store import disk_errors, write_atomic
from protocol.attestation.keys import PublicKey, ed25519_key
from protocol.errors import RecordUnsound

KEY_MODE = 0o600


@dataclass(frozen=True, slots=True)
class FileSigner:
    """A signer over a key that was read from a file; a `protocol.attestation.keys.Signer`."""

    _key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> PublicKey:
        """The public half of the signing key."""
        return ed25519_key(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature."""
        return self._key.sign(message)


def create_key(path: Path) -> FileSigner:
    """Make a key, write it as PKCS #8 PEM with mode 0600, and return its signer."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomic(path, pem, mode=KEY_MODE)
    return FileSigner(key)


def load_key(path: Path) -> FileSigner:
    """Read a key that is a regular file of ours with mode 0600.

    RecordUnsound KEY_MISSING, KEY_EXPOSED where others may read or own it, KEY_UNREADABLE where it is no Ed25519 key.
    """
    if not path.exists():
        raise _unsound("KEY_MISSING", path, "no such file", "restore the key from its backup, or make a new domain")
    with disk_errors(path.name):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            state = os.fstat(stream.fileno())
            pem = stream.read()
    if not stat.S_ISREG(state.st_mode) or stat.S_IMODE(state.st_mode) != KEY_MODE or state.st_uid != os.geteuid():
        observed = f"mode {stat.S_IMODE(state.st_mode):04o}, owner {state.st_uid}"
        hint = f"if nobody else can have read it: chmod 600 and chown it to user {os.geteuid()}; else revoke it"
        raise _unsound("KEY_EXPOSED", path, observed, hint)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unsound("KEY_UNREADABLE", path, "no unencrypted PEM key", "restore it from its backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unsound("KEY_UNREADABLE", path, "a key of another algorithm", "use an Ed25519 key")
    return FileSigner(key)


def _unsound(code: str, path: Path, observed: str, hint: str) -> RecordUnsound:
    return RecordUnsound(
        code=code, observed=f"{path.name}: {observed}", expected="our own Ed25519 PEM file of mode 0600", hint=hint
    )
