"""kill -9 at random moments, of the runner that holds the log and of its witnesses: nothing is lost or forked."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.record.audit import audit, kept_notes
from orchestrator.record.bundle import export
from orchestrator.record.log import read_entries
from orchestrator.record.log_copy import open_copy
from orchestrator.record.monitor import look, watch_of
from orchestrator.record.store import EvidenceStore
from protocol.attestation.root import root_fingerprint
from protocol.tlog.checkpoint import parse_checkpoint
from protocol.tlog.note import parse_note
from tests.unit.record.kills_child import FileClock
from tests.unit.record.witness_world import OUTSIDE, START, Three, short_folder
from verifier.demands import Demands
from verifier.report import Verdict
from verifier.verify import verify_path

REPOSITORY = Path(__file__).resolve().parents[3]
EXIT_RIG = 4  # NO_QUORUM: the quorum's second witness was being started again
RUNNER = "runner"


class Killed:
    """The processes of one story: a runner and two witnesses, each started again when it was killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = folder / "clock"
        FileClock(self.clock).now = START
        self.three = Three(folder, FileClock(self.clock).read)
        self.stop = folder / "stop"
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.roots: dict[int, bytes] = {}
        self.entries: list[bytes] = []
        for name in (*OUTSIDE, RUNNER):
            self.start(name)

    def start(self, name: str) -> None:
        places = [self.three.home, self.clock, self.stop]
        role = "record" if name == RUNNER else "witness"
        if role == "witness":
            places = [self.folder / f"witness-{name}", self.clock, self.folder / name]
        argv = [sys.executable, "-m", "tests.unit.record.kills_child", role, *map(str, places)]
        self.running[name] = subprocess.Popen(
            argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if self.running[name].stdout.readline() != "open\n":
            self.ended(name)

    def ended(self, name: str) -> None:
        """Hold a process that ended by itself against the one reason that it may have."""
        _, said = self.running[name].communicate(timeout=60)
        code = self.running[name].returncode
        assert (name, code) == (RUNNER, EXIT_RIG), said
        assert "NO_QUORUM" in said

    def kill(self, name: str, after: float) -> None:
        time.sleep(after)
        if self.running[name].poll() is None:
            self.running[name].kill()
            self.running[name].communicate(timeout=60)
        else:
            self.ended(name)
        self.look()
        self.start(name)

    def look(self) -> None:
        """Hold every note that stands anywhere against all that ever stood there, and the entries likewise."""
        copy = open_copy(self.three.home)
        states = [path.read_bytes() for path in self.folder.glob("witness-*/logs/*/checkpoint")]
        signed = [note.checkpoint for note in kept_notes(copy)]
        for checkpoint in (*signed, *(parse_checkpoint(parse_note(data).text) for data in states)):
            assert self.roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root, "two notes of one size"
        present = read_entries(self.three.home / "log") if self.running[RUNNER].poll() is not None else None
        if present is not None:
            assert present[: len(self.entries)] == self.entries, "a lost entry"
            self.entries = present

    def finish(self) -> None:
        self.stop.touch()
        for _ in range(5):
            _, said = self.running[RUNNER].communicate(timeout=120)
            if self.running[RUNNER].returncode == 0:
                break
            assert "NO_QUORUM" in said, said
            self.start(RUNNER)
        self.look()

    def close(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=60)


def story(kills: int, seed: int) -> None:
    chance = random.Random(seed)
    with short_folder() as folder:
        told = Killed(folder)
        try:
            for _ in range(kills):
                told.kill(chance.choice((RUNNER, RUNNER, *OUTSIDE)), chance.uniform(0.0, 0.4))
            told.finish()
        finally:
            told.close()
        judge(told)


def judge(told: Killed) -> None:
    home = told.three.home
    copy = open_copy(home)
    done = audit(copy)
    assert done.findings == [], "open, pending or wrong"
    seen = look(watch_of(copy, against=None, statements=(), keys=(), state=None))
    assert seen.sound
    assert {item.status for item in seen.campaigns} <= {"completed", "failed"}
    assert any(item.status == "completed" for item in seen.campaigns)
    made = export(home, 0, done.size - 1, EvidenceStore(home / "evidence"), home / "bundle.tar")
    fingerprint = root_fingerprint((home / "trust/root.json").read_bytes())
    report = verify_path(made.path, Demands(root=f"sha256:{fingerprint}"))
    assert (report.verdict, report.tier) == (Verdict.VERIFIED, "T3"), [c for c in report.checks if c.code]


def test_kills_at_random_moments_lose_nothing_and_fork_nothing():
    story(kills=8, seed=4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills_lose_nothing_and_fork_nothing():
    story(kills=200, seed=200)
