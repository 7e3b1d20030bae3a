"""After a ceremony the work goes on: the runner speaks with its next key, and every bundle verifies, old and new."""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import UTC, datetime

import pytest

from orchestrator.record import ceremony
from orchestrator.record.bundle import export
from orchestrator.record.ceremony_files import read_file
from orchestrator.record.ceremony_home import install
from orchestrator.record.domain import create, open_domain, runner_key_path
from orchestrator.record.keys import FileSigner, new_key, save_key
from orchestrator.record.log import read_entries
from orchestrator.record.registrar import Registrar
from orchestrator.record.store import EvidenceStore
from protocol.attestation.digest import sha256_hex
from protocol.attestation.key_event import parse_key_statement
from protocol.attestation.possession import prove
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.verify_txt import verify_text
from protocol.errors import JoulesealError, RecordUnsound
from protocol.tlog.leaf import parse_leaf
from tests.unit.attestation import statements
from tests.unit.attestation.key_maker import ed_signer
from tests.unit.record.ceremony_world import (
    HOLDERS,
    LATER,
    change_files,
    clock,
    digest_of,
    enrolment,
    grow,
    own_root,
    proof_of,
    rotation,
    sign_all,
    trust_at,
)
from tests.unit.record.record_world import campaign, evidence_of, new_domain, record_plan, registrar, steps
from tests.worlds.world import IMAGE, START, Said, Trust, World, codes
from verifier.demands import Demands, root_pin
from verifier.verify import verify_path


@pytest.fixture(name="home")
def _home(tmp_path):
    return new_domain(tmp_path / "home").home


def rotate(home, last, signers=None, now=LATER, at=clock):
    change, successor = rotation(home, last, now)
    files = sign_all(change_files(change), signers or [own_root(home)], trust_at(home))
    return install(home, files, successor=successor, clock=at), successor


def refused(code, function, *args, **kwargs):
    with pytest.raises(JoulesealError) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code, str(caught.value)


# The runner's next key.


def test_a_rotated_runner_speaks_with_its_next_key_in_a_chain_of_its_own(home):
    first = campaign(open_domain(home))
    done, successor = rotate(home, first[-1].index)
    assert done.event_index == first[-1].index + 1
    second = campaign(open_domain(home))
    assert [item.index for item in second] == [5, 6, 7, 8]
    with registrar(open_domain(home)) as voice:
        ours = [item.predicate.runner for item in voice.history]
        assert [link.seq for link in ours] == [1, 2, 3, 4, 1, 2, 3, 4]
        assert {link.key_id for link in ours[4:]} == {successor.public_key.key_id}
        chain = voice.vendor_chain("acme", "digits")
        assert (chain.seq, chain.prev_plan) == (3, second[0].statement_id)
        assert voice.history[4].predicate.prev_plan == first[0].statement_id
    assert parse_leaf(read_entries(home / "log")[4]).key == own_root(home).public_key


def test_the_old_key_may_be_destroyed_and_the_next_be_rotated_again(home):
    campaign(open_domain(home))
    _, second = rotate(home, 3)
    (home / "keys" / "runner.pem").chmod(0o644)  # nobody looks at it any more
    campaign(open_domain(home))
    (home / "keys" / "runner.pem").unlink()
    _, third = rotate(home, 8)
    runner_key_path(home, second.public_key.key_id).unlink()
    assert open_domain(home).runner.key == third.public_key
    campaign(open_domain(home))
    runner_key_path(home, third.public_key.key_id).unlink()
    refused("KEY_MISSING", open_domain, home)


def test_a_key_file_that_no_keyring_names_is_passed_over(home):
    change, successor = rotation(home, 0)
    save_key(successor, runner_key_path(home, successor.public_key.key_id))
    assert open_domain(home).runner.key != successor.public_key
    assert change.keyring.version == 2
    (home / "keys" / "runner-0000000000000000.pem").write_text("somebody's")
    campaign(open_domain(home))


def test_a_revoked_runner_signs_nothing_more_until_it_has_another_key(home):
    said = campaign(open_domain(home))
    trust = trust_at(home)
    key = ceremony.find_key(trust.keyring, "runner-1")
    change = ceremony.revoke(trust, key, said[-1].index, reason="the machine was stolen", now=LATER)
    done = install(home, sign_all(change_files(change), [own_root(home)], trust), clock=clock)
    with registrar(open_domain(home)) as voice:
        refused("KEY_REVOKED", record_plan, voice, evidence_of(home))
        assert len(voice.history) == 4
    trust = trust_at(home)
    successor = ed_signer(50)
    proof = prove(successor, "runner", trust.domain)
    ended = trust.keyring.find(key.key.key_id)
    back = ceremony.rotate(trust, ended, proof, done.event_index, reason="a new machine", now=LATER, days=90)
    files = sign_all(change_files(back), [own_root(home)], trust)
    refused("KEY_MISSING", install, home, files, clock=clock)
    save_key(FileSigner(successor.key), runner_key_path(home, successor.public_key.key_id))
    install(home, files, clock=clock)
    assert campaign(open_domain(home))[0].index == done.event_index + 2


def test_no_key_is_replaced_under_an_open_campaign_or_an_unfinished_batch(home):
    with registrar(open_domain(home)) as voice:
        record_plan(voice, evidence_of(home))
    before = digest_of(home)
    refused("CAMPAIGN_OPEN", rotate, home, 0)
    assert digest_of(home) == before
    finished = new_domain(home.parent / "other").home
    campaign(open_domain(finished))
    (finished / "batch.json").write_text("{}")
    refused("CAMPAIGN_OPEN", rotate, finished, 3)
    (finished / "batch.json").unlink()
    rotate(finished, 3)


def test_a_rotation_that_was_drafted_before_the_runner_went_on_is_refused(home):
    campaign(open_domain(home))
    change, successor = rotation(home, 3)
    campaign(open_domain(home))
    files = sign_all(change_files(change), [own_root(home)], trust_at(home))
    before = digest_of(home)
    refused("KEY_USED_SINCE", install, home, files, successor=successor, clock=clock)
    assert digest_of(home) == before


def test_the_same_step_is_not_installed_twice_and_not_while_the_log_is_held(home):
    change, successor = rotation(home, 0)
    files = sign_all(change_files(change), [own_root(home)], trust_at(home))
    with registrar(open_domain(home)):
        refused("LOG_BUSY", install, home, files, successor=successor, clock=clock)
    install(home, files, successor=successor, clock=clock)
    refused("CHANGE_REFUSED", install, home, files, clock=clock)


def test_a_dry_run_checks_everything_and_writes_nothing(home):
    change, _ = rotation(home, 0)
    files = sign_all(change_files(change), [own_root(home)], trust_at(home))
    before = digest_of(home)
    assert install(home, files, dry_run=True).trust.keyring == change.keyring
    unsigned = [read_file(data) for data in change_files(change)]
    refused("BELOW_THRESHOLD", install, home, unsigned, dry_run=True)
    assert digest_of(home) == before


# The key event in the log.


def test_the_key_event_is_in_the_log_under_a_holders_key_and_says_what_happened(home):
    campaign(open_domain(home))
    done, successor = rotate(home, 3)
    (path,) = (home / "key-events").iterdir()
    assert path.name == "00000004-key-event.sigstore.json"
    filed = parse_sigstore_bundle(path.read_bytes())
    filed.envelope.verify(own_root(home).public_key)
    stated = parse_key_statement(filed.envelope.payload)
    assert (stated.event.event, stated.event.last_valid_index) == ("rotated", 3)
    assert stated.event.successor == successor.public_key.key_id
    assert read_entries(home / "log")[done.event_index] == filed.entry.body


def test_an_event_that_was_changed_while_it_waited_is_not_logged(home):
    rotate(home, 0)
    (path,) = (home / "key-events").iterdir()
    envelope = json.loads(path.read_bytes())["dsseEnvelope"]
    envelope["signatures"][0]["keyid"] = "ab" * 32
    (home / "key-events" / "pending.json").write_text(json.dumps(envelope, separators=(",", ":"), sort_keys=True))
    with pytest.raises(RecordUnsound) as caught, registrar(open_domain(home)):
        pass
    assert caught.value.code == "STATEMENT_LOST"


# Interruptions.


class Crash(BaseException):
    """The machine stops here."""


def crash_at(patch, step):
    left = [step]
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def counted(*args, real=real, **kwargs):
            if left[0] == 0:
                raise Crash
            left[0] -= 1
            return real(*args, **kwargs)

        patch.setattr(os, name, counted)


def test_an_interrupted_ceremony_happened_whole_or_not_at_all(tmp_path, monkeypatch):
    """Stop at every rename and fsync: afterwards the old keys are in force, or the new ones and the log says so."""
    outcomes = set()
    for step in range(300):
        home = new_domain(tmp_path / str(step)).home
        change, successor = rotation(home, 0)
        files = sign_all(change_files(change), [own_root(home)], trust_at(home))
        old = open_domain(home).runner.key
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            try:
                install(home, files, successor=successor, clock=clock)
            except Crash:
                pass
            else:
                break
        with registrar(open_domain(home)):
            pass
        domain = open_domain(home)
        happened = domain.keyring.version == 2
        assert domain.runner.key == (successor.public_key if happened else old)
        assert len(read_entries(home / "log")) == int(happened)
        assert not (home / "key-events" / "pending.json").exists()
        campaign(domain)
        outcomes.add(happened)
    else:
        pytest.fail("the ceremony never finished")
    assert outcomes == {False, True}


def test_after_an_interruption_the_same_step_can_be_done_again(home, monkeypatch):
    change, successor = rotation(home, 0)
    files = sign_all(change_files(change), [own_root(home)], trust_at(home))
    with monkeypatch.context() as patch:
        crash_at(patch, 12)
        with pytest.raises(Crash):
            install(home, files, successor=successor, clock=clock)
    assert trust_at(home).keyring.version == 1
    install(home, files, clock=clock)
    assert open_domain(home).runner.key == successor.public_key


# Bundles.


class Told:
    """A home whose campaigns are told by a world through the real registrar, and published by the real exporter."""

    def __init__(self, folder):
        self.world = World()
        made = create(folder / "home", "runner-1", [], now=datetime.fromtimestamp(START - 10, UTC))
        self.home, self.folder = made.home, folder
        self.evidence = EvidenceStore(folder / "evidence")
        self.pin = root_pin(str(self.home / "trust" / "root.json"))

    def clock(self):
        return self.world.now

    def campaign(self, name):
        """Tell one campaign, publish it, and return the bundle."""
        begin = len(self.world.said)
        with Registrar(open_domain(self.home), clock=self.clock, boot_id="boot-1") as voice:
            self._speak_through(voice)
            self.world.campaign()
        for data in self.world.evidence.values():
            self.evidence.put(data)
        said = self.world.said[begin:]
        return self.export(said[0].index, said[-1].index, name)

    def export(self, first, last, name):
        return export(self.home, first, last, self.evidence, self.folder / name).path

    def judge(self, bundle, pin=None):
        return codes(verify_path(bundle, Demands(root=pin or self.pin)))

    def _speak_through(self, voice):
        class _Trust(Trust):
            @property
            def runner(self):
                return voice.domain.runner_signer

        def say(name, predicate, *, subject=IMAGE):
            link = voice.next_link().to_json()
            logged = voice.record(name, subject, predicate)
            said = Said(
                index=logged.index,
                statement_id=logged.statement_id,
                name=name,
                predicate={"runner": link, **predicate},
                nonce=logged.nonce(),
            )
            self.world.said.append(said)
            self.world.now += 1
            return said

        self.world.trust, self.world.say = _Trust(), say

    def now(self):
        return datetime.fromtimestamp(self.world.now, UTC)


def test_bundles_of_before_and_after_a_rotation_verify_under_one_pin(tmp_path):
    told = Told(tmp_path)
    first = told.campaign("first.tar")
    rotate(told.home, 3, now=told.now(), at=told.clock)
    second = told.campaign("second.tar")
    assert told.judge(first) == told.judge(second) == set()
    again = told.export(0, 3, "again.tar")
    assert told.judge(again) == set()
    both = open_domain(told.home)
    assert verify_text(both.keyring.keys[0].key) != verify_text(both.runner.key)


def test_a_range_under_two_keys_is_not_published(tmp_path):
    told = Told(tmp_path)
    told.campaign("first.tar")
    rotate(told.home, 3, now=told.now(), at=told.clock)
    told.campaign("second.tar")
    refused("UNFIT_BUNDLE", told.export, 0, 8, "both.tar")


def test_a_domain_that_grew_to_three_holders_is_verified_under_its_first_root_and_its_second(tmp_path):
    told = Told(tmp_path)
    first = told.campaign("first.tar")
    grow(told.home, told.now())
    second = told.campaign("second.tar")
    newest = root_pin(str(told.home / "trust" / "root.json"))
    assert newest != told.pin
    assert told.judge(second) == told.judge(second, newest) == told.judge(first) == set()
    rotate(told.home, 7, HOLDERS[1:], now=told.now(), at=told.clock)
    third = told.campaign("third.tar")
    assert told.judge(third) == told.judge(third, newest) == set()


def test_what_a_revoked_key_signed_before_its_end_verifies_and_after_it_does_not(tmp_path):
    told = Told(tmp_path)
    told.campaign("first.tar")
    told.campaign("second.tar")
    trust = trust_at(told.home)
    key = ceremony.find_key(trust.keyring, "runner-1")
    change = ceremony.revoke(trust, key, 3, reason="stolen after the first campaign", now=told.now())
    install(told.home, sign_all(change_files(change), [own_root(told.home)], trust), clock=told.clock)
    assert told.judge(told.export(0, 3, "again.tar")) == set()
    assert "KEY_REVOKED" in told.judge(told.export(4, 7, "void.tar"))


def test_an_outside_party_is_enrolled_while_work_goes_on_between_campaigns(tmp_path):
    told = Told(tmp_path)
    told.campaign("first.tar")
    trust = trust_at(told.home)
    change = ceremony.enrol(trust, proof_of(ed_signer(60), trust), enrolment(), told.now())
    install(told.home, sign_all(change_files(change), [own_root(told.home)], trust), clock=told.clock)
    second = told.campaign("second.tar")
    assert told.judge(second) == set()
    assert dataclasses.asdict(change.event)["event"] == "enrolled"


def test_another_runners_rotation_waits_for_the_open_campaign_and_changes_nothing_here(home):
    trust = trust_at(home)
    asked = enrolment(role="runner", name="runner-2", devices=("GPU-2",))
    change = ceremony.enrol(trust, proof_of(ed_signer(61), trust, "runner"), asked, LATER)
    install(home, sign_all(change_files(change), [own_root(home)], trust), clock=clock)
    trust = trust_at(home)
    other = ceremony.find_key(trust.keyring, "runner-2")
    proof = prove(ed_signer(62), "runner", trust.domain)
    change = ceremony.rotate(trust, other, proof, 1, reason="x", now=LATER, days=30)
    files = sign_all(change_files(change), [own_root(home)], trust)
    with registrar(open_domain(home)) as voice:
        told = steps(voice, evidence_of(home))
        next(told)
        voice.__exit__(None, None, None)
        refused("CAMPAIGN_OPEN", install, home, files, clock=clock)
    with registrar(open_domain(home)) as voice:
        plan = voice.open_campaigns()[0]
        voice.record("campaign-result", IMAGE, failed_result(plan, voice))
    install(home, files, clock=clock)
    assert open_domain(home).runner.name == "runner-1"


def failed_result(plan, voice):
    text = {"name": "VERIFY.txt", "digest": {"sha256": sha256_hex(voice.domain.verify_txt)}}
    failure = {"status": "failed", "failure": {"code": "INTERRUPTED", "blame": "rig"}, "cells": []}
    return statements.result([], plan.recorded.statement_id, byproducts=[text], **failure)


def test_a_stolen_runner_key_is_revoked_at_once_and_followed_whatever_is_open(home):
    with registrar(open_domain(home)) as voice:
        record_plan(voice, evidence_of(home))
    (home / "batch.json").write_text("{}")
    trust = trust_at(home)
    key = ceremony.find_key(trust.keyring, "runner-1")
    change = ceremony.revoke(trust, key, 0, reason="stolen", now=LATER)
    install(home, sign_all(change_files(change), [own_root(home)], trust), clock=clock)
    assert not (home / "batch.json").exists()
    trust = trust_at(home)
    successor = new_key()
    ended, proof = trust.keyring.find(key.key.key_id), prove(successor, "runner", trust.domain)
    change = ceremony.rotate(trust, ended, proof, 1, reason="a new key", now=LATER, days=90)
    install(home, sign_all(change_files(change), [own_root(home)], trust), successor=successor, clock=clock)
    with registrar(open_domain(home)) as voice:
        assert voice.open_campaigns() == ()
        assert len(voice.history) == 1
        record_plan(voice, evidence_of(home))
