"""Key events and proofs of possession: one spelling, strict reading, and bytes that never change again."""

from __future__ import annotations

import dataclasses
import json

import pytest

from protocol.attestation.digest import sha256_hex
from protocol.attestation.encoding import b64decode, b64encode
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, sign
from protocol.attestation.jcs import dumps
from protocol.attestation.key_event import (
    KeyEvent,
    check_borne_out,
    open_key_event,
    parse_key_statement,
    read_key_event,
)
from protocol.attestation.keyring import EnrolledKey, Keyring, Scope
from protocol.attestation.pem import pem_public_key
from protocol.attestation.possession import prove, read_possession
from protocol.attestation.root import ROLES, build_root, parse_root
from protocol.errors import JoulesealError, Unverifiable
from tests.unit.attestation.key_maker import ed_signer, p256_signer

HOLDER, RUNNER, HEIR = ed_signer(1), ed_signer(10), ed_signer(11)
MOMENT = "2026-03-01T12:00:00Z"
DOMAIN = "ab" * 32

# Written once: a release that gives other bytes for the same event has broken every verifier before it.
GOLDEN_PAYLOAD = "4e883b10efbb12b67f9efdab6c441a1c10641052a02942c9aab81bb0da3f1613"
GOLDEN_SIGNATURE = (
    "d0fb6b54c2f54ca90eae10a0c9e5167a73ff9d0ee5bcd305355414e836775534"
    "54e7b92784cda9514ccf2bf0e09b0dbf782d49c6e9252a80a496874372ff7604"
)
GOLDEN_PROOF = "1800e22715e86995ca889ff6ee928ffde6eccb5763c2fc772c7db192206c85a2"


def event(**changes):
    facts = {
        "event": "rotated",
        "key_id": RUNNER.public_key.key_id,
        "role": "runner",
        "name": "runner-1",
        "successor": HEIR.public_key.key_id,
        "last_valid_index": 41,
        "reason": "scheduled rotation",
        "decided_on": MOMENT,
        "keyring_version": 2,
        "previous_keyring": "cd" * 32,
    }
    return KeyEvent(**{**facts, **changes})


def keyring(**changes):
    old = EnrolledKey(
        key=RUNNER.public_key,
        role="runner",
        name="runner-1",
        organisation="operator",
        scope=Scope(runner_id="runner-1", devices=("GPU-1",), predicate_names=("campaign-plan",)),
        not_before="2026-01-01T00:00:00Z",
        not_after="2026-03-31T00:00:00Z",
        last_valid_index=41,
    )
    heir = dataclasses.replace(old, key=HEIR.public_key, last_valid_index=None)
    return dataclasses.replace(
        Keyring(version=2, issued_on=MOMENT, policy_sha256="ef" * 32, keys=(old, heir)), **changes
    )


def root(*holders):
    roles = dict.fromkeys(ROLES, ([holder.public_key for holder in holders], 1))
    return parse_root(build_root(version=1, expires=MOMENT, roles=roles, signers=holders))


def stated(said=None, of=None):
    return (said or event()).to_payload(sha256_hex((of or keyring()).to_payload()))


def refused(code, function, *args, kind=JoulesealError):
    with pytest.raises(kind) as caught:
        function(*args)
    assert caught.value.code == code, str(caught.value)


def test_the_bytes_of_a_key_event_are_what_they_were():
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, stated(), HOLDER)
    assert sha256_hex(envelope.payload) == GOLDEN_PAYLOAD
    assert envelope.only_signature().signature.hex() == GOLDEN_SIGNATURE
    assert sha256_hex(prove(RUNNER, "runner", DOMAIN)) == GOLDEN_PROOF


@pytest.mark.parametrize(
    "said",
    [
        event(),
        event(event="revoked", successor=None, reason="the machine was stolen", last_valid_index=0),
        event(event="enrolled", successor=None, last_valid_index=None, role="auditor", name="audit-house"),
        event(event="renewed", successor=None, last_valid_index=None, role="log", name="example/log"),
    ],
    ids=lambda said: said.event,
)
def test_an_event_is_read_as_it_was_written(said):
    assert KeyEvent.from_json(json.loads(dumps(said.to_json()))) == said
    assert parse_key_statement(stated(said)).event == said


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "forgotten"},
        {"event": "enrolled"},
        {"event": "renewed"},
        {"event": "revoked"},
        {"successor": None},
        {"successor": RUNNER.public_key.key_id},
        {"successor": "AB" * 32},
        {"lastValidIndex": None},
        {"lastValidIndex": -1},
        {"lastValidIndex": True},
        {"lastValidIndex": "41"},
        {"keyId": "0f"},
        {"role": "verifier"},
        {"name": ""},
        {"reason": ""},
        {"reason": "two\nlines"},
        {"reason": None},
        {"decidedOn": "yesterday"},
        {"keyringVersion": 1},
        {"previousKeyring": None},
    ],
    ids=str,
)
def test_a_field_that_is_wrong_is_refused_with_its_path(wrong):
    refused("BAD_FIELD", KeyEvent.from_json, {**event().to_json(), **wrong})


@pytest.mark.parametrize("name", sorted(event().to_json()))
def test_a_field_that_is_missing_is_refused(name):
    value = event().to_json()
    del value[name]
    refused("BAD_FIELD", KeyEvent.from_json, value)


def test_a_field_of_a_later_version_cannot_be_judged():
    refused("UNKNOWN_FIELD", KeyEvent.from_json, {**event().to_json(), "more": 1}, kind=Unverifiable)


def test_a_statement_of_another_shape_is_refused():
    value = json.loads(stated())
    for wrong, code in (
        ({"subject": []}, "BAD_SUBJECT"),
        ({"subject": value["subject"] * 2}, "BAD_SUBJECT"),
        ({"subject": [{"name": "image-config", "digest": {"sha256": "ab" * 32}}]}, "BAD_FIELD"),
        ({"predicateType": "https://jouleseal.dev/attestation/campaign-plan/v1"}, "BAD_FIELD"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "BAD_FIELD"),
        ({"more": 1}, "UNKNOWN_FIELD"),
    ):
        refused(code, parse_key_statement, dumps({**value, **wrong}))
    refused("NOT_CANONICAL", parse_key_statement, json.dumps(value).encode())


def test_an_event_counts_under_a_holders_key_and_where_the_keyring_bears_it_out():
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, stated(), HOLDER)
    assert open_key_event(envelope, root(HOLDER), keyring()).event == event()
    assert read_key_event(dumps(envelope.to_json())) == envelope
    refused("UNKNOWN_SIGNER", open_key_event, envelope, root(ed_signer(2)), keyring())
    refused("UNKNOWN_SIGNER", open_key_event, sign(IN_TOTO_PAYLOAD_TYPE, stated(), RUNNER), root(HOLDER), keyring())
    forged = dataclasses.replace(envelope, payload=stated(event(reason="another")))
    refused("BAD_SIGNATURE", open_key_event, forged, root(HOLDER), keyring())
    unsigned = dataclasses.replace(envelope, signatures=())
    refused("BAD_SIGNATURE_COUNT", open_key_event, unsigned, root(HOLDER), keyring())


def test_an_event_that_the_keyring_does_not_bear_out_is_refused():
    for said in (
        event(last_valid_index=40),
        event(key_id="0f" * 32),
        event(name="runner-2"),
        event(role="vendor"),
        event(successor="0f" * 32),
        event(event="enrolled", successor=None, last_valid_index=None),
    ):
        refused("OTHER_CHANGE", check_borne_out, parse_key_statement(stated(said)), keyring())
    refused("BAD_SUBJECT", check_borne_out, parse_key_statement(stated(event(keyring_version=3))), keyring())
    refused("BAD_SUBJECT", check_borne_out, parse_key_statement(stated()), keyring(issued_on="2026-03-02T12:00:00Z"))


def test_every_flipped_bit_of_a_proof_is_noticed():
    data = prove(RUNNER, "runner", DOMAIN)
    assert read_possession(data).key == RUNNER.public_key
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        try:
            again = read_possession(bytes(changed))
        except JoulesealError:
            continue
        hint = data.index(b'"keyid":"') + len(b'"keyid":"')
        assert hint <= position < hint + 64, f"byte {position} is not noticed"
        assert (again.key, again.role, again.domain) == (RUNNER.public_key, "runner", DOMAIN)


def test_a_proof_by_a_key_on_p256_is_a_proof_and_one_by_another_key_is_none():
    signer = p256_signer()
    assert read_possession(prove(signer, "witness", DOMAIN)).key == signer.public_key
    mine, other = (json.loads(prove(each, "runner", DOMAIN)) for each in (RUNNER, HEIR))
    refused("BAD_SIGNATURE", read_possession, dumps({**mine, "signatures": other["signatures"]}))
    refused("BAD_SIGNATURE_COUNT", read_possession, dumps({**mine, "signatures": []}))
    payload = json.loads(b64decode(mine["payload"]))
    for wrong, code in (
        ({"keyId": HEIR.public_key.key_id}, "BAD_KEY"),
        ({"role": "root"}, "BAD_FIELD"),
        ({"domain": "here"}, "BAD_FIELD"),
        ({"algorithm": "ecdsa-p256-sha256"}, "KEY_ALGORITHM"),
        ({"more": 1}, "UNKNOWN_FIELD"),
        ({"role": "auditor"}, "BAD_SIGNATURE"),
    ):
        changed = b64encode(dumps({**payload, **wrong}))
        refused(code, read_possession, dumps({**mine, "payload": changed}))


def test_a_public_key_is_read_from_pem_and_its_algorithm_written_down():
    for signer in (RUNNER, p256_signer()):
        assert pem_public_key(signer.public_key.to_pem().encode()) == signer.public_key
    for junk in (b"", b"junk", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"x" * 9000):
        refused("BAD_KEY", pem_public_key, junk)
    weak = b64encode(bytes.fromhex("302a300506032b6570032100") + b"\x01" + bytes(31))
    refused("WEAK_KEY", pem_public_key, f"-----BEGIN PUBLIC KEY-----\n{weak}\n-----END PUBLIC KEY-----\n".encode())
