"""A witness's memory of one log: the last checkpoint that it cosigned, and the rule that only growth is cosigned.

The rules (c2sp.org/tlog-witness):
1. The checkpoint must be signed by the log, and the asker must know the size that the witness remembers.
2. A smaller tree is a rollback and another root at the same size a fork. Both are refused, and so is a larger tree that
   no consistency proof joins to the remembered one.
3. What was refused is kept under `refused/`: the log's signed note, the note that the witness remembered, and the
   request with its proof. Two signed notes of one size with two roots convict a log whatever anybody says later.
4. What is cosigned is on the disk before the cosignature is given away.

The memory is a folder, and its lock makes check and memory one step for any number of threads and processes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, write_atomic
from protocol.attestation.digest import sha256_hex
from protocol.attestation.keys import Signer
from protocol.attestation.refusal import refuse
from protocol.errors import RecordUnsound, VerificationError
from protocol.tlog.checkpoint import Checkpoint, parse_checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.merkle import verify_consistency
from protocol.tlog.note import LogKey, Note, NoteSignature, parse_note, verify_note
from protocol.tlog.proofs import GrowthText

MAX_REFUSED = 1024  # kept refusals; a log that was caught a thousand times needs no further evidence

CONFLICT = "WITNESS_CONFLICT"
REFUSED = "WITNESS_REFUSED"
ROLLBACK = "WITNESS_ROLLBACK"
FORK = "WITNESS_FORK"
UNPROVED = "WITNESS_UNPROVED"

_STATE = "checkpoint"
_LOCK = ".lock"
_REFUSED = "refused"
_EVIDENCE = (ROLLBACK, FORK, UNPROVED)  # refusals of a note that the log itself signed


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWitness:
    """A witness in a folder; `clock` gives Unix seconds."""

    folder: Path
    key: WitnessKey
    signer: Signer
    log: LogKey
    clock: Callable[[], int]

    def remembered(self) -> Checkpoint | None:
        """Return the checkpoint that was cosigned last, None before the first; RecordUnsound WITNESS_STATE_LOST."""
        with disk_errors("the witness's state"):
            path = self.folder / _STATE
            data = path.read_bytes() if path.exists() else None
        if data is None:
            return None
        try:
            return self._opened(parse_note(data))
        except (VerificationError, RecordUnsound) as error:
            raise RecordUnsound(
                code="WITNESS_STATE_LOST",
                observed=f"what the witness remembers: {error.observed}",
                expected="the note that it cosigned last",
                hint="retire this witness: one that forgot could cosign a fork; begin another with a key of its own",
            ) from error

    def cosign(self, old_size: int, proof: Sequence[bytes], note_bytes: bytes) -> NoteSignature:
        """Return the cosignature of a note whose tree grew from the one of `old_size` leaves by this proof.

        RecordUnsound: WITNESS_REFUSED for a note that the log did not sign, WITNESS_CONFLICT where another size than
        `old_size` is remembered, WITNESS_ROLLBACK, WITNESS_FORK, and WITNESS_UNPROVED for a proof that fails; the last
        three leave evidence. VerificationError MALFORMED_NOTE for bytes that are no note.
        """
        with self._locked():
            note = parse_note(note_bytes)
            checkpoint = self._opened(note)
            before = self.remembered()
            try:
                _check_growth(before, checkpoint, old_size, proof)
            except RecordUnsound as error:
                if error.code in _EVIDENCE:
                    self._keep(error.code, GrowthText(old_size=old_size, proof=tuple(proof), note=self._bare(note)))
                raise
            if before != checkpoint:
                write_atomic(self.folder / _STATE, self._bare(note))
            return self.key.sign(note.text, self.clock(), self.signer)

    def _opened(self, note: Note) -> Checkpoint:
        try:
            if not verify_note(note, [self.log]):
                raise _refused(REFUSED, "a note without the log's signature", f"one by {self.log.name}")
            checkpoint = parse_checkpoint(note.text)
        except VerificationError as error:
            raise _refused(REFUSED, str(error), "a checkpoint that the log signed") from error
        if checkpoint.origin != self.log.name:
            raise _refused(REFUSED, f"the log {checkpoint.origin!r}", self.log.name)
        return checkpoint

    def _bare(self, note: Note) -> bytes:
        """Return the note with the log's own line alone: lines that anybody may add do not make new evidence."""
        own = next(line for line in note.signatures if (line.name, line.key_id) == (self.log.name, self.log.key_id))
        return Note(text=note.text, signatures=(own,)).to_bytes()

    def _keep(self, code: str, request: GrowthText) -> None:
        """Keep what convicts: the refused note, the one that is remembered, and how growth was claimed."""
        top = self.folder / _REFUSED
        folder = top / f"{code.lower().replace('_', '-')}-{sha256_hex(request.note)[:16]}"
        with disk_errors(_REFUSED):
            if (folder / "request").exists() or (top.is_dir() and len(list(top.iterdir())) >= MAX_REFUSED):
                return
            state = self.folder / _STATE
            remembered = state.read_bytes() if state.exists() else None
        make_folder(folder)
        write_atomic(folder / "refused.note", request.note)
        if remembered is not None:
            write_atomic(folder / "remembered.note", remembered)
        write_atomic(folder / "request", request.to_bytes())

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
    if old_size > after.size:
        raise _refused(ROLLBACK, f"a tree of {after.size} entries", f"at least the {old_size} that were seen before")
    if old_size != known:
        raise _refused(CONFLICT, f"a proof from size {old_size}", f"a proof from size {known}")
    if before is not None and after.size == before.size and after.root != before.root:
        raise _refused(FORK, f"two roots at size {after.size}", "one history")
    try:
        if known in (0, after.size):
            _check_empty(proof)
        elif before is not None:
            verify_consistency(
                old_size=before.size, old_root=before.root, new_size=after.size, new_root=after.root, proof=proof
            )
    except VerificationError as error:
        raise _refused(UNPROVED, str(error), "a proof that the tree begins with the one seen before") from error


def _check_empty(proof: Sequence[bytes]) -> None:
    if proof:
        raise refuse("BAD_PROOF", observed=f"{len(proof)} hashes where nothing is to prove", expected="an empty proof")


def _refused(code: str, observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code=code,
        observed=observed,
        expected=expected,
        hint="stop: the log was rolled back or forked; restore its folder, and keep the witness's for whoever asks",
    )
