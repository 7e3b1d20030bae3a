"""Ed25519 keys in files: made once, readable by their owner alone, and narrow enough to give way to a token later.

The rules:
1. A key is a PKCS #8 PEM file of mode 0600, made beside its place and never over another file.
2. With a passphrase the PEM is encrypted. A passphrase comes from a file, a descriptor or a prompt, never from a
   command line or an environment, and is asked for only when a key needs it.
3. Whatever signs is a `protocol.attestation.keys.Signer`: nothing here or above asks for a private key.
"""

from __future__ import annotations

import os
import stat
import struct
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

from orchestrator.disk import disk_errors, write_atomic
from protocol.attestation.keys import PublicKey, ed25519_key
from protocol.errors import RecordUnsound, UsageError

KEY_MODE = 0o600
MAX_PASSPHRASE_BYTES = 1023  # what the library takes

Unlock: TypeAlias = Callable[[str], bytes | None]  # the passphrase for the key file of this name; None: there is none

_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ACL = "system.posix_acl_access"  # its value is a version, then entries of tag, permissions and id: acl(5)
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_VERSION_BYTES = 4
_ACL_OWNER, _ACL_USER, _ACL_MASK = 0x01, 0x02, 0x10


@dataclass(frozen=True, slots=True)
class FileSigner:
    """A signer over a key that was read from a file; a `protocol.attestation.keys.Signer`."""

    _key: Ed25519PrivateKey = field(repr=False)
    public_key: PublicKey = field(init=False)  # the public half

    def __post_init__(self) -> None:
        """Work out the public half once, for every signature names it."""
        object.__setattr__(self, "public_key", ed25519_key(self._key.public_key().public_bytes_raw()))

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


def encrypt_key(path: Path, passphrase: bytes) -> bool:
    """Put an encrypted file in the place of a key's file; False where it is encrypted with this passphrase already.

    What stood in the file before may still be found on the disk. UsageError BAD_PASSPHRASE; RecordUnsound as of
    `load_key`.
    """
    pem = _private_bytes(path)
    if _ENCRYPTED in pem:
        _read_pem(path, pem, passphrase)
        return False
    signer = FileSigner(_read_pem(path, pem, None))
    write_atomic(path, signer.to_pem(BestAvailableEncryption(_checked_passphrase(passphrase))), mode=KEY_MODE)
    return True


def passphrase_of(path: Path, unlock: Unlock) -> bytes | None:
    """Return the passphrase of a key's file, and None where it is not encrypted; RecordUnsound as of `load_key`."""
    pem = _private_bytes(path)
    passphrase = _passphrase_for(path, pem, unlock)
    _read_pem(path, pem, passphrase)
    return passphrase


def load_key(path: Path, unlock: Unlock = no_passphrase) -> FileSigner:
    """Read a key that is a regular file of ours with mode 0600; `unlock` is asked only where it is encrypted.

    RecordUnsound KEY_MISSING, KEY_EXPOSED where others may read or own it, KEY_LOCKED where it is encrypted and there
    is no passphrase, WRONG_PASSPHRASE, KEY_UNREADABLE where it is no Ed25519 key.
    """
    pem = _private_bytes(path)
    return FileSigner(_read_pem(path, pem, _passphrase_for(path, pem, unlock)))


def read_passphrase(stream_bytes: bytes, where: str) -> bytes:
    """Return the passphrase that a file or a descriptor gave: its first line; UsageError BAD_PASSPHRASE for none."""
    return _checked_passphrase(stream_bytes.split(b"\n", 1)[0].removesuffix(b"\r"), where)


def read_passphrase_file(path: Path) -> bytes:
    """Return the passphrase in a file that is its owner's alone, or in a pipe.

    A list of permissions that lets this process's own user read it, as systemd sets on the credentials of a service,
    exposes it to nobody else. UsageError NO_PASSPHRASE_FILE, PASSPHRASE_EXPOSED where others may read it,
    BAD_PASSPHRASE.
    """
    try:
        with path.open("rb") as stream:
            state = os.fstat(stream.fileno())
            data = stream.read(MAX_PASSPHRASE_BYTES + 2)
            exposed = _is_exposed(stream.fileno(), state)
    except OSError as error:
        raise _unusable(
            "NO_PASSPHRASE_FILE", f"{path}: {error.strerror}", "a file that holds the passphrase"
        ) from error
    if exposed:
        observed = f"{path} has mode {stat.S_IMODE(state.st_mode):04o}"
        raise _unusable("PASSPHRASE_EXPOSED", observed, "a file of mode 0600, or a pipe")
    return read_passphrase(data, str(path))


def _is_exposed(descriptor: int, state: os.stat_result) -> bool:
    """Tell whether an open file is a regular one that somebody besides its owner and this process's user may use."""
    if not stat.S_ISREG(state.st_mode) or not stat.S_IMODE(state.st_mode) & _OTHERS:
        return False
    try:
        rights = os.getxattr(descriptor, _ACL)[_ACL_VERSION_BYTES:]
    except OSError:
        return True  # no list: the mode says it all
    for tag, permissions, who in _ACL_ENTRY.iter_unpack(rights[: len(rights) // _ACL_ENTRY.size * _ACL_ENTRY.size]):
        own = tag in (_ACL_OWNER, _ACL_MASK) or (tag == _ACL_USER and who == os.geteuid())
        if permissions and not own:
            return True
    return False


def _private_bytes(path: Path) -> bytes:
    """Return what is in a key's file, which is a regular file of ours with mode 0600."""
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
    return pem


def _passphrase_for(path: Path, pem: bytes, unlock: Unlock) -> bytes | None:
    if _ENCRYPTED not in pem:
        return None
    found = unlock(path.name)
    if found is None:
        raise RecordUnsound(
            code="KEY_LOCKED",
            observed=f"{path.name} is encrypted, and no passphrase was given",
            expected="the passphrase with which it was encrypted",
            hint="give --passphrase-file FILE (mode 0600, a pipe, or a service's credential), or run it at a terminal",
        )
    return _checked_passphrase(found)


def _read_pem(path: Path, pem: bytes, passphrase: bytes | None) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            raise RecordUnsound(
                code="WRONG_PASSPHRASE",
                observed=f"{path.name}: a passphrase that does not open it",
                expected="the passphrase with which it was encrypted",
                hint="give that one; nobody can restore a passphrase, only the key's backup with its own",
            ) from error
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
