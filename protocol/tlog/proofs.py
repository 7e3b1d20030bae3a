"""Proofs as text: what a log hands to whoever asks whether an entry is in it, or whether it only grew.

The forms:
1. Inclusion is C2SP tlog-proof v1: a header, the index, the hashes of the path in base64 one a line from the leaf's
   sibling upwards, a blank line, and the checkpoint's note. `extra` lines are refused: nothing signs them.
2. Consistency is the body of a C2SP tlog-witness request: `old` and the old size, the hashes one a line, a blank line,
   and the note of the new checkpoint. At most 63 hashes.

Both have one spelling; what is read and written again gives the same bytes. Neither is believed for being well formed:
`InclusionText.verify` and `protocol.tlog.merkle.verify_consistency` decide, against a checkpoint whose signature holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.attestation.digest import DIGEST_BYTES
from protocol.attestation.encoding import b64decode, b64encode
from protocol.attestation.refusal import refuse
from protocol.attestation.sigstore_bundle import MAX_NOTE_BYTES
from protocol.errors import VerificationError
from protocol.tlog.checkpoint import MAX_TREE_SIZE
from protocol.tlog.entry import SeenCheckpoint, open_checkpoint
from protocol.tlog.merkle import leaf_hash, verify_inclusion
from protocol.tlog.policy import Policy

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = 64 * 1024  # 63 hashes take 2835 bytes; the rest is a note of as many lines as a note may have

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MAX_HEAD = 8 * 1024  # everything before the blank line


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionText:
    """That an entry is in a log: its index, the path (32 bytes each), and the checkpoint's note as it was signed."""

    index: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """Return the bytes of a `.tlog-proof` file."""
        return _join([PROOF_HEADER, f"index {self.index}"], self.proof, self.note)

    def verify(self, entry: bytes, policy: Policy) -> SeenCheckpoint:
        """Return the checkpoint in which the log has the entry's bytes at the index.

        VerificationError BAD_PROOF, and those of `protocol.tlog.entry.open_checkpoint`; whether a quorum saw it is
        for `SeenCheckpoint.has_quorum` to say.
        """
        seen = open_checkpoint(self.note, policy)
        signed = seen.checkpoint
        verify_inclusion(leaf=leaf_hash(entry), index=self.index, size=signed.size, proof=self.proof, root=signed.root)
        return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthText:
    """That a log of `old_size` entries grew into the one of a checkpoint; what a witness is asked with."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """Return the body of an `add-checkpoint` request."""
        return _join([f"old {self.old_size}"], self.proof, self.note)


def parse_inclusion(data: bytes) -> InclusionText:
    """Read a tlog-proof; VerificationError MALFORMED_PROOF."""
    lines, note = _split(data)
    if len(lines) < 2 or lines[0] != PROOF_HEADER:  # noqa: PLR2004  # the header and the index
        raise _bad(repr(lines[0][:60]), f"{PROOF_HEADER} and an index")
    return InclusionText(index=_number(lines[1], "index "), proof=_hashes(lines[2:]), note=note)


def parse_growth(data: bytes) -> GrowthText:
    """Read the body of an `add-checkpoint` request; VerificationError MALFORMED_PROOF."""
    lines, note = _split(data)
    return GrowthText(old_size=_number(lines[0], "old "), proof=_hashes(lines[1:]), note=note)


def _join(head: Sequence[str], proof: Sequence[bytes], note: bytes) -> bytes:
    lines = [*head, *(b64encode(item) for item in proof), "", ""]
    return "\n".join(lines).encode("ascii") + note


def _split(data: bytes) -> tuple[list[str], bytes]:
    if len(data) > MAX_NOTE_BYTES + _MAX_HEAD:
        raise _bad(f"{len(data)} bytes", f"at most {MAX_NOTE_BYTES + _MAX_HEAD}")
    end = data.find(b"\n\n", 0, _MAX_HEAD)
    if end < 0:
        raise _bad("no blank line", "lines, a blank line and a checkpoint")
    try:
        lines = data[:end].decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _bad("bytes that are not ASCII", "ASCII before the checkpoint") from error
    return lines, data[end + 2 :]


def _number(line: str, word: str) -> int:
    digits = line.removeprefix(word)
    if not line.startswith(word) or _NUMBER.fullmatch(digits) is None or int(digits) > MAX_TREE_SIZE:
        raise _bad(repr(line[:40]), f"{word}and a decimal number without sign or leading zero")
    return int(digits)


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF_LINES:
        raise _bad(f"{len(lines)} hashes", f"at most {MAX_PROOF_LINES}")
    hashes = tuple(b64decode(line) for line in lines)
    if any(len(item) != DIGEST_BYTES for item in hashes):
        raise _bad("a hash of another length", f"{DIGEST_BYTES} bytes each")
    return hashes


def _bad(observed: str, expected: str) -> VerificationError:
    return refuse("MALFORMED_PROOF", observed=observed, expected=expected)
