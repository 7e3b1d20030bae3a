"""The operator's own witness: it remembers the last checkpoint that it cosigned, and cosigns only what grew from it.

The rules (c2sp.org/tlog-witness):
1. The checkpoint must be signed by the log, and the asker must know the size that the witness remembers.
2. A smaller tree is a rollback and another root at the same size a fork; both are refused, and the log's signed note is
   kept under `refused/`, because it proves what the log tried.
3. A larger tree is cosigned when a consistency proof joins it to the remembered one.
4. What is cosigned is on the disk before the cosignature is given away.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.record.store import disk_errors, make_folder, write_atomic
from protocol.attestation.digest import sha256_hex
from protocol.attestation.keys import Signer
from protocol.errors import RecordUnsound, VerificationError
from protocol.tlog.checkpoint import Checkpoint, parse_checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.merkle import verify_consistency
from protocol.tlog.note import LogKey, Note, NoteSignature, parse_note, verify_note

_STATE = "checkpoint"
_LOCK = ".lock"
_REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWitness:
    """A witness in a folder; `clock` gives Unix seconds."""

    folder: Path
    key: WitnessKey
    signer: Signer
    log: LogKey
    clock: Callable[[], int]

    def remembered(self) -> Checkpoint | None:
        """Return the checkpoint that was cosigned last; None before the first."""
        with disk_errors("the witness's state"):
            path = self.folder / _STATE
            data = path.read_bytes() if path.exists() else None
        return None if data is None else self._opened(parse_note(data))

    def cosign(self, old_size: int, proof: Sequence[bytes], note_bytes: bytes) -> NoteSignature:
        """Return the cosignature of a note whose tree grew from the one of `old_size` leaves by this proof.

        RecordUnsound: WITNESS_CONFLICT where the witness remembers another size than `old_size`, WITNESS_ROLLBACK,
        WITNESS_FORK, WITNESS_REFUSED for a note that the log did not sign or a proof that fails.
        """
        with self._locked():
            note = parse_note(note_bytes)
            checkpoint = self._opened(note)
            before = self.remembered()
            try:
                _check_growth(before, checkpoint, old_size, proof)
            except RecordUnsound:
                self._keep(note_bytes)
                raise
            if before != checkpoint:
                write_atomic(self.folder / _STATE, note_bytes)
            return self.key.sign(note.text, self.clock(), self.signer)

    def _opened(self, note: Note) -> Checkpoint:
        try:
            if not verify_note(note, [self.log]):
                raise _refused("WITNESS_REFUSED", "a note without the log's signature", f"one by {self.log.name}")
            checkpoint = parse_checkpoint(note.text)
        except VerificationError as error:
            raise _refused("WITNESS_REFUSED", str(error), "a checkpoint that the log signed") from error
        if checkpoint.origin != self.log.name:
            raise _refused("WITNESS_REFUSED", f"the log {checkpoint.origin!r}", self.log.name)
        return checkpoint

    def _keep(self, note_bytes: bytes) -> None:
        make_folder(self.folder / _REFUSED)
        write_atomic(self.folder / _REFUSED / f"{sha256_hex(note_bytes)}.note", note_bytes)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with disk_errors("the witness's folder"):
            make_folder(self.folder)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _check_growth(before: Checkpoint | None, after: Checkpoint, old_size: int, proof: Sequence[bytes]) -> None:
    known = 0 if before is None else before.size
    if old_size != known:
        raise _refused("WITNESS_CONFLICT", f"a proof from size {old_size}", f"a proof from size {known}")
    if before is None:
        if proof:
            raise _refused("WITNESS_REFUSED", "a proof from the empty tree", "an empty proof")
        return
    if after.size < before.size:
        raise _refused("WITNESS_ROLLBACK", f"a tree of {after.size}", f"at least the {before.size} seen before")
    if after.size == before.size and after.root != before.root:
        raise _refused("WITNESS_FORK", f"two roots at size {after.size}", "one history")
    if before.size == 0 or after == before:
        return
    try:
        verify_consistency(
            old_size=before.size, old_root=before.root, new_size=after.size, new_root=after.root, proof=proof
        )
    except VerificationError as error:
        raise _refused("WITNESS_FORK", str(error), "a tree that begins with the one seen before") from error


def _refused(code: str, observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code=code,
        observed=observed,
        expected=expected,
        hint="stop: the log was rolled back or forked; restore its folder, and keep the witness's for whoever asks",
    )
