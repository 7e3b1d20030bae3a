"""Who may speak: thresholds over keys, chains of roots, and a keyring that a root vouches for."""

from __future__ import annotations

import dataclasses
import json

import pytest

from protocol.attestation.envelope import Envelope, Signature, pae
from protocol.attestation.jcs import dumps
from protocol.attestation.keyring import (
    KEYRING_PAYLOAD_TYPE,
    EnrolledKey,
    Keyring,
    Scope,
    open_keyring,
    parse_keyring,
    sign_keyring,
)
from protocol.attestation.root import (
    ROLES,
    build_root,
    parse_root,
    root_fingerprint,
    tuf_canonical,
    verify_chain,
)
from protocol.errors import VerificationError
from tests.unit.attestation.key_maker import ed_signer, p256_signer

OWNERS = [ed_signer(1), ed_signer(2), ed_signer(3)]
EXPIRES = "2030-01-01T00:00:00Z"


def make_root(version=1, owners=OWNERS, threshold=2, signers=None):
    roles = {role: ([owner.public_key for owner in owners], threshold) for role in ROLES}
    return build_root(version=version, expires=EXPIRES, roles=roles, signers=owners if signers is None else signers)


def refused(code, function, *args):
    with pytest.raises(VerificationError) as caught:
        function(*args)
    assert caught.value.code == code, str(caught.value)


def test_a_root_signed_by_two_of_three_is_a_root():
    root = parse_root(make_root(signers=OWNERS[:2]))
    assert root.version == 1
    assert root.roles["root"].threshold == 2


def test_a_root_may_have_p256_keys_whose_pem_has_newlines():
    owners = [ed_signer(1), p256_signer()]
    assert parse_root(make_root(owners=owners)).roles["root"].threshold == 2


def test_one_signature_of_three_is_below_the_threshold():
    refused("BELOW_THRESHOLD", parse_root, make_root(signers=OWNERS[:1]))


def test_one_key_that_signs_twice_counts_once():
    twice = make_root(signers=[OWNERS[0], OWNERS[0]])
    refused("NOT_CANONICAL", parse_root, twice)
    root = parse_root(make_root())
    pair = next(pair for pair in root.signatures)
    refused("BELOW_THRESHOLD", root.check_threshold, "root", [pair, pair], root.signed_bytes)


def test_one_key_under_two_ids_is_refused():
    value = json.loads(make_root(threshold=1, signers=OWNERS[:1]))
    first = OWNERS[0].public_key.key_id
    value["signed"]["keys"]["f" * 64] = value["signed"]["keys"][first]
    refused("BAD_KEY", parse_root, tuf_canonical(value))


def test_a_key_that_a_role_names_twice_is_refused():
    value = json.loads(make_root())
    ids = value["signed"]["roles"]["root"]["keyids"]
    value["signed"]["roles"]["root"]["keyids"] = [ids[0], ids[0]]
    refused("KEY_TWICE", parse_root, tuf_canonical(value))


def test_every_flipped_byte_of_a_root_is_noticed():
    data = make_root(signers=OWNERS[:2])
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(VerificationError):
            verify_chain([bytes(changed)], root_fingerprint(data))


def test_a_root_of_another_world_is_not_the_pinned_one():
    forged = make_root(owners=[ed_signer(7)], threshold=1)
    refused("UNTRUSTED_ROOT", verify_chain, [forged], root_fingerprint(make_root()))


def test_a_rotation_is_signed_by_the_old_threshold_and_the_new():
    first = make_root()
    heirs = [ed_signer(4), ed_signer(5)]
    second = make_root(version=2, owners=heirs, signers=[*heirs, *OWNERS[:2]])
    assert verify_chain([first, second], root_fingerprint(first)).version == 2
    usurped = make_root(version=2, owners=heirs)
    refused("BELOW_THRESHOLD", verify_chain, [first, usurped], root_fingerprint(first))
    third = make_root(version=3, owners=heirs, signers=[*heirs, *OWNERS[:2]])
    refused("ROOT_CHAIN", verify_chain, [first, third], root_fingerprint(first))
    stranger = make_root(signers=[*OWNERS, ed_signer(9)])
    refused("UNKNOWN_SIGNER", verify_chain, [stranger], root_fingerprint(stranger))


def make_keyring(keys=None):
    runner = EnrolledKey(
        key=ed_signer(10).public_key,
        role="runner",
        name="runner-1",
        organisation="operator",
        scope=Scope(runner_id="runner-1", devices=("GPU-1",), predicate_names=("campaign-plan",)),
        not_before="2026-01-01T00:00:00Z",
        not_after="2026-03-01T00:00:00Z",
        last_valid_index=None,
    )
    log = dataclasses.replace(runner, key=p256_signer().public_key, role="log", name="example/log", scope=None)
    return Keyring(version=3, issued_on="2026-01-01T00:00:00Z", policy_sha256="ab" * 32, keys=keys or (runner, log))


def test_a_keyring_is_read_as_it_was_written():
    keyring = make_keyring()
    root = parse_root(make_root())
    assert open_keyring(sign_keyring(keyring, OWNERS[1:]), root) == keyring
    assert keyring.find(ed_signer(10).public_key.key_id).name == "runner-1"
    assert keyring.find("0" * 64) is None


def test_a_keyring_below_its_threshold_by_strangers_or_twice_by_one_is_refused():
    root = parse_root(make_root())
    keyring = make_keyring()
    refused("BELOW_THRESHOLD", open_keyring, sign_keyring(keyring, OWNERS[:1]), root)
    refused("UNKNOWN_SIGNER", open_keyring, sign_keyring(keyring, [*OWNERS, ed_signer(9)]), root)
    refused("KEY_TWICE", open_keyring, sign_keyring(keyring, [OWNERS[0], OWNERS[0]]), root)


def test_one_signature_under_two_key_ids_does_not_make_two_keys():
    root = parse_root(make_root())
    payload = make_keyring().to_payload()
    signature = OWNERS[0].sign(pae(KEYRING_PAYLOAD_TYPE, payload))
    ids = sorted(owner.public_key.key_id for owner in OWNERS[:2])
    signatures = tuple(Signature(key_hint=key_id, signature=signature) for key_id in ids)
    envelope = Envelope(payload_type=KEYRING_PAYLOAD_TYPE, payload=payload, signatures=signatures)
    refused("BAD_SIGNATURE", open_keyring, dumps(envelope.to_json()), root)


def test_every_flipped_byte_of_a_keyring_is_noticed():
    root = parse_root(make_root())
    data = sign_keyring(make_keyring(), OWNERS[:2])
    for position in range(0, len(data), 3):
        changed = bytearray(data)
        changed[position] ^= 4
        with pytest.raises(VerificationError):
            open_keyring(bytes(changed), root)


def test_a_keyring_with_a_key_twice_a_weak_key_or_a_wrong_scope_is_refused():
    runner, log = make_keyring().keys
    refused("KEY_TWICE", parse_keyring, make_keyring((runner, runner)).to_payload())
    unscoped = dataclasses.replace(runner, scope=None)
    refused("BAD_FIELD", parse_keyring, make_keyring((unscoped,)).to_payload())
    refused("BAD_FIELD", parse_keyring, make_keyring((dataclasses.replace(log, scope=runner.scope),)).to_payload())
    value = json.loads(make_keyring((runner,)).to_payload())
    value["keys"][0]["algorithm"] = "ecdsa-p256-sha256"
    refused("KEY_ALGORITHM", parse_keyring, dumps(value))
