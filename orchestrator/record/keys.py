"""Ed25519 keys in files: made once, readable by their owner alone, and narrow enough to give way to a token later.

The rules:
1. A key is a PKCS #8 PEM file of mode 0600, made beside its place and never over another file.
2. With a passphrase the PEM is encrypted. A passphrase comes from a file, a descriptor or a prompt, never from a
   command line, and is asked for only when a key needs it.
3. Whatever signs is a `protocol.attestation.keys.Signer`: nothing here or above asks for a private key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from orchestrator.record.store import disk_errors, write_atomic
from protocol.attestation.keys import PublicKey, ed25519_key
from protocol.errors import RecordUnsound, UsageError

KEY_MODE = 0o600
MAX_PASSPHRASE_BYTES = 1023  # what the library takes

Unlock: TypeAlias = Callable[[str], bytes | None]  # the passphrase for the key file of this name; None: there is none

_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


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

    def to_pem(self, secrecy: KeySerializationEncryption) -> bytes:
        """Return the key as PKCS #8 PEM."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secrecy)


def no_passphrase(_name: str) -> bytes | None:
    """Answer for every key that there is no passphrase: what an unattended command says."""
    return None


def new_key() -> FileSigner:
    """Make a key that is nowhere but in memory."""
    return FileSigner(Ed25519PrivateKey.generate())


def create_key(path: Path, passphrase: bytes | None = None) -> FileSigner:
    """Make a key, save it, and return its signer; errors as of `save_key`."""
    signer = new_key()
    save_key(signer, path, passphrase)
    return signer


def save_key(signer: FileSigner, path: Path, passphrase: bytes | None = None) -> None:
    """Write a key as PKCS #8 PEM with mode 0600, encrypted if a passphrase is given.

    UsageError KEY_EXISTS where there is a file already: a key that was overwritten cannot be made again.
    """
    if path.exists() or path.is_symlink():
        raise UsageError(
            code="KEY_EXISTS",
            observed=f"{path.name} is there already",
            expected="a path without a file",
            hint="name another file; a key that is overwritten is lost with everything that only it could sign",
        )
    secrecy: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        secrecy = BestAvailableEncryption(_checked_passphrase(passphrase))
    write_atomic(path, signer.to_pem(secrecy), mode=KEY_MODE)


def load_key(path: Path, unlock: Unlock = no_passphrase) -> FileSigner:
    """Read a key that is a regular file of ours with mode 0600; `unlock` is asked only where it is encrypted.

    RecordUnsound KEY_MISSING, KEY_EXPOSED where others may read or own it, KEY_LOCKED where it is encrypted and there
    is no passphrase, WRONG_PASSPHRASE, KEY_UNREADABLE where it is no Ed25519 key.
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
    return FileSigner(_read_pem(path, pem, _passphrase_for(path, pem, unlock)))


def read_passphrase(stream_bytes: bytes, where: str) -> bytes:
    """Return the passphrase that a file or a descriptor gave: its first line; UsageError BAD_PASSPHRASE for none."""
    return _checked_passphrase(stream_bytes.split(b"\n", 1)[0].removesuffix(b"\r"), where)


def read_passphrase_file(path: Path) -> bytes:
    """Return the passphrase in a file that is its owner's alone, or in a pipe.

    UsageError NO_PASSPHRASE_FILE, PASSPHRASE_EXPOSED where others may read it, BAD_PASSPHRASE.
    """
    try:
        with path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            data = stream.read(MAX_PASSPHRASE_BYTES + 2)
    except OSError as error:
        raise _unusable(
            "NO_PASSPHRASE_FILE", f"{path}: {error.strerror}", "a file that holds the passphrase"
        ) from error
    if stat.S_ISREG(state.st_mode) and stat.S_IMODE(state.st_mode) & _OTHERS:
        observed = f"{path} has mode {stat.S_IMODE(state.st_mode):04o}"
        raise _unusable("PASSPHRASE_EXPOSED", observed, "a file of mode 0600, or a pipe")
    return read_passphrase(data, str(path))


def _passphrase_for(path: Path, pem: bytes, unlock: Unlock) -> bytes | None:
    if _ENCRYPTED not in pem:
        return None
    found = unlock(path.name)
    if found is None:
        hint = "give the passphrase: --passphrase-file FILE, --passphrase-fd N, or run it where it can be typed"
        raise _unsound("KEY_LOCKED", path, "an encrypted key, and no passphrase", hint)
    return _checked_passphrase(found)


def _read_pem(path: Path, pem: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            hint = "type it again; nobody can restore a passphrase, only the key's backup with its own"
            raise _unsound("WRONG_PASSPHRASE", path, "a passphrase that does not open it", hint) from error
        raise _unsound("KEY_UNREADABLE", path, "no PEM key", "restore it from its backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _unsound("KEY_UNREADABLE", path, "a key of another algorithm", "use an Ed25519 key")
    return key


def _checked_passphrase(passphrase: bytes, where: str = "the passphrase") -> bytes:
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE_BYTES:
        expected = f"1 to {MAX_PASSPHRASE_BYTES} bytes on the first line"
        raise _unusable("BAD_PASSPHRASE", f"{where} has {len(passphrase)} bytes", expected)
    return passphrase


def _unusable(code: str, observed: str, expected: str) -> UsageError:
    hint = "write the passphrase into a file of mode 0600, or leave the option out and type it when asked"
    return UsageError(code=code, observed=observed, expected=expected, hint=hint)


def _unsound(code: str, path: Path, observed: str, hint: str) -> RecordUnsound:
    return RecordUnsound(
        code=code, observed=f"{path.name}: {observed}", expected="our own Ed25519 PEM file of mode 0600", hint=hint
    )
