"""The log's one writer: what it survives, what it refuses to sign, and that it never forks itself."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import disk
from orchestrator.record.domain import open_domain
from protocol.errors import RecordUnsound, StorageFull
from protocol.tlog.checkpoint import parse_checkpoint
from protocol.tlog.entry import open_checkpoint
from protocol.tlog.note import parse_note
from tests.unit.attestation import statements
from tests.unit.record.record_world import (
    campaign,
    evidence_of,
    new_domain,
    record_intent,
    record_plan,
    record_result,
    registrar,
    steps,
)


class Crash(BaseException):
    """The machine stops here; nothing after this point runs, not even cleaning up."""


def no_sync(_descriptor) -> None:
    """Stand in for fsync, whose time these tests do not need."""


class FaultyDisk:
    """Counts the calls that change the disk and fails one of them, before or after it takes effect."""

    def __init__(self, patch, step: int, *, error: BaseException, after: bool = False) -> None:
        self.left, self.error, self.after = step, error, after
        patch.setattr(disk.os, "fsync", self.counted(no_sync))
        patch.setattr(disk.os, "replace", self.counted(os.replace))
        patch.setattr(Path, "unlink", self.counted(Path.unlink))

    def counted(self, real):
        def call(*args, **kwargs):
            self.left -= 1
            dead = self.left < -1 and isinstance(self.error, Crash)
            if dead or (self.left == -1 and not self.after):
                raise self.error
            value = real(*args, **kwargs)
            if self.left == -1:
                raise self.error
            return value

        return call


def notes_of(home):
    """Return size and root of every note that stands anywhere in the domain."""
    paths = [home / "log/journal", home / "log/checkpoint", home / "witness/checkpoint"]
    found = [parse_checkpoint(parse_note(path.read_bytes()).text) for path in paths if path.exists()]
    return {(note.size, note.root) for note in found}


def story(home, notes, said) -> None:
    """Record a campaign, or go on with it from wherever it was left, noting everything that was said."""
    with registrar_of(home) as voice:
        notes |= notes_of(home)
        for item in voice.history:
            said[item.log_index] = item.statement_id
        walk(voice, home, said)
        notes |= notes_of(home)


def registrar_of(home):
    return registrar(open_domain(home))


def walk(voice, home, said) -> None:
    names = [type(item.predicate).__name__ for item in voice.history]
    if not names:
        for logged in steps(voice, evidence_of(home)):
            said[logged.index] = logged.statement_id
        return
    if names[-1] == "CampaignResult":
        return
    closing(voice, said)


def closing(voice, said) -> None:
    """Close what a crash left open: the intent as aborted, then the campaign as failed."""
    for item in voice.open_intents():
        link = item.recorded.link
        outcome = statements.aborted(
            link.log_index, link.statement_id, item.intent.campaign, item.recorded.nonce, attempt=item.intent.attempt
        )
        logged = voice.record("session-outcome", item.recorded.subject_sha256, outcome)
        said[logged.index] = logged.statement_id
    for item in voice.open_campaigns():
        links = [(each.log_index, each.statement_id) for each in item.outcomes]
        failed = {"status": "failed", "failure": {"code": "INTERRUPTED", "blame": "rig"}, "byproducts": []}
        result = statements.result(links, item.recorded.statement_id, **failed)
        logged = voice.record("campaign-result", item.recorded.subject_sha256, result)
        said[logged.index] = logged.statement_id


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("error", "stride"),
    [(Crash(), 1), (OSError(errno.EIO, "I/O error"), 7), (OSError(errno.ENOSPC, "No space left on device"), 5)],
    ids=["crash", "eio", "full"],
)
def test_a_fault_at_any_step_loses_nothing_and_forks_nothing(tmp_path, monkeypatch, error, stride, after):
    monkeypatch.setattr(disk.os, "fsync", no_sync)
    new_domain(tmp_path / "fresh")
    faults = 0
    for step in range(0, 400, stride):
        home = tmp_path / "home"
        shutil.copytree(tmp_path / "fresh", home)
        notes, said = set(), {}
        with monkeypatch.context() as patch:
            FaultyDisk(patch, step, error=error, after=after)
            try:
                story(home, notes, said)
            except (Crash, RecordUnsound, StorageFull):
                faults += 1
                notes |= notes_of(home)
            else:
                break
        before = dict(said)
        story(home, notes, said)
        check_story(home, notes, said, before)
        shutil.rmtree(home)
    else:
        pytest.fail("the story never got to its end")
    assert faults * stride > 50


def check_story(home, notes, said, before) -> None:
    sizes = [size for size, _ in notes]
    assert len(sizes) == len(set(sizes)), "two different notes of one size"
    with registrar_of(home) as voice:
        assert voice.open_intents() == ()
        assert voice.open_campaigns() == ()
        assert {item.log_index: item.statement_id for item in voice.history} == said
        assert before.items() <= said.items(), "a statement that was logged is gone"
        assert len({item.statement_id for item in voice.history}) == len(voice.history)
    assert not (home / "statements/pending.json").exists()


def test_a_second_writer_is_refused_while_the_first_is_there(tmp_path):
    domain = new_domain(tmp_path)
    with registrar(domain) as first:
        record_plan(first, evidence_of(tmp_path))
        with pytest.raises(RecordUnsound) as caught, registrar(domain):
            pytest.fail("a second writer")
        assert caught.value.code == "LOG_BUSY"
    with registrar(domain) as again:
        assert len(again.history) == 1


def test_a_writer_in_another_process_that_is_killed_gives_the_lock_back(tmp_path):
    domain = new_domain(tmp_path)
    script = (
        "import sys,time; from pathlib import Path; from orchestrator.record.registrar import Registrar\n"
        "with Registrar.open(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RecordUnsound) as caught, registrar(domain):
            pytest.fail("a second writer")
        assert caught.value.code == "LOG_BUSY"
        holder.kill()
        holder.wait()
    with registrar(domain) as voice:
        assert voice.history == ()


def test_after_an_error_the_registrar_is_closed(tmp_path, monkeypatch):
    domain = new_domain(tmp_path)
    with registrar(domain) as voice:
        plan = record_plan(voice, evidence_of(tmp_path))
        with monkeypatch.context() as patch:
            FaultyDisk(patch, 4, error=OSError(errno.ENOSPC, "No space left on device"))
            with pytest.raises(StorageFull):
                record_intent(voice, plan)
        with pytest.raises(RecordUnsound) as caught:
            record_intent(voice, plan)
        assert caught.value.code in {"LOG_CLOSED", "OUT_OF_SEQUENCE"}


def test_appending_the_same_statement_again_changes_nothing(tmp_path):
    domain = new_domain(tmp_path)
    campaign(domain)
    with registrar(domain) as voice:
        entries = voice._log.entries
        for index, entry in enumerate(entries):
            assert voice._log.append(entry).index == index
        assert voice._log.entries == entries


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda home: flip(home / "log/tile/entries/000.p/4", 40), "LOG_CORRUPT"),
        (lambda home: flip(home / "log/tile/0/000.p/4", 40), "LOG_CORRUPT"),
        (lambda home: flip(home / "log/checkpoint", 45), "LOG_CORRUPT"),
        (lambda home: flip(home / "log/journal", 45), "LOG_CORRUPT"),
        (lambda home: shutil.rmtree(home / "log/tile"), "LOG_ROLLED_BACK"),
        (lambda home: (home / "statements/00000001-session-intent.sigstore.json").unlink(), "STATEMENT_LOST"),
        (lambda home: flip(home / "statements/00000001-session-intent.sigstore.json", 400), "STATEMENT_LOST"),
    ],
)
def test_a_damaged_record_is_not_continued(tmp_path, damage, code):
    domain = new_domain(tmp_path)
    campaign(domain)
    damage(tmp_path)
    with pytest.raises(RecordUnsound) as caught, registrar(domain):
        pytest.fail("a damaged record was opened")
    assert caught.value.code == code


def flip(path, position) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_missing_hash_tile_is_made_again(tmp_path):
    domain = new_domain(tmp_path)
    campaign(domain)
    tile = tmp_path / "log/tile/0/000.p/4"
    data = tile.read_bytes()
    tile.unlink()
    with registrar(domain):
        assert tile.read_bytes() == data


def test_a_log_restored_from_an_old_backup_is_stopped_by_the_witness(tmp_path):
    domain = new_domain(tmp_path)
    with registrar(domain) as voice:
        story_steps = steps(voice, evidence_of(tmp_path))
        next(story_steps)
    for folder in ("log", "statements"):
        shutil.copytree(tmp_path / folder, tmp_path / "backup" / folder)
    with registrar(domain) as voice:
        plan = voice.history[0]
        record_result_of(voice, plan)
    for folder in ("log", "statements"):
        shutil.rmtree(tmp_path / folder)
        shutil.copytree(tmp_path / "backup" / folder, tmp_path / folder)
    with registrar(domain) as voice, pytest.raises(RecordUnsound) as caught:
        record_intent_of(voice)
    assert caught.value.code in {"LOG_ROLLED_BACK", "WITNESS_FORK"}
    assert list((tmp_path / "witness/refused").iterdir())


def record_result_of(voice, plan) -> None:
    failed = {"status": "failed", "failure": {"code": "INTERRUPTED", "blame": "rig"}, "byproducts": []}
    voice.record("campaign-result", plan.subject_sha256, statements.result([], plan.statement_id, **failed))


def record_intent_of(voice) -> None:
    plan = voice.history[0]
    voice.record("session-intent", plan.subject_sha256, statements.intent(plan.statement_id))


def test_a_log_grows_over_the_edge_of_a_tile(tmp_path):
    """258 entries: a full tile, its parent, and a new right edge; then the record opens again and verifies."""
    domain = new_domain(tmp_path)
    evidence = evidence_of(tmp_path)
    with registrar(domain) as voice:
        for _ in range(129):
            plan = record_plan(voice, evidence)
            record_result(voice, plan, [])
    with registrar(domain) as voice:
        assert len(voice.history) == 258
        assert voice.vendor_chain("acme", "digits").seq == 130
    present = sorted(
        path.relative_to(tmp_path / "log").as_posix() for path in (tmp_path / "log/tile").rglob("*") if path.is_file()
    )
    assert present == ["tile/0/000", "tile/0/001.p/2", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/2"]
    note = (tmp_path / "log/checkpoint").read_bytes()
    assert open_checkpoint(note, domain.policy).checkpoint.size == 258
