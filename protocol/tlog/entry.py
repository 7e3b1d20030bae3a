"""Whether a statement is in the log: its leaf, its place, and the checkpoint of the moment when it was logged.

The rules:
1. The leaf's bytes are rebuilt from the envelope and the key that the keyring names; what the file calls its body must
   be equal to them.
2. Size and root come from the checkpoint whose log signature holds, and what the file says about both must agree.
3. The checkpoint carries the lines of the policy's keys and no others.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.envelope import Envelope
from protocol.attestation.keys import PublicKey
from protocol.attestation.refusal import refuse
from protocol.attestation.sigstore_bundle import LogEntry
from protocol.tlog.checkpoint import Checkpoint, parse_checkpoint
from protocol.tlog.leaf import Leaf
from protocol.tlog.merkle import leaf_hash, verify_inclusion
from protocol.tlog.note import Note, NoteKey, VerifiedLine, parse_note, unknown_lines, verify_note
from protocol.tlog.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCheckpoint:
    """A checkpoint that the log signed, its note, and the witnesses that cosigned it with their times."""

    checkpoint: Checkpoint
    note: Note
    cosigned: tuple[VerifiedLine, ...]

    def earliest(self) -> int | None:
        """Return the earliest time at which a witness saw it, in Unix seconds; None where none did."""
        return min((line.timestamp for line in self.cosigned if line.timestamp is not None), default=None)

    def has_quorum(self, policy: Policy) -> bool:
        """Tell whether the policy's quorum saw it."""
        return policy.satisfied_by({line.key_id for line in self.cosigned})


def open_checkpoint(data: bytes, policy: Policy) -> SeenCheckpoint:
    """Return the checkpoint in a note that the policy's log signed.

    VerificationError: MALFORMED_NOTE, MALFORMED_CHECKPOINT, BAD_SIGNATURE, UNKNOWN_SIGNER for lines of other keys,
    NOT_SIGNED_BY_LOG, WRONG_ORIGIN. A missing quorum is not refused here: see `has_quorum`.
    """
    note = parse_note(data)
    keys: list[NoteKey] = [policy.log, *policy.witnesses.values()]
    strangers = unknown_lines(note, keys)
    if strangers:
        observed = f"a line by {strangers[0].name[:80]!r}"
        raise refuse("UNKNOWN_SIGNER", observed=observed, expected="one line each by keys of the policy")
    lines = verify_note(note, keys)
    if policy.log.key_id not in {line.key_id for line in lines}:
        raise refuse("NOT_SIGNED_BY_LOG", observed="no line by the log", expected=f"one by {policy.log.name}")
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != policy.log.name:
        raise refuse("WRONG_ORIGIN", observed=repr(checkpoint.origin[:80]), expected=policy.log.name)
    cosigned = tuple(line for line in lines if line.key_id != policy.log.key_id)
    return SeenCheckpoint(checkpoint=checkpoint, note=note, cosigned=cosigned)


def check_entry(envelope: Envelope, key: PublicKey, entry: LogEntry, policy: Policy) -> SeenCheckpoint:
    """Return the checkpoint in which the statement, signed by the key, is at the entry's index.

    VerificationError NOT_LOGGED, WRONG_LOG, BAD_PROOF, and those of `open_checkpoint`. The signature itself is checked
    by `Envelope.verify`.
    """
    leaf = Leaf(pae_sha256=envelope.pae_sha256, signature=envelope.only_signature().signature, key=key).to_bytes()
    if entry.body != leaf:
        raise refuse("NOT_LOGGED", observed="a log entry for something else", expected="this statement's entry")
    if entry.log_id != policy.log.full_key_id:
        raise refuse("WRONG_LOG", observed=f"log {entry.log_id.hex()[:16]}", expected=f"the log {policy.log.name}")
    seen = open_checkpoint(entry.checkpoint, policy)
    signed = seen.checkpoint
    if (entry.tree_size, entry.root_hash) != (signed.size, signed.root):
        observed = f"size {entry.tree_size}, root {entry.root_hash.hex()[:16]}"
        raise refuse("BAD_PROOF", observed=observed, expected=f"size {signed.size}, root {signed.root.hex()[:16]}")
    verify_inclusion(
        leaf=leaf_hash(leaf), index=entry.log_index, size=signed.size, proof=entry.hashes, root=signed.root
    )
    return seen
