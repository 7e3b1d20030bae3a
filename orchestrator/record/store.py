"""The store of evidence, whose files are named by their digests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, write_atomic
from protocol.attestation.digest import parse_sha256_hex, sha256_hex
from protocol.errors import RecordUnsound

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class EvidenceStore:
    """Evidence in one folder, each file named by the hexadecimal SHA-256 of its bytes."""

    folder: Path

    def put(self, data: bytes) -> str:
        """Store the bytes and return their digest; storing the same bytes again changes nothing."""
        digest = sha256_hex(data)
        if not self.has(digest):
            make_folder(self.folder)
            write_atomic(self.folder / digest, data)
        return digest

    def put_file(self, path: Path) -> str:
        """Store a copy of a file and return its digest."""
        with disk_errors(path.name):
            data = path.read_bytes()
        return self.put(data)

    def has(self, digest: str) -> bool:
        """Tell whether the evidence is here."""
        return self.path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Return where the evidence with this digest stands, or would stand."""
        parse_sha256_hex(digest)
        return self.folder / digest

    def get(self, digest: str) -> bytes:
        """Return the evidence; RecordUnsound EVIDENCE_LOST if it is absent or no longer what it was."""
        with disk_errors(f"evidence {digest[:16]}"):
            data = self.path(digest).read_bytes() if self.has(digest) else b""
        if sha256_hex(data) != digest:
            raise RecordUnsound(
                code="EVIDENCE_LOST",
                observed=f"evidence {digest} is absent or damaged",
                expected="the bytes that were stored",
                hint="restore the evidence folder from a backup; without it the campaign cannot be published",
            )
        return data

    def digests(self) -> list[str]:
        """Return the digests of everything stored, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(item.name for item in self.folder.iterdir() if _HEX.fullmatch(item.name))
