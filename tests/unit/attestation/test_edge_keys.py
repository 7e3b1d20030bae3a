"""Every edge case gets its verdict: at the door where a key is enrolled, and where a signature is checked."""

from __future__ import annotations

import pytest

from protocol.attestation.digest import sha256
from protocol.attestation.keys import Algorithm, PublicKey, public_key
from protocol.errors import VerificationError
from protocol.tlog.leaf import Leaf, parse_leaf
from tests.unit.attestation.edge_cases import key_cases, signature_cases

SIGNATURES, KEYS = signature_cases(), key_cases()


def label(case) -> str:
    return f"{case.algorithm.value}: {case.name}"


@pytest.mark.parametrize("case", SIGNATURES, ids=label)
def test_a_signature_holds_or_does_not(case):
    key = public_key(case.spki, case.algorithm)
    if case.holds:
        key.verify(case.signature, case.message)
        return
    with pytest.raises(VerificationError) as caught:
        key.verify(case.signature, case.message)
    assert caught.value.code == "BAD_SIGNATURE"


@pytest.mark.parametrize("case", KEYS, ids=label)
def test_a_key_is_let_in_or_refused(case):
    if case.code is None:
        assert public_key(case.spki, case.algorithm) == PublicKey(algorithm=case.algorithm, spki=case.spki)
        return
    with pytest.raises(VerificationError) as caught:
        public_key(case.spki, case.algorithm)
    assert caught.value.code == case.code


@pytest.mark.parametrize("case", [case for case in KEYS if case.code], ids=label)
def test_a_key_that_is_refused_at_the_door_is_refused_in_a_leaf_of_the_log(case):
    leaf = Leaf(pae_sha256=sha256(b""), signature=bytes(64), key=PublicKey(algorithm=case.algorithm, spki=case.spki))
    with pytest.raises(VerificationError):
        parse_leaf(leaf.to_bytes())


def test_the_twin_of_a_signature_is_another_leaf_for_the_same_statement():
    """ECDSA is malleable, so a statement is named by what was signed, and a leaf by what was logged."""
    honest, twin = SIGNATURES[0], SIGNATURES[1]
    key = public_key(honest.spki, Algorithm.ECDSA_P256)
    leaves = [Leaf(pae_sha256=sha256(each.message), signature=each.signature, key=key) for each in (honest, twin)]
    assert leaves[0].to_bytes() != leaves[1].to_bytes()
    assert leaves[0].pae_sha256 == leaves[1].pae_sha256


def test_the_tables_walk_both_ways_and_name_each_case_once():
    for verdicts in ([case.holds for case in SIGNATURES], [case.code is None for case in KEYS]):
        assert 0 < sum(verdicts) < len(verdicts)
    for cases in (SIGNATURES, KEYS):
        assert len({label(case) for case in cases}) == len(cases)
