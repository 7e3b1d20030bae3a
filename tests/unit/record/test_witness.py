"""The operator's witness: what it remembers, and what it will not sign."""

from __future__ import annotations

import errno
import os

import pytest

from orchestrator.record import store
from orchestrator.record.witness import LocalWitness
from protocol.errors import RecordUnsound, StorageFull
from protocol.tlog.checkpoint import Checkpoint
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import LogKey, Note, parse_note, verify_note
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


def test_it_refuses_rollback_and_fork_and_keeps_what_the_log_signed(witness):
    witness.cosign(0, [], note_of(TREE, 5))
    refused("WITNESS_ROLLBACK", witness.cosign, 5, [], note_of(TREE, 4))
    refused("WITNESS_FORK", witness.cosign, 5, [], note_of(FORK, 5))
    refused("WITNESS_FORK", witness.cosign, 5, FORK.consistency(5, 9), note_of(FORK, 9))
    refused("WITNESS_FORK", witness.cosign, 5, [], note_of(TREE, 9))
    assert witness.remembered().size == 5
    kept = {path.read_bytes() for path in (witness.folder / "refused").iterdir()}
    assert kept == {note_of(TREE, 4), note_of(FORK, 5), note_of(FORK, 9), note_of(TREE, 9)}


def test_who_asks_must_know_what_it_remembers(witness):
    refused("WITNESS_CONFLICT", witness.cosign, 3, [], note_of(TREE, 5))
    refused("WITNESS_REFUSED", witness.cosign, 0, [bytes(32)], note_of(TREE, 5))
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
        patch.setattr(store.os, "fsync", full)
        with pytest.raises(StorageFull):
            witness.cosign(3, TREE.consistency(3, 9), note_of(TREE, 9))
    assert witness.remembered().size == 3
    witness.cosign(3, TREE.consistency(3, 9), note_of(TREE, 9))
    assert witness.remembered().size == 9
