"""Attacks on who speaks: forged worlds, keyrings, policies, checkpoints, entries, signatures."""

from __future__ import annotations

import json

import pytest

from protocol.attestation.bundle import CHECKPOINT_PATH, KEYRING_PATH, POLICY_PATH, root_path, statement_path
from protocol.attestation.encoding import b64decode, b64encode
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, sign
from protocol.attestation.keyring import sign_keyring
from protocol.attestation.keys import PublicKey
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import Statement
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import Note, parse_note
from tests.worlds.tampering import edit_json, edit_payload, entry, statement_file
from tests.worlds.world import START, Key, Trust, World, cell, failed
from verifier.report import Status, Verdict


@pytest.fixture(name="world")
def _world():
    world = World()
    world.campaign()
    return world


@pytest.fixture(name="files")
def _files(world):
    return world.bundle()


def nothing_after_it_passed(report, check):
    names = [result.check for result in report.checks]
    rest = report.checks[names.index(check) + 1 :]
    return {result.status for result in rest} == {Status.NOT_CHECKED}


def test_a_whole_forged_world_under_its_own_root(world):
    forged = World(Trust(name="forger"))
    forged.campaign()
    assert forged.judge().verdict is Verdict.VERIFIED, "the forger's world is flawless in itself"
    report = forged.judge(root=world.pin)
    assert failed(report) == {("root", "UNTRUSTED_ROOT")}
    assert nothing_after_it_passed(report, "root")


def test_a_root_file_under_another_versions_name(world, files):
    files[root_path(2)] = files.pop(root_path(1))
    assert failed(world.judge(files)) == {("root", "ROOT_MISNAMED")}


def test_keyring_edited(world, files):
    def enrol_for_ever(envelope):
        keyring = json.loads(b64decode(envelope["payload"]))
        keyring["keys"][0]["notAfter"] = "2099-01-01T00:00:00Z"
        envelope["payload"] = b64encode(json.dumps(keyring, sort_keys=True, separators=(",", ":")).encode())

    edit_json(files, KEYRING_PATH, enrol_for_ever)
    report = world.judge(files)
    assert failed(report) == {("keyring", "BAD_SIGNATURE")}
    assert nothing_after_it_passed(report, "keyring")


def test_keyring_signature_missing(world, files):
    edit_json(files, KEYRING_PATH, lambda envelope: envelope["signatures"].clear())
    assert failed(world.judge(files)) == {("keyring", "BELOW_THRESHOLD")}


def test_keyring_signed_by_one_of_two():
    holders = Trust(root_holders=("a", "b", "c"), root_threshold=2)
    assert failed_with(holders, ("a",)) == {("keyring", "BELOW_THRESHOLD")}
    assert failed_with(holders, ("a", "b")) == set()


def failed_with(trust, signers):
    world = World(Trust(root_holders=trust.root_holders, root_threshold=trust.root_threshold, keyring_signers=signers))
    world.campaign()
    return failed(world.judge())


def test_one_key_counted_twice_in_the_keyring():
    trust = Trust(root_holders=("a", "b", "c"), root_threshold=2)
    world = World(trust)
    world.campaign()
    files = world.bundle()
    files[KEYRING_PATH] = sign_keyring(trust.keyring(), [trust.key("a"), trust.key("a")])
    assert failed(world.judge(files)) == {("keyring", "KEY_TWICE")}


def test_one_key_counted_twice_under_two_key_ids():
    trust = Trust(root_holders=("a", "b", "c"), root_threshold=2)
    world = World(trust)
    world.campaign()
    files = world.bundle()
    files[KEYRING_PATH] = sign_keyring(trust.keyring(), [trust.key("a"), trust.key("b")])

    def same_key_twice(envelope):
        first, second = envelope["signatures"]
        second["sig"] = first["sig"]

    edit_json(files, KEYRING_PATH, same_key_twice)
    assert failed(world.judge(files)) == {("keyring", "BAD_SIGNATURE")}


def test_policy_replaced_by_one_without_witnesses(world, files):
    files[POLICY_PATH] = f"log {world.trust.log.to_vkey()}\nquorum none\n".encode()
    report = world.judge(files)
    assert failed(report) == {("policy", "POLICY_REPLACED")}
    assert nothing_after_it_passed(report, "policy")


def test_policy_with_a_witness_that_the_keyring_does_not_have(world):
    class Sly(Trust):
        def policy(self):
            stranger = Trust(name="stranger").witness("mine")
            return b"log %s\nwitness w %s\nquorum w\n" % (self.log.to_vkey().encode(), stranger.to_vkey().encode())

    sly = World(Sly())
    sly.campaign()
    assert failed(sly.judge()) == {("policy", "KEY_NOT_ENROLLED")}


def test_cosignature_stripped_from_the_final_checkpoint(world, files):
    note = parse_note(files[CHECKPOINT_PATH])
    files[CHECKPOINT_PATH] = Note(text=note.text, signatures=note.signatures[:1]).to_bytes()
    assert failed(world.judge(files)) == {("log", "QUORUM")}


def test_cosignature_duplicated_to_make_a_quorum():
    world = World(Trust(witnesses=("a", "b", "c"), threshold=2))
    world.campaign()
    files = world.bundle()
    note = parse_note(files[CHECKPOINT_PATH])
    log, a, *_ = note.signatures
    files[CHECKPOINT_PATH] = Note(text=note.text, signatures=(log, a)).to_bytes()
    assert failed(world.judge(files)) == {("log", "QUORUM")}
    files[CHECKPOINT_PATH] = Note(text=note.text, signatures=(log, a, a)).to_bytes()
    assert failed(world.judge(files)) == {("log", "UNKNOWN_SIGNER")}


def test_log_signature_stripped(world, files):
    note = parse_note(files[CHECKPOINT_PATH])
    files[CHECKPOINT_PATH] = Note(text=note.text, signatures=note.signatures[1:]).to_bytes()
    assert failed(world.judge(files)) == {("log", "NOT_SIGNED_BY_LOG")}


@pytest.mark.parametrize("size", ["+4", "04", "4_0", "٤", "-4", "99999999999999999999"])
def test_malformed_sizes_in_the_checkpoint(world, files, size):
    text = parse_note(files[CHECKPOINT_PATH]).text.decode().split("\n")
    text[1] = size
    body = "\n".join(text).encode()
    lines = (world.trust.log.sign(body, world.trust.key("log")),)
    files[CHECKPOINT_PATH] = Note(text=body, signatures=lines).to_bytes()
    assert failed(world.judge(files)) == {("log", "MALFORMED_CHECKPOINT")}


def test_a_note_of_a_million_lines(world, files):
    files[CHECKPOINT_PATH] += "— x AAAAAAAA\n".encode() * 1_000_000
    assert failed(world.judge(files)) == {("log", "MALFORMED_NOTE")}


def test_the_log_rolled_back_behind_its_own_statements(world, files):
    fewer = World()
    fewer.log.entries = world.log.entries[:3]
    files[CHECKPOINT_PATH] = fewer.log.note(world.now).to_bytes()
    for path in [path for path in files if path.startswith("log/tile/")]:
        del files[path]
    files.update(fewer.log.tiles(0, 2))
    assert failed(world.judge(files)) == {("inclusion", "NOT_IN_FINAL_LOG")}


def test_the_log_forked_behind_a_statement(world, files):
    """The last statement is still there, but the history before it is another one."""
    forked = World()
    forked.log.entries = [b"something else", *world.log.entries[1:]]
    files[CHECKPOINT_PATH] = forked.log.note(world.now).to_bytes()
    files.update(forked.log.tiles(0, 3))
    assert failed(world.judge(files)) == {("inclusion", "NOT_IN_FINAL_LOG"), ("inclusion", "LOG_FORKED")}


@pytest.mark.parametrize("name", ["campaign-plan", "session-intent", "session-outcome", "campaign-result"])
def test_payload_edited(world, files, name):
    edit_payload(files, name, lambda statement: statement["predicate"]["runner"].update(bootId="boot-2"))
    report = world.judge(files)
    assert failed(report) == {("inclusion", "NOT_LOGGED")}
    assert nothing_after_it_passed(report, "inclusion")


def test_edited_and_signed_again_by_the_real_key_but_not_logged(world, files):
    outcome = next(said for said in world.said if said.name == "session-outcome")
    predicate = {**outcome.predicate, "finishedOn": "2023-11-14T23:37:00Z"}
    subject = world.said[0].predicate["image"]["configDigest"].removeprefix("sha256:")
    payload = Statement(predicate_name=outcome.name, subject_sha256=subject, predicate=predicate).to_payload()
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, payload, world.trust.runner)
    edit_json(files, statement_path(outcome.index, outcome.name), lambda b: b.update(dsseEnvelope=envelope.to_json()))
    assert failed(world.judge(files)) == {("inclusion", "NOT_LOGGED")}


def test_logged_under_a_key_that_nobody_enrolled():
    world = World()
    stranger = Key("stranger")
    plan = world.plan([cell()])
    predicate = {"runner": world.link(), "campaign": plan.statement_id}
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, b"{}", stranger)
    world.say_envelope("session-intent", envelope, predicate, key=stranger.public_key)
    assert failed(world.judge()) == {("inclusion", "UNKNOWN_KEY")}


def test_a_signature_that_the_logged_key_did_not_make():
    world = World()
    payload = Statement(predicate_name="campaign-plan", subject_sha256="0" * 64, predicate={}).to_payload()
    world.say_envelope("campaign-plan", sign(IN_TOTO_PAYLOAD_TYPE, payload, Key("thief")), {})
    assert failed(world.judge()) == {("signatures", "BAD_SIGNATURE")}


def test_a_statement_signed_by_the_logs_key():
    trust = Trust()
    world = World(trust)
    payload = Statement(predicate_name="campaign-plan", subject_sha256="0" * 64, predicate={}).to_payload()
    envelope = sign(IN_TOTO_PAYLOAD_TYPE, payload, trust.key("log"))
    world.say_envelope("campaign-plan", envelope, {}, key=trust.key("log").public_key)
    assert failed(world.judge()) == {("signatures", "WRONG_ROLE")}


def test_a_key_outside_its_window():
    for name in ("runner", "log", "witness-operator"):
        world = World(Trust(not_before={name: START + 2}))
        world.campaign()
        assert failed(world.judge()) == {("signatures", "KEY_NOT_IN_FORCE")}, name


def test_a_key_that_was_revoked_before_it_signed():
    world = World(Trust(last_valid_index=2))
    world.campaign()
    assert failed(world.judge()) == {("signatures", "KEY_REVOKED")}


def test_a_key_that_was_revoked_afterwards_leaves_old_results_true():
    world = World(Trust(last_valid_index=3))
    world.campaign()
    assert world.judge().verdict is Verdict.VERIFIED


def test_a_key_outside_its_scope():
    world = World(Trust(scope_names=("campaign-plan", "session-intent", "session-outcome")))
    world.campaign()
    assert failed(world.judge()) == {("statements", "OUT_OF_SCOPE")}


def test_a_device_outside_the_keys_scope():
    world = World()
    world.campaign(edit={"campaign-plan": lambda plan: plan.update(devices=[{"uuid": "GPU-1", "name": "a GPU"}])})
    assert failed(world.judge()) == {("statements", "DEVICE_OUT_OF_SCOPE")}


def test_algorithm_swap(world, files):
    """A P-256 key's details in the log entry cannot make the verifier read the enrolled key as another algorithm."""

    def swap(bundle):
        leaf = json.loads(b64decode(entry(bundle)["canonicalizedBody"]))
        leaf["spec"]["hashedRekordV002"]["signature"]["verifier"]["keyDetails"] = "PKIX_ECDSA_P256_SHA_256"
        entry(bundle)["canonicalizedBody"] = b64encode(json.dumps(leaf, sort_keys=True, separators=(",", ":")).encode())

    edit_json(files, statement_file(files, "campaign-plan"), swap)
    assert failed(world.judge(files)) == {("inclusion", "KEY_ALGORITHM")}


def test_small_order_key_in_the_keyring(world):
    weak = bytes([1]) + bytes(31)

    class Weak(Trust):
        def keyring(self):
            keyring = super().keyring()
            spki = bytes.fromhex("302a300506032b6570032100") + weak
            key = PublicKey(algorithm=keyring.keys[0].key.algorithm, spki=spki)
            object.__setattr__(keyring.keys[0], "key", key)
            return keyring

    sly = World(Weak())
    sly.campaign()
    assert failed(sly.judge()) == {("keyring", "WEAK_KEY")}


def test_leaf_index_aliasing(world):
    """Leaf 4 of 5 has a proof that passes as leaf 2 of 3, if the proof is believed about the size."""
    world.log.entries.append(b"a fifth entry")
    tree = Tree(leaf_hash(each) for each in world.log.entries)
    honest = parse_sigstore_bundle(world.statements[statement_path(3, "campaign-result")])
    proof = tree.inclusion(4, 5)
    assert len(proof) == len(Tree(tree.levels[0][:3]).inclusion(2, 3)), "the two paths have one shape"
    note = world.log.note(world.now)
    files = world.bundle(0, 3)

    def alias(bundle):
        logged = entry(bundle)
        logged["logIndex"] = "2"
        logged["inclusionProof"].update(
            logIndex="2",
            treeSize="3",
            rootHash=b64encode(tree.root()),
            hashes=[b64encode(item) for item in proof],
            checkpoint={"envelope": note.to_bytes().decode()},
        )

    edit_json(files, statement_path(3, "campaign-result"), alias)
    assert honest.entry.log_index == 3
    assert failed(world.judge(files)) == {("inclusion", "BAD_PROOF")}


def test_a_statement_moved_to_another_index_by_its_name(world, files):
    files[statement_path(7, "campaign-result")] = files.pop(statement_path(3, "campaign-result"))
    assert failed(world.judge(files)) == {("inclusion", "OTHER_INDEX")}


def test_a_statements_own_checkpoint_without_its_quorum():
    world = World()
    world.campaign()
    path = statement_path(1, "session-intent")
    bundle = parse_sigstore_bundle(world.statements[path])
    bare = world.log.note(world.now, size=2, witnesses=())
    world.statements[path] = world.file(bundle.envelope, bundle.entry.body, 1, bare, size=2).to_bytes()
    assert failed(world.judge()) == {("inclusion", "QUORUM")}


def test_a_policy_that_asks_no_witness():
    class Lonely(Trust):
        def policy(self):
            return f"log {self.log.to_vkey()}\nquorum none\n".encode()

    world = World(Lonely(witnesses=()))
    world.campaign()
    assert failed(world.judge()) == {("policy", "NO_QUORUM")}


def test_a_cosignature_from_beyond_the_calendar(world, files):
    files[CHECKPOINT_PATH] = world.log.note(10**15).to_bytes()
    assert failed(world.judge(files)) == {("log", "WITNESS_TIME")}


def test_a_checkpoint_whose_tree_the_bundle_cannot_show(world):
    """The checkpoint is of a tree between the statement and the end, and the tiles between are absent."""
    path = statement_path(3, "campaign-result")
    bundle = parse_sigstore_bundle(world.statements[path])
    world.log.entries += [b"another runner's entry"] * 300
    late = world.log.note(world.now)
    world.statements[path] = world.file(bundle.envelope, bundle.entry.body, 3, late).to_bytes()
    world.log.entries += [b"another runner's entry"] * 300
    assert failed(world.judge(world.bundle(0, 3))) == {("inclusion", "LOG_INCOMPLETE")}


def test_a_tile_that_belongs_to_another_log(world, files):
    path = next(path for path in files if path.startswith("log/tile/0/"))
    files[path] = bytes(len(files[path]))
    assert failed(world.judge(files)) == {("log", "BAD_ROOT")}


def test_every_failure_says_what_was_found_what_was_expected_and_what_to_do(world, files):
    files[KEYRING_PATH] = b"{}"
    failure = next(result for result in world.judge(files).checks if result.status is Status.FAILED)
    assert all((failure.code, failure.observed, failure.expected, failure.next, failure.detail))
