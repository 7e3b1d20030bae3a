"""The operator's witness: what it remembers, and what it will not sign."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator import disk
from orchestrator.record import witness as witness_module
from orchestrator.record.witness import LocalWitness
from protocol.errors import RecordUnsound, StorageFull
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import LogKey, Note, parse_note, verify_note
from protocol.tlog.proofs import parse_growth
from tests.unit.attestation.key_maker import ed_signer

LOG_SIGNER, SIGNER = ed_signer(1), ed_signer(2)
LOG = LogKey(name="example/log", public_key=LOG_SIGNER.public_key)
KEY = WitnessKey(name="example/witness", public_key=SIGNER.public_key)
TREE = Tree(leaf_hash(bytes([number])) for number in range(9))
FORK = Tree(leaf_hash(bytes([number ^ 1])) for number in range(9))


@pytest.fixture
def witness(tmp_path):
    return LocalWitness(folder=tmp_path / "w", key=KEY, signer=SIGNER, log=LOG, clock=lambda: 1_700_000_000)


def note_of(tree, size, origin=LOG.name, signer=LOG_SIGNER) -> bytes:
    text = Checkpoint(origin=origin, size=size, root=tree.root(size)).to_body()
    return Note(text=text, signatures=(LOG.sign(text, signer),)).to_bytes()


def refused(code, function, *args):
    with pytest.raises(RecordUnsound) as caught:
        function(*args)
    assert caught.value.code == code


def test_it_cosigns_a_log_that_grows_and_says_when(witness):
    for old, new in ((0, 3), (3, 3), (3, 9)):
        note = note_of(TREE, new)
        proof = TREE.consistency(old, new) if 0 < old < new else []
        line = witness.cosign(old, proof, note)
        signed = Note(text=parse_note(note).text, signatures=(line,))
        assert verify_note(signed, [KEY])[0].timestamp == 1_700_000_000
        assert witness.remembered().size == new


def evidence(witness):
    """Return what the witness kept: by kind of refusal, the notes that were refused and what it remembered then."""
    found = {}
    for folder in (witness.folder / "refused").iterdir():
        notes = [(folder / name).read_bytes() for name in ("refused.note", "remembered.note")]
        assert parse_growth((folder / "request").read_bytes()).note == notes[0]
        found.setdefault(folder.name.rpartition("-")[0], set()).add(tuple(notes))
    return found


def test_it_refuses_rollback_and_fork_and_keeps_both_notes(witness):
    witness.cosign(0, [], note_of(TREE, 5))
    refused("WITNESS_ROLLBACK", witness.cosign, 5, [], note_of(TREE, 4))
    refused("WITNESS_FORK", witness.cosign, 5, [], note_of(FORK, 5))
    refused("WITNESS_UNPROVED", witness.cosign, 5, FORK.consistency(5, 9), note_of(FORK, 9))
    refused("WITNESS_UNPROVED", witness.cosign, 5, [], note_of(TREE, 9))
    assert witness.remembered().size == 5
    known = note_of(TREE, 5)
    assert evidence(witness) == {
        "witness-rollback": {(note_of(TREE, 4), known)},
        "witness-fork": {(note_of(FORK, 5), known)},
        "witness-unproved": {(note_of(FORK, 9), known), (note_of(TREE, 9), known)},
    }


def test_lines_that_strangers_add_to_a_note_make_no_new_evidence(witness):
    """Anybody can append a line to a refused note; the disk of a witness is not theirs to fill."""
    witness.cosign(0, [], note_of(TREE, 5))
    for number in range(5):
        stranger = LogKey(name=f"stranger/{number}", public_key=ed_signer(9).public_key)
        note = parse_note(note_of(FORK, 5))
        line = stranger.sign(note.text, ed_signer(9))
        refused(
            "WITNESS_FORK", witness.cosign, 5, [], Note(text=note.text, signatures=(line, *note.signatures)).to_bytes()
        )
    assert len(list((witness.folder / "refused").iterdir())) == 1


def test_evidence_is_bounded(witness, monkeypatch):
    monkeypatch.setattr(witness_module, "MAX_REFUSED", 2)
    witness.cosign(0, [], note_of(TREE, 5))
    for size in (4, 3, 2, 1):
        refused("WITNESS_ROLLBACK", witness.cosign, 5, [], note_of(TREE, size))
    assert len(list((witness.folder / "refused").iterdir())) == 2


def test_a_proof_where_nothing_is_to_prove_is_refused(witness):
    refused("WITNESS_UNPROVED", witness.cosign, 0, [bytes(32)], note_of(TREE, 5))
    witness.cosign(0, [], note_of(TREE, 5))
    refused("WITNESS_UNPROVED", witness.cosign, 5, [bytes(32)], note_of(TREE, 5))
    assert witness.remembered().size == 5


def test_a_witness_that_lost_what_it_remembers_does_not_go_on(witness):
    witness.cosign(0, [], note_of(TREE, 5))
    (witness.folder / "checkpoint").write_bytes(b"what was it\n")
    refused("WITNESS_STATE_LOST", witness.cosign, 5, TREE.consistency(5, 9), note_of(TREE, 9))


def test_two_requests_at_once_never_roll_the_witness_back(witness):
    """The race of the specification: the smaller tree is checked first and written last."""
    cosigned = {0}
    for sizes in ((1, 9), (3, 5), (5, 9), (9, 2)):
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask_as_told, witness, size) for size in sizes * 4]
            cosigned |= {item.result() for item in asked} - {None}
        assert witness.remembered().size == max(cosigned)
        assert witness.remembered().root == TREE.root(max(cosigned))


def ask_as_told(witness, size):
    """Ask for a size from whatever is remembered; return the size if it was cosigned."""
    before = witness.remembered()
    old = 0 if before is None else before.size
    proof = TREE.consistency(old, size) if 0 < old < size else []
    try:
        witness.cosign(old, proof, note_of(TREE, size))
    except RecordUnsound as error:
        if error.code not in {"WITNESS_CONFLICT", "WITNESS_ROLLBACK"}:
            raise
        return None
    return size


def test_who_asks_must_know_what_it_remembers(witness):
    refused("WITNESS_CONFLICT", witness.cosign, 3, [], note_of(TREE, 5))
    witness.cosign(0, [], note_of(TREE, 5))
    refused("WITNESS_CONFLICT", witness.cosign, 0, [], note_of(TREE, 9))
    refused("WITNESS_CONFLICT", witness.cosign, 4, TREE.consistency(4, 9), note_of(TREE, 9))


def test_it_asks_for_the_logs_own_signature_and_name(witness):
    refused("WITNESS_REFUSED", witness.cosign, 0, [], note_of(TREE, 5, signer=ed_signer(3)))
    refused("WITNESS_REFUSED", witness.cosign, 0, [], note_of(TREE, 5, origin="example/else"))
    assert witness.remembered() is None


def test_it_answers_only_when_what_it_answers_is_on_the_disk(witness, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    witness.cosign(0, [], note_of(TREE, 3))
    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", full)
        with pytest.raises(StorageFull):
            witness.cosign(3, TREE.consistency(3, 9), note_of(TREE, 9))
    assert witness.remembered().size == 3
    witness.cosign(3, TREE.consistency(3, 9), note_of(TREE, 9))
    assert witness.remembered().size == 9
