"""The quorum of outside witnesses: what it makes of a record, and what happens when some of it is missing or lies."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

from orchestrator.record import witness_client
from orchestrator.record.bundle import export
from orchestrator.record.registrar import Registrar
from orchestrator.record.store import EvidenceStore
from orchestrator.record.witness_client import Growth, collect, remote_witnesses
from orchestrator.record.witness_home import CONFLICTING, OK, SIZE_TYPE, Answer
from protocol.attestation.bundle import read_bundle
from protocol.attestation.root import root_fingerprint
from protocol.errors import RecordUnsound
from protocol.tlog.checkpoint import parse_checkpoint
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.leaf import Leaf
from protocol.tlog.merkle import Tree, leaf_hash
from protocol.tlog.note import Note, parse_note
from protocol.tlog.proofs import parse_growth
from tests.unit.attestation import statements
from tests.unit.attestation.key_maker import ed_signer
from tests.unit.record.record_world import IMAGE, evidence_of, record_intent, record_plan, record_result
from tests.unit.record.witness_world import (
    OUTSIDE,
    START,
    Liar,
    RecordedWorld,
    Three,
    new_domain,
    short_folder,
    virtual_clock,
)
from tests.worlds.world import cell
from verifier.demands import Demands
from verifier.report import Verdict
from verifier.verify import verify_path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Shorten the pauses; the deadlines stay long enough for a loaded machine."""
    monkeypatch.setattr(witness_client, "PAUSE_S", 0.01)
    monkeypatch.setattr(witness_client, "MOMENT_S", 0.3)


@pytest.fixture
def folder():
    with short_folder() as path:
        yield path


@pytest.fixture
def three(folder):
    return Three(folder, lambda: START)


def tell_a_campaign(voice: Registrar, world: RecordedWorld) -> None:
    world.speak_through(voice)
    world.campaign([cell()])


def verified(home, last):
    made = export(home, 0, last, EvidenceStore(home / "evidence"), home / "bundle.tar")
    fingerprint = root_fingerprint((home / "trust/root.json").read_bytes())
    return verify_path(made.path, Demands(root=f"sha256:{fingerprint}"))


def test_a_record_that_two_outside_organisations_witnessed_earns_t3(folder):
    clock, now = virtual_clock()
    three = Three(folder, now)
    world = RecordedWorld(clock)
    with three.listening(), three.registrar() as voice:
        tell_a_campaign(voice, world)
        assert voice.missing_witnesses == ()
    report = verified(three.home, 3)
    assert (report.verdict, report.tier) == (Verdict.VERIFIED, "T3"), report
    seen = open_checkpoint((three.home / "log/checkpoint").read_bytes(), three.domain.policy)
    assert {line.name for line in seen.cosigned} == {key.name for key in three.domain.policy.witnesses.values()}
    assert len(read_bundle(three.home / "bundle.tar").statements()) == 4


def test_the_same_record_with_the_operators_own_witness_alone_earns_t1(folder):
    clock, now = virtual_clock()
    domain = new_domain(folder / "home")
    with Registrar(domain, clock=now, boot_id="boot-1") as voice:
        tell_a_campaign(voice, RecordedWorld(clock))
    report = verified(domain.home, 3)
    assert (report.verdict, report.tier) == (Verdict.VERIFIED, "T1"), report


def test_one_witness_that_is_down_is_named_and_the_others_are_quorum(three):
    with three.listening(["auditor"]), three.registrar() as voice:
        logged = record_plan(voice, evidence_of(three.home))
        (missing,) = voice.missing_witnesses
        assert (missing.name, missing.code) == ("vendor", "WITNESS_DOWN")
    assert open_checkpoint(logged.checkpoint_note, three.domain.policy).has_quorum(three.domain.policy)


def test_without_a_quorum_nothing_is_released_and_the_next_start_completes_it(three):
    with three.listening(["auditor"]), three.registrar() as voice:
        plan = record_plan(voice, evidence_of(three.home))
    before = (three.home / "log/checkpoint").read_bytes()
    with three.registrar() as voice, pytest.raises(RecordUnsound) as caught:
        record_intent(voice, plan)
    assert caught.value.code == "NO_QUORUM"
    assert "auditor: WITNESS_DOWN" in caught.value.observed
    assert "vendor: WITNESS_DOWN" in caught.value.observed
    assert (three.home / "log/checkpoint").read_bytes() == before
    assert len(list((three.home / "statements").glob("*.sigstore.json"))) == 1
    journal = parse_note((three.home / "log/journal").read_bytes())
    assert parse_checkpoint(journal.text).size == 2

    with pytest.raises(RecordUnsound) as caught, three.registrar():
        pytest.fail("a record that lacks its quorum was opened")
    assert caught.value.code == "NO_QUORUM"

    with three.listening(["vendor"]), three.registrar() as voice:
        (open_intent,) = voice.open_intents()
        assert parse_note(open_intent.recorded.checkpoint_note).text == journal.text
        assert voice.missing_witnesses[0].name == "auditor"


def test_a_witness_without_a_url_is_named_too(three):
    (three.home / "witnesses.json").unlink()
    with three.registrar() as voice, pytest.raises(RecordUnsound) as caught:
        record_plan(voice, evidence_of(three.home))
    assert caught.value.code == "NO_QUORUM"
    assert "auditor: no URL is known" in caught.value.observed


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b'{"witnesses":{"auditor":5}}',
        b'{"witnesses":{"auditor":"file:///etc/passwd"}}',
        b'{"witnesses":{"auditor":"http://"}}',
        b'{"witnesses":{"auditor":"http://h:99999/"}}',
        b'{"witnesses":{"auditor":"http://h/?q"}}',
        b'{"witnesses":{"auditor":"unix:relative"}}',
        b'{"witnesses":{},"more":1}',
        b"no json",
    ],
)
def test_where_witnesses_listen_is_written_strictly(three, text):
    (three.home / "witnesses.json").write_bytes(text)
    with pytest.raises(RecordUnsound) as caught:
        three.registrar()
    assert caught.value.code == "BAD_WITNESSES"


def test_the_domains_own_witness_is_never_asked_over_a_url(three):
    urls = {"auditor": "http://127.0.0.1:1/x/", "operator": "http://127.0.0.1:1/", "to-be-enrolled": "unix:/s"}
    (three.home / "witnesses.json").write_text('{"witnesses":' + str(urls).replace("'", '"') + "}")
    found = remote_witnesses(three.home, three.domain.policy, three.domain.witness_key)
    assert [(item.name, item.url) for item in found] == [("auditor", "http://127.0.0.1:1/x/")]


def signed_by(signer, *, at=START, text=None):
    """Return an answer in which the vendor's name stands over another key, another time or another text."""

    def answer(three):
        def add_checkpoint(body):
            note = parse_note(parse_growth(body).note)
            key = three.homes["vendor"].key
            line = key.sign(text or note.text, at, signer or three.homes["vendor"].signer)
            return Answer(status=OK, body=line.to_line().encode())

        return add_checkpoint

    return answer


def always(status, body, content_type=SIZE_TYPE):
    return lambda _three: lambda _body: Answer(status=status, body=body, content_type=content_type)


def another_size_each_time(_three):
    return lambda body: Answer(status=CONFLICTING, body=b"%d\n" % (1 - parse_growth(body).old_size))


def two_times_at_once(three):
    """A second line, of which the earlier time is near: whoever checks one and keeps the other is led astray."""
    answers = [signed_by(None, at=at)(three) for at in (START + 10**6, START)]
    return lambda body: Answer(status=OK, body=b"".join(answer(body).body for answer in answers))


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (signed_by(ed_signer(77)), "WITNESS_LIES"),
        (signed_by(None, text=b"example/other\n1\nAAAA\n"), "WITNESS_LIES"),
        (signed_by(None, at=START + 61), "WITNESS_CLOCK"),
        (signed_by(None, at=START - 61), "WITNESS_CLOCK"),
        (always(OK, b""), "WITNESS_LIES"),
        (always(OK, "— someone/else AAAAAAA=\n".encode()), "WITNESS_LIES"),
        (always(OK, b"\xff" * 100), "WITNESS_LIES"),
        (always(OK, b"x" * 100_000), "WITNESS_LIES"),
        (always(409, b"7\n"), "WITNESS_AHEAD"),
        (always(409, b"1\n"), "WITNESS_FORK"),
        (another_size_each_time, "WITNESS_LIES"),
        (two_times_at_once, "WITNESS_LIES"),
        (always(409, b"+1\n"), "WITNESS_LIES"),
        (always(409, b"01\n"), "WITNESS_LIES"),
        (always(409, b""), "WITNESS_LIES"),
        (always(403, b"who are you\n"), "WITNESS_REFUSES"),
        (always(404, b"\x1b[31mno\n"), "WITNESS_REFUSES"),
        (always(422, b"no\n"), "WITNESS_REFUSES"),
        (always(503, b"later\n"), "WITNESS_DOWN"),
    ],
)
def test_a_witness_that_lies_or_refuses_is_named_and_never_counts(three, lie, code):
    with three.listening(["auditor"], vendor=Liar(lie(three))), three.registrar() as voice:
        record_plan(voice, evidence_of(three.home))
        assert [(item.name, item.code) for item in voice.missing_witnesses] == [("vendor", code)]
        assert voice.missing_witnesses[0].why.isprintable()
    note = (three.home / "log/checkpoint").read_bytes()
    assert b"vendor" not in note
    assert open_checkpoint(note, three.domain.policy).has_quorum(three.domain.policy)


def test_a_witness_that_hangs_is_not_waited_for_when_the_quorum_is_there(three):
    release = threading.Event()

    def hang(_body):
        release.wait(20)
        return Answer(status=OK, body=b"")

    with three.listening(["auditor"], vendor=Liar(hang)), three.registrar() as voice:
        began = time.monotonic()
        record_plan(voice, evidence_of(three.home))
        assert time.monotonic() - began < 15, "it waited for a witness that it did not need"
        assert voice.missing_witnesses[0].why == "no answer in time"
        release.set()


def test_a_witness_that_missed_much_is_brought_up_to_date(three):
    with three.listening(["auditor"]), three.registrar() as voice:
        for _ in range(3):
            record_result(voice, record_plan(voice, evidence_of(three.home)), [])
    assert three.homes["vendor"].remembered_size(three.domain.policy.log) == 0
    with three.listening(), three.registrar() as voice:
        record_plan(voice, evidence_of(three.home))
        assert voice.missing_witnesses == ()
    assert three.homes["vendor"].remembered_size(three.domain.policy.log) == 7


def test_a_refreshed_checkpoint_gains_lines_and_keeps_the_earlier_ones(three):
    with three.listening(["auditor"]), three.registrar() as voice:
        record_plan(voice, evidence_of(three.home))
        before = parse_note((three.home / "log/checkpoint").read_bytes())
        assert len(before.signatures) == 3
    with three.listening(), three.registrar() as voice:
        seen = voice.refresh()
        assert seen.note.text == before.text
        assert set(before.signatures) < set(seen.note.signatures)
        assert len(seen.note.signatures) == 4
    assert (three.home / "log/checkpoint").read_bytes() == seen.note.to_bytes()


def test_a_witness_without_a_network_completes_a_quorum_by_file(three):
    with three.registrar() as voice, pytest.raises(RecordUnsound):
        record_plan(voice, evidence_of(three.home))
    journal = (three.home / "log/journal").read_bytes()
    cosigned = three.homes["auditor"].cosign(b"old 0\n\n" + journal)
    with pytest.raises(RecordUnsound) as caught:
        three.homes["vendor"].cosign(b"old 3\n\n" + journal)
    assert caught.value.code == "WITNESS_ROLLBACK"
    with Registrar(three.domain, clock=lambda: START, boot_id="boot-1")._log as log:
        other = Note(text=b"example/log\n1\nAAAA\n", signatures=parse_note(journal).signatures).to_bytes()
        assert log.refresh(cosigned).has_quorum(three.domain.policy)
    with three.registrar() as voice:
        assert len(voice.history) == 1
    with three.registrar() as voice, pytest.raises(RecordUnsound) as caught:
        voice.refresh(other)
    assert caught.value.code == "OTHER_CHECKPOINT"


def forked(three) -> None:
    """Let the operator restore everything of its own from a backup and tell another story under the same key."""
    with three.listening(), three.registrar() as voice:
        plan = record_plan(voice, evidence_of(three.home))
        backup = three.folder / "backup"
        for part in ("log", "statements", "witness"):
            shutil.copytree(three.home / part, backup / part)
        record_intent(voice, plan)
    for part in ("log", "statements", "witness"):
        shutil.rmtree(three.home / part)
        shutil.copytree(backup / part, three.home / part)


@pytest.mark.parametrize("more", [0, 1], ids=["same-size", "larger"])
def test_a_log_forked_behind_its_witnesses_back_gets_no_quorum_and_leaves_evidence(three, more):
    forked(three)
    with three.listening(), three.registrar() as voice, pytest.raises(RecordUnsound) as caught:
        plan = voice.history[0]
        failed = {"status": "failed", "failure": {"code": "INTERRUPTED", "blame": "rig"}, "byproducts": []}
        if more:
            voice._log.append(foreign_leaf())
        voice.record("campaign-result", IMAGE, result_of(plan, failed))
    assert caught.value.code == "NO_QUORUM"
    assert ("WITNESS_REFUSES" if more else "WITNESS_FORK") in caught.value.observed
    for name in OUTSIDE:
        (kept,) = (three.folder / f"witness-{name}").glob("logs/*/refused/*")
        notes = [
            parse_checkpoint(parse_note((kept / n).read_bytes()).text) for n in ("refused.note", "remembered.note")
        ]
        assert notes[0].root != notes[1].root
        assert [notes[0].size, notes[1].size] == [2 + more, 2]
    assert any("REFUSED" in line for line in three.said)


def foreign_leaf() -> bytes:
    return Leaf(pae_sha256=bytes(32), signature=bytes(64), key=ed_signer(5).public_key).to_bytes()


def result_of(plan, failed):
    return statements.result([], plan.statement_id, **failed)


def test_a_log_that_lost_its_end_is_told_that_the_witnesses_are_ahead(three):
    with three.listening(), three.registrar() as voice:
        plan = record_plan(voice, evidence_of(three.home))
        backup = three.folder / "backup"
        for part in ("log", "statements", "witness"):
            shutil.copytree(three.home / part, backup / part)
        record_intent(voice, plan)
        record_aborted(voice, plan)
    for part in ("log", "statements", "witness"):
        shutil.rmtree(three.home / part)
        shutil.copytree(backup / part, three.home / part)
    with three.listening(), three.registrar() as voice, pytest.raises(RecordUnsound) as caught:
        record_intent(voice, plan)
    assert caught.value.code == "NO_QUORUM"
    assert "auditor: WITNESS_AHEAD" in caught.value.observed


def record_aborted(voice, plan) -> None:
    (item,) = voice.open_intents()
    link = item.recorded.link
    outcome = statements.aborted(link.log_index, link.statement_id, plan.statement_id, item.recorded.nonce)
    voice.record("session-outcome", IMAGE, outcome)


def test_all_are_asked_at_once(three):
    """Two witnesses that each wait for the other's request: asked one after the other they would never answer."""
    barrier = threading.Barrier(2)
    homes = three.homes

    def together(name):
        def add_checkpoint(body):
            barrier.wait(20)
            return homes[name].add_checkpoint(body)

        return add_checkpoint

    tree = Tree([leaf_hash(b"one")])
    with three.registrar() as voice:
        log = voice._log
        log._tree, log._entries = tree, [b"one"]
        growth = Growth(note=log._sign(), size=1, proof=lambda old: tree.consistency(old, 1))
        remotes = log._remotes
    with three.listening([], **{name: Liar(together(name)) for name in OUTSIDE}):
        got = collect(remotes, growth, guesses={}, enough=lambda names: len(names) == 2, clock=lambda: START)
    assert set(got.lines) == set(OUTSIDE)
