"""The rules of a ceremony, without its commands: what may follow what, and what every refusal is called."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest

from orchestrator.record import ceremony
from orchestrator.record.ceremony_files import (
    PolicyFile,
    add_signature,
    follow,
    governing_root,
    needs,
    read_file,
)
from protocol.attestation.digest import sha256_hex
from protocol.attestation.jcs import dumps
from protocol.attestation.keyring import sign_keyring
from protocol.attestation.moment import parse_moment
from protocol.attestation.root import ROLES, build_root, parse_root
from protocol.errors import JoulesealError, UsageError, VerificationError
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.policy import build_policy
from tests.unit.attestation.key_maker import ed_signer, p256_signer
from tests.unit.record.ceremony_world import (
    HOLDERS,
    LATER,
    change_files,
    enrolment,
    grow,
    own_root,
    proof_of,
    put,
    rotation,
    sign_all,
    trust_at,
)
from tests.unit.record.record_world import new_domain

GUEST = ed_signer(20)


@pytest.fixture(name="home")
def _home(tmp_path):
    return new_domain(tmp_path / "home").home


@pytest.fixture(name="trust")
def _trust(home):
    return trust_at(home)


def refused(code, function, *args, **kwargs):
    with pytest.raises(JoulesealError) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code, str(caught.value)
    return caught.value


def enrolled(trust, signer=GUEST, **changes):
    asked = enrolment(**changes)
    return ceremony.enrol(trust, proof_of(signer, trust, asked.role), asked, LATER)


# Roots.


def test_a_first_root_needs_its_own_threshold_and_is_then_a_root():
    draft = ceremony.draft_root(None, [holder.public_key for holder in HOLDERS], 2, LATER, 365)
    (one,) = sign_all([draft], [HOLDERS[0]], None)
    (need,) = needs(one, None, None)
    assert (len(need.signed), need.threshold, need.met) == (1, 2, False)
    refused("BELOW_THRESHOLD", parse_root, one.data)
    (two,) = sign_all([one.data], [HOLDERS[0], HOLDERS[2]], None)
    assert parse_root(two.data).version == 1
    assert needs(two, None, None)[0].met


def test_the_next_root_needs_the_holders_before_it_and_its_own(home, trust):
    draft = ceremony.draft_root(trust, [holder.public_key for holder in HOLDERS], 2, LATER, 365)
    keyring = ceremony.reissue(trust, LATER).keyring_draft()
    for signers in ([own_root(home), HOLDERS[0]], list(HOLDERS)):
        files = sign_all([draft, keyring], signers, trust)
        refused("BELOW_THRESHOLD", follow, trust, files)
    files = sign_all([draft, keyring], [own_root(home), *HOLDERS[1:]], trust)
    after, event = follow(trust, files)
    assert (after.root.version, after.keyring.version, event) == (2, 2, None)
    assert after.domain == trust.domain


def test_a_root_that_leaves_out_a_version_or_begins_another_chain_is_refused(home, trust):
    keys = [holder.public_key for holder in HOLDERS]
    roles = dict.fromkeys(ROLES, (keys, 2))
    far = build_root(version=3, expires="2030-01-01T00:00:00Z", roles=roles, signers=[own_root(home), *HOLDERS])
    keyring = ceremony.reissue(trust, LATER).keyring_draft()
    files = [read_file(far), *sign_all([keyring], [], trust)]
    refused("ROOT_CHAIN", follow, trust, files)


@pytest.mark.parametrize(
    ("holders", "threshold", "days", "code"),
    [
        ([], 1, 365, "BAD_THRESHOLD"),
        (HOLDERS, 0, 365, "BAD_THRESHOLD"),
        (HOLDERS, 4, 365, "BAD_THRESHOLD"),
        ([ed_signer(n) for n in range(1, 18)], 2, 365, "BAD_THRESHOLD"),
        ([HOLDERS[0], HOLDERS[0]], 2, 365, "KEY_TWICE"),
        (HOLDERS, 2, 0, "BAD_WINDOW"),
        (HOLDERS, 2, 1097, "BAD_WINDOW"),
    ],
)
def test_a_root_that_cannot_be_meant_is_not_drafted(holders, threshold, days, code):
    refused(code, ceremony.draft_root, None, [holder.public_key for holder in holders], threshold, LATER, days)


def test_only_a_holder_signs_and_a_signature_that_does_not_hold_is_seen(home, trust):
    draft = ceremony.draft_root(trust, [holder.public_key for holder in HOLDERS], 2, LATER, 365)
    keyring = enrolled(trust).keyring_draft()
    for data in (draft, keyring):
        refused("NOT_A_HOLDER", add_signature, read_file(data), GUEST, trust, governing_root(trust, []))
    refused("NO_ROOT", add_signature, read_file(keyring), GUEST, None, None)
    (signed,) = sign_all([keyring], [own_root(home)], trust)
    broken = json.loads(signed.data)
    other = json.loads(sign_keyring(trust.keyring, [own_root(home)]))
    broken["signatures"][0]["sig"] = other["signatures"][0]["sig"]
    error = refused("BAD_SIGNATURE", needs, read_file(dumps(broken)), trust, trust.root)
    assert "before this signature" in error.hint


def test_signing_twice_changes_nothing_and_a_policy_has_no_signature(home, trust):
    for data in change_files(enrolled(trust)):
        (once,) = sign_all([data], [own_root(home)], trust)
        assert add_signature(once, own_root(home), trust, trust.root) == once.data
    assert add_signature(PolicyFile(trust.policy_bytes), GUEST, trust, trust.root) == trust.policy_bytes


def test_whatever_has_a_public_key_and_signs_can_be_a_holder(home, trust):
    """A token or a key service needs no more than `Signer`; here it is a key on P-256 that no file holds."""
    token = p256_signer()
    files = [
        ceremony.draft_root(trust, [token.public_key], 1, LATER, 365),
        ceremony.reissue(trust, LATER).keyring_draft(),
    ]
    after, _ = follow(trust, sign_all(files, [own_root(home), token], trust))
    assert after.root.roles["root"].key_ids == (token.public_key.key_id,)


# Enrolment.


@pytest.mark.parametrize("role", ["vendor", "auditor", "witness", "log"])
def test_a_key_is_enrolled_in_its_role_without_a_scope(home, trust, role):
    done = put(home, enrolled(trust, role=role, name="guest"), [own_root(home)])
    key = trust_at(home).keyring.find(GUEST.public_key.key_id)
    assert (key.role, key.name, key.organisation, key.scope) == (role, "guest", "Audit House", None)
    assert done.event_index == 0


def test_a_runner_is_enrolled_with_its_devices_for_at_most_ninety_days(home, trust):
    change = enrolled(trust, role="runner", name="runner-2", devices=("GPU-2",), days=90)
    put(home, change, [own_root(home)])
    key = trust_at(home).keyring.find(GUEST.public_key.key_id)
    assert (key.scope.runner_id, key.scope.devices) == ("runner-2", ("GPU-2",))
    refused("BAD_WINDOW", enrolled, trust, role="runner", name="runner-2", days=91)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"days": 0}, "BAD_WINDOW"),
        ({"days": 366}, "BAD_WINDOW"),
        ({"role": "runner", "name": "machine"}, "BAD_NAME"),
        ({"role": "runner", "name": "runner-1"}, "NAME_TAKEN"),
        ({"role": "runner", "name": "runner-2", "devices": ("cpu:0",)}, "DEVICE_TAKEN"),
        ({"devices": ("GPU-2",)}, "BAD_SCOPE"),
        ({"predicate_names": ("campaign-plan",)}, "BAD_SCOPE"),
        ({"name": "two\nlines"}, "BAD_REASON"),
    ],
)
def test_an_enrolment_that_does_not_fit_is_refused(trust, changes, code):
    refused(code, enrolled, trust, **changes)


def test_without_a_proof_for_this_role_and_domain_nothing_is_enrolled(trust):
    asked = enrolment()
    error = refused("NO_PROOF", ceremony.enrol, trust, GUEST.public_key.to_pem().encode(), asked, LATER)
    assert isinstance(error, UsageError)
    assert f"--domain sha256:{trust.domain}" in error.hint
    for proof in (proof_of(GUEST, trust, "vendor"), ceremony_proof_for(GUEST, "ab" * 32)):
        refused("OTHER_PURPOSE", ceremony.enrol, trust, proof, asked, LATER)
    stolen = json.loads(proof_of(GUEST, trust))
    stolen["signatures"] = json.loads(proof_of(ed_signer(21), trust))["signatures"]
    refused("BAD_SIGNATURE", ceremony.enrol, trust, dumps(stolen), asked, LATER)
    refused("MALFORMED_JSON", ceremony.enrol, trust, b"no proof", asked, LATER)


def ceremony_proof_for(signer, domain):
    return proof_of(signer, type("Elsewhere", (), {"domain": domain})())


def test_a_key_that_stands_somewhere_already_is_refused(home, trust):
    put(home, enrolled(trust), [own_root(home)])
    now = trust_at(home)
    refused("KEY_TWICE", enrolled, now, name="another")
    refused("KEY_TWICE", enrolled, now, signer=own_root(home), name="another")


def test_a_small_order_key_is_refused_before_its_signature_is_looked_at(trust):
    proof = json.loads(proof_of(GUEST, trust))
    from protocol.attestation.encoding import b64decode, b64encode  # noqa: PLC0415

    payload = json.loads(b64decode(proof["payload"]))
    weak = bytes.fromhex("302a300506032b6570032100") + b"\x01" + bytes(31)
    payload |= {"publicKey": b64encode(weak), "keyId": sha256_hex(weak)}
    proof["payload"] = b64encode(dumps(payload))
    refused("WEAK_KEY", ceremony.enrol, trust, dumps(proof), enrolment(), LATER)


# Policies.


def outside(number):
    return WitnessKey(name=f"audit.example/w{number}", public_key=ed_signer(number).public_key)


def test_a_witness_comes_into_the_quorum_with_its_enrolment(home, trust):
    policy = build_policy(log=trust.policy.log, witnesses={**trust.policy.witnesses, "audit": outside(30)}, threshold=1)
    asked = enrolment(role="witness", name="audit.example/w30")
    change = ceremony.enrol(trust, proof_of(ed_signer(30), trust, "witness"), asked, LATER, policy)
    refused("POLICY_REPLACED", put, home, change, [own_root(home)])
    put(home, change, [own_root(home)], policy=True)
    assert set(trust_at(home).policy.witnesses) == {"operator", "audit"}


@pytest.mark.parametrize("wrong", ["not enrolled", "other name", "no operator", "other log", "no quorum"])
def test_a_policy_that_the_domain_cannot_follow_is_refused(trust, wrong):
    witnesses = {**trust.policy.witnesses, "audit": outside(30)}
    log = trust.policy.log
    asked = enrolment(role="witness", name="audit.example/w30")
    if wrong == "not enrolled":
        witnesses["more"] = outside(31)
    if wrong == "other name":
        asked = dataclasses.replace(asked, name="audit.example/other")
    if wrong == "no operator":
        del witnesses["operator"]
    if wrong == "other log":
        log = dataclasses.replace(log, public_key=ed_signer(40).public_key)
    policy = build_policy(log=log, witnesses=witnesses, threshold=1)
    if wrong == "no quorum":
        policy = policy.replace(b"quorum quorum-group", b"quorum none")
    proof = proof_of(ed_signer(30), trust, "witness")
    refused("POLICY_UNFIT", ceremony.enrol, trust, proof, asked, LATER, policy)


# Renewal.


def test_the_key_of_the_log_is_renewed_year_after_year(home, trust):
    log = trust.keyring.in_role("log")[0]
    for year in (1, 2):
        now = LATER + timedelta(days=300 * year)
        before = trust_at(home)
        change = ceremony.renew(before, before.keyring.find(log.key.key_id), now=now, days=365)
        put(home, change, [own_root(home)])
        key = trust_at(home).keyring.find(log.key.key_id)
        assert parse_moment(key.not_after) == now + timedelta(days=365)
        assert dataclasses.replace(key, not_after=log.not_after) == log
    assert (change.event.event, change.event.last_valid_index) == ("renewed", None)


def test_a_runner_an_ended_key_and_a_shorter_window_are_not_renewed(home, trust):
    runner, log = ceremony.find_key(trust.keyring, "runner-1"), trust.keyring.in_role("log")[0]
    refused("A_RUNNER", ceremony.renew, trust, runner, now=LATER, days=90)
    refused("BAD_WINDOW", ceremony.renew, trust, log, now=LATER, days=364)
    refused("BAD_WINDOW", ceremony.renew, trust, log, now=LATER + timedelta(days=30), days=366)
    put(home, enrolled(trust), [own_root(home)])
    now = trust_at(home)
    put(
        home,
        ceremony.revoke(now, ceremony.find_key(now.keyring, "audit-house"), 0, reason="x", now=LATER),
        [own_root(home)],
    )
    now = trust_at(home)
    gone = now.keyring.find(GUEST.public_key.key_id)
    refused("REVOKED_ALREADY", ceremony.renew, now, gone, now=LATER + timedelta(days=300), days=365)


# Rotation and revocation.


def test_a_rotation_ends_one_key_and_begins_another_with_the_same_scope(home, trust):
    old = ceremony.find_key(trust.keyring, "runner-1")
    change, successor = rotation(home, 7)
    ended, heir = change.keyring.find(old.key.key_id), change.keyring.find(successor.public_key.key_id)
    assert dataclasses.replace(ended, last_valid_index=None) == old
    assert ended.last_valid_index == change.event.last_valid_index == 7
    assert (heir.scope, heir.name, heir.organisation, heir.last_valid_index) == (
        old.scope,
        old.name,
        old.organisation,
        None,
    )
    assert change.event.successor == heir.key.key_id


def test_what_is_no_runner_is_not_rotated_and_a_window_is_at_most_ninety_days(trust):
    runner = ceremony.find_key(trust.keyring, "runner-1")
    proof = proof_of(GUEST, trust, "runner")
    facts = {"reason": "x", "now": LATER}
    refused("NOT_A_RUNNER", ceremony.rotate, trust, trust.keyring.in_role("log")[0], proof, 0, days=90, **facts)
    refused("BAD_WINDOW", ceremony.rotate, trust, runner, proof, 0, days=91, **facts)
    refused("OTHER_PURPOSE", ceremony.rotate, trust, runner, proof_of(GUEST, trust), 0, days=90, **facts)
    refused("BAD_REASON", ceremony.rotate, trust, runner, proof, 0, days=90, reason="two\nlines", now=LATER)


def test_a_revocation_is_made_once_and_only_ever_earlier(home, trust):
    key = ceremony.find_key(trust.keyring, "runner-1")
    put(home, ceremony.revoke(trust, key, 5, reason="stolen", now=LATER), [own_root(home)])
    now = trust_at(home)
    gone = now.keyring.find(key.key.key_id)
    refused("REVOKED_ALREADY", ceremony.revoke, now, gone, 5, reason="again", now=LATER)
    refused("REVOKED_ALREADY", ceremony.revoke, now, gone, 6, reason="again", now=LATER)
    assert ceremony.revoke(now, gone, 3, reason="stolen earlier", now=LATER).event.last_valid_index == 3
    later = ceremony.rotate(now, gone, proof_of(GUEST, now, "runner"), 9, reason="x", now=LATER, days=90)
    assert later.keyring.find(key.key.key_id).last_valid_index == 5


def test_the_key_of_the_log_is_not_revoked(trust):
    log = trust.keyring.in_role("log")[0]
    refused("LOG_KEY", ceremony.revoke, trust, log, 0, reason="x", now=LATER)


def test_keys_are_found_by_name_by_id_and_by_the_beginning_of_one(home, trust):
    key = ceremony.find_key(trust.keyring, "runner-1")
    assert ceremony.find_key(trust.keyring, key.key.key_id) == key
    assert ceremony.find_key(trust.keyring, key.key.key_id[:8]) == key
    for text in ("runner-2", "", key.key.key_id[:7], "zz"):
        refused("NO_SUCH_KEY", ceremony.find_key, trust.keyring, text)
    put(home, enrolled(trust, role="vendor", name="runner-1"), [own_root(home)])
    refused("WHICH_KEY", ceremony.find_key, trust_at(home).keyring, "runner-1")


# One step after another.


def test_a_keyring_that_undoes_forgets_or_alters_is_refused(home, trust):
    root = own_root(home)
    key = ceremony.find_key(trust.keyring, "runner-1")
    put(home, ceremony.revoke(trust, key, 5, reason="stolen", now=LATER), [root])
    now = trust_at(home)
    ended = now.keyring.find(key.key.key_id)
    others = tuple(item for item in now.keyring.keys if item != ended)
    longer = (LATER + timedelta(days=91)).strftime("%Y-%m-%dT%H:%M:%SZ")
    new = dataclasses.replace(ended, key=GUEST.public_key, last_valid_index=None, not_after=longer)
    for keys, version in (
        (others, 3),
        ((*others, dataclasses.replace(ended, last_valid_index=None)), 3),
        ((*others, dataclasses.replace(ended, last_valid_index=6)), 3),
        ((*others, dataclasses.replace(ended, name="runner-9")), 3),
        ((*others, dataclasses.replace(ended, organisation="another")), 3),
        ((ended, *others, new), 3),
        ((dataclasses.replace(ended, not_after=longer), *others), 3),
        ((ended, *(dataclasses.replace(item, not_after="2026-04-01T12:00:00Z") for item in others)), 3),
        ((ended, *(dataclasses.replace(item, not_after="2030-04-01T12:00:00Z") for item in others)), 3),
        ((ended, *others), 2),
        ((ended, *others), 4),
    ):
        keyring = dataclasses.replace(now.keyring, version=version, keys=keys)
        refused("CHANGE_REFUSED", follow, now, [read_file(sign_keyring(keyring, [root]))])


def test_a_step_is_one_keyring_and_the_event_that_tells_its_change(home, trust):
    change = enrolled(trust)
    keyring, event = sign_all(change_files(change), [own_root(home)], trust)
    refused("CHANGE_REFUSED", follow, trust, [event])
    refused("CHANGE_REFUSED", follow, trust, [keyring, keyring, event])
    refused("EVENT_MISSING", follow, trust, [keyring])
    other = sign_all(change_files(enrolled(trust, name="another", signer=ed_signer(21))), [own_root(home)], trust)
    refused("BAD_SUBJECT", follow, trust, [keyring, other[1]])
    unsigned = read_file(change.event_draft())
    refused("BAD_SIGNATURE_COUNT", follow, trust, [keyring, unsigned])
    unsigned_keyring = read_file(change.keyring_draft())
    refused("BELOW_THRESHOLD", follow, trust, [unsigned_keyring, event])
    after, _ = follow(trust, [event, keyring])
    assert after.keyring == change.keyring


def test_a_second_key_that_no_event_tells_is_not_slipped_in(home, trust):
    change = enrolled(trust)
    hidden = dataclasses.replace(change.keyring.keys[-1], key=ed_signer(22).public_key, name="hidden")
    keyring = dataclasses.replace(change.keyring, keys=(*change.keyring.keys, hidden))
    slipped = dataclasses.replace(change, keyring=keyring)
    files = sign_all(change_files(slipped), [own_root(home)], trust)
    refused("EVENT_MISSING", follow, trust, files)


def test_a_domain_under_three_holders_takes_two_of_them_for_every_step(home):
    grow(home)
    trust = trust_at(home)
    refused("BELOW_THRESHOLD", put, home, enrolled(trust), [own_root(home), HOLDERS[0]])
    put(home, enrolled(trust), [HOLDERS[0], HOLDERS[2]])
    assert trust_at(home).keyring.version == 3
    assert len(trust_at(home).roots) == 2


def test_a_policy_that_holders_signed_and_the_domain_cannot_follow_is_refused_at_the_end_too(home, trust):
    policy = build_policy(log=trust.policy.log, witnesses={"audit": outside(30)}, threshold=1)
    change = enrolled(trust)
    change = dataclasses.replace(
        change,
        keyring=dataclasses.replace(change.keyring, policy_sha256=sha256_hex(policy)),
        policy_bytes=policy,
    )
    files = sign_all(change_files(change, policy=True), [own_root(home)], trust)
    refused("POLICY_UNFIT", follow, trust, files)


def test_junk_is_none_of_the_four_files(trust):
    for data in (b"{", b'{"signatures":[]}', b'{"payloadType":"application/vnd.in-toto+json"}', b"[]\n"):
        with pytest.raises(VerificationError):
            follow(trust, [read_file(data), read_file(trust.keyring_bytes)])
