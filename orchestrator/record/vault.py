"""What stays with the operator: a session's answers and the secret of its response trees, encrypted on the disk.

File: `JSVLT001`, a 12-byte nonce, then AES-256-GCM with the session's name as associated data over: the 32-byte secret,
then for every answer its run, its point and its length (u32 big-endian each) and its bytes. The key is one 0600 file of
the domain, made when it is first needed. An auditor may ask for single leaves; whoever holds the disk without the key
gets nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestrator.disk import disk_errors, make_folder, write_atomic
from protocol.attestation.openings import Opening, open_leaves
from protocol.attestation.responses import SECRET_BYTES
from protocol.errors import RecordUnsound

MAGIC = b"JSVLT001"
KEY_BITS = 256
_NONCE_BYTES = 12  # NIST SP 800-38D, section 8.2: 96-bit nonces, here random under a key of few files
_PRIVATE = 0o600
_PLACE = struct.Struct(">III")


@dataclass(frozen=True, slots=True)
class Vault:
    """The folder of encrypted answers and the path of its key."""

    folder: Path
    key_path: Path

    def put(self, session: str, secret: bytes, answers: Mapping[int, Mapping[int, bytes]]) -> None:
        """Keep a session's secret and its answers (run, point, bytes of the `Answer` message)."""
        parts = [secret]
        for run, found in answers.items():
            parts += [_PLACE.pack(run, point, len(answer)) + answer for point, answer in found.items()]
        nonce = os.urandom(_NONCE_BYTES)
        make_folder(self.folder, mode=0o700)
        sealed = AESGCM(self._key()).encrypt(nonce, b"".join(parts), session.encode())
        write_atomic(self._path(session), MAGIC + nonce + sealed, mode=_PRIVATE)

    def get(self, session: str) -> tuple[bytes, dict[int, dict[int, bytes]]]:
        """Return a session's secret and answers; RecordUnsound VAULT_DAMAGED where they are not what was kept."""
        with disk_errors(f"the answers of {session}"):
            data = self._path(session).read_bytes()
        body = data.removeprefix(MAGIC)
        try:
            plain = AESGCM(self._key()).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], session.encode())
        except (InvalidTag, ValueError) as error:
            raise RecordUnsound(
                code="VAULT_DAMAGED",
                observed=f"the answers of session {session} cannot be decrypted",
                expected="the file and the key that belong together",
                hint="restore the folders private and keys together from one backup",
            ) from error
        found: dict[int, dict[int, bytes]] = {}
        start = SECRET_BYTES
        while start < len(plain):
            run, point, length = _PLACE.unpack_from(plain, start)
            start += _PLACE.size + length
            found.setdefault(run, {})[point] = plain[start - length : start]
        return plain[:SECRET_BYTES], found

    def open_leaves(self, session: str, outcome: str, places: Mapping[int, Sequence[int]]) -> tuple[Opening, ...]:
        """Return the leaves of these places (by run) that an auditor asked for; the session's others stay unknown.

        RecordUnsound as `get`; VerificationError NO_SUCH_LEAF for a place that a run does not have.
        """
        secret, answers = self.get(session)
        return tuple(
            opening
            for run, wanted in places.items()
            for opening in open_leaves(secret, outcome, run, answers.get(run, {}), wanted)
        )

    def _path(self, session: str) -> Path:
        return self.folder / f"{session}.answers"

    def _key(self) -> bytes:
        if not self.key_path.exists():
            make_folder(self.key_path.parent, mode=0o700)
            write_atomic(self.key_path, AESGCM.generate_key(KEY_BITS), mode=_PRIVATE)
        with disk_errors("the vault's key"):
            return self.key_path.read_bytes()
