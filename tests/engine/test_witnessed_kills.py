"""kill -9 at random moments with everything real: `jouleseal run` over sealed containers, and the witnesses of two
outside organisations as processes of their own. Whoever is killed is started again, and nothing is lost or forked.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.record.audit import audit, kept_notes
from orchestrator.record.bundle import export
from orchestrator.record.log import read_entries
from orchestrator.record.log_copy import open_copy
from orchestrator.record.monitor import look, watch_of
from orchestrator.record.store import EvidenceStore
from protocol.attestation.predicates import SessionIntent, SessionOutcome, read_predicate
from protocol.attestation.root import root_fingerprint
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.tlog.checkpoint import parse_checkpoint
from protocol.tlog.note import parse_note
from tests.engine import rig as rigs
from tests.engine.rig import REPOSITORY, Rig, docker
from tests.engine.test_witnessed_run import COMMAND, Outside
from tests.unit.record.witness_world import OUTSIDE, short_folder, tell
from verifier.demands import Demands
from verifier.report import Verdict
from verifier.verify import verify_path

pytestmark = [pytest.mark.engine, pytest.mark.slow]
rig = rigs.rig

RUNNER = "runner"
DIGITS = REPOSITORY / "reference_containers" / "digits" / "submission.yaml"
KILLS = 10
PATIENCE_S = 60
ENDS = {  # how a command may end by itself, and what it says then
    0: ("",),
    4: ("NO_QUORUM",),
    5: ("ATTEMPTS_EXHAUSTED", "had failed with INTERRUPTED before the command was interrupted"),
}


class Witness:
    """`jouleseal witness serve` of one organisation."""

    def __init__(self, home: Path, socket: Path) -> None:
        words = ["witness", "serve", "--home", str(home), "--socket", str(socket), "--json"]
        self.process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        assert json.loads(self.process.stdout.readline())["url"] == f"unix:{socket}"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)


class Runner:
    """One `jouleseal run` of the digits, whose lines are read as they come."""

    def __init__(self, rig: Rig) -> None:
        self.process = rig.command(DIGITS, points=10)
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        self.lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def measuring(self) -> bool:
        """Whether a session of this command is under way: what the one before it left is closed by then."""
        return any("launching the sandbox" in line for line in self.lines)

    def wait_until_measuring(self) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not self.measuring and self.process.poll() is None:
            assert time.monotonic() < give_up, self.lines
            time.sleep(0.01)

    def ended(self) -> str:
        """Wait for the end and return everything that was said."""
        self.process.wait(PATIENCE_S)
        self._thread.join()
        self.process.stderr.close()
        return "".join(self.lines)

    def kill(self) -> None:
        self.process.kill()
        self.ended()


class Story:
    """Who runs, what was ever signed of the log, and what was ever in it."""

    def __init__(self, rig: Rig, sockets: Path) -> None:
        self.rig = rig
        self.outside = Outside(rig)
        self.sockets = sockets
        tell(self.outside.domain, {name: f"unix:{sockets / name}" for name in OUTSIDE})
        self.witnesses = {name: self._witness(name) for name in OUTSIDE}
        self.runner = Runner(rig)
        self.killed = 0
        self.roots: dict[int, bytes] = {}
        self.entries: list[bytes] = []

    def _witness(self, name: str) -> Witness:
        return Witness(self.outside.homes[name].folder, self.sockets / name)

    def kill(self, name: str, after_s: float, *, again_at_once: bool) -> None:
        """Kill whoever it is after a while and start it again; one that had ended first is started again too."""
        time.sleep(after_s)
        if name != RUNNER:
            self.witnesses[name].kill()
            self.killed += 1
            self.look()
            self.witnesses[name] = self._witness(name)
            return
        if self.runner.process.poll() is None:
            self.runner.kill()
            self.killed += 1
            self.look_at_the_dead()
        else:
            self.let_end()
        self.runner = Runner(self.rig)
        if not again_at_once:
            self.runner.wait_until_measuring()
            self.look_at_the_restarted()

    def let_end(self) -> int:
        """Wait for the runner's own end, which may have one of three reasons."""
        said = self.runner.ended()
        code = self.runner.process.returncode
        assert code in ENDS, said
        assert any(words in said for words in ENDS[code]), said
        assert self.open_sessions() == [], "an intent without an outcome"
        self.look_at_the_dead()
        return code

    def look(self) -> None:
        """Hold every note that stands anywhere against all that ever stood there."""
        states = [path.read_bytes() for path in self.rig.folder.glob("witness-*/logs/*/checkpoint")]
        signed = [note.checkpoint for note in kept_notes(open_copy(self.rig.home))]
        for checkpoint in (*signed, *(parse_checkpoint(parse_note(data).text) for data in states)):
            known = self.roots.setdefault(checkpoint.size, checkpoint.root)
            assert known == checkpoint.root, f"two different notes of size {checkpoint.size}"

    def look_at_the_dead(self) -> None:
        """As `look`, and hold the entries against those of before."""
        self.look()
        present = read_entries(self.rig.home / "log")
        assert present[: len(self.entries)] == self.entries, "a lost entry"
        self.entries = present

    def look_at_the_restarted(self) -> None:
        """A command that measures again has closed what the killed one left, and only its own sandbox is there."""
        open_now = self.open_sessions()
        if self.runner.process.poll() is not None:
            return  # it had only a result or a bundle to write; its end is looked at next
        assert len(open_now) <= 1, f"intents without an outcome: {open_now}"
        label = f"label=dev.jouleseal.rig={self.rig.rig_id}"
        shown = '{{.Label "dev.jouleseal.session"}}'
        present = docker("ps", "--all", "--filter", label, "--format", shown).split()
        present += docker("volume", "ls", "--filter", label, "--format", shown).split()
        assert set(present) <= set(open_now) | set(self.open_sessions()), "an orphan sandbox or volume"

    def open_sessions(self) -> list[str]:
        """The sessions that the log knows to have begun and not to have ended, as the engine names them."""
        intents, closed = {}, set()
        for path in sorted((self.rig.home / "statements").glob("*.sigstore.json")):
            bundle = parse_sigstore_bundle(path.read_bytes())
            predicate = read_predicate(parse_statement(bundle.envelope.payload))
            if isinstance(predicate, SessionIntent):
                statement_id = bundle.envelope.statement_id
                intents[statement_id] = f"{bundle.entry.log_index}-{statement_id[:12]}"
            if isinstance(predicate, SessionOutcome):
                closed.add(predicate.intent.statement_id)
        return [name for statement_id, name in intents.items() if statement_id not in closed]

    def finish(self) -> None:
        """Let the runner end, and run once more if a campaign had used up its attempts."""
        for _ in range(4):
            if self.let_end() == 0:
                return
            self.runner = Runner(self.rig)
        pytest.fail("four commands in a row that did not complete a campaign, and nobody was killed")

    def close(self) -> None:
        if self.runner.process.poll() is None:
            self.runner.kill()
        for witness in self.witnesses.values():
            witness.kill()


@contextmanager
def story(rig: Rig) -> Iterator[Story]:
    with short_folder() as sockets:
        told = Story(rig, sockets)
        try:
            yield told
        finally:
            told.close()


def judge(rig: Rig) -> None:
    """The log is whole by its own audit and to a monitor, every campaign has its end, and bundles of it earn T3."""
    done = audit(open_copy(rig.home))
    assert done.findings == []
    seen = look(watch_of(open_copy(rig.home), against=None, statements=(), keys=(), state=None))
    assert seen.sound
    assert {item.status for item in seen.campaigns} <= {"completed", "failed"}
    assert seen.campaigns[-1].status == "completed"
    told = rig.told()
    assert len(told.all(SessionIntent)) == len(told.all(SessionOutcome))
    assert {abort for abort in told.aborts if abort} <= {("INTERRUPTED", "measurement")}
    made = export(rig.home, 0, done.size - 1, EvidenceStore(rig.home / "evidence"), rig.folder / "everything.tar")
    fingerprint = root_fingerprint((rig.home / "trust/root.json").read_bytes())
    for path in (made.path, rig.bundle):
        report = verify_path(path, Demands(root=f"sha256:{fingerprint}"))
        assert (report.verdict, report.tier) == (Verdict.VERIFIED, "T3"), [c for c in report.checks if c.code]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [4, 5])
def test_ten_kills_with_real_sandboxes_and_witnesses_lose_nothing_and_fork_nothing(rig, seed):
    print(f"seed {seed}")
    chance = random.Random(seed)
    with story(rig) as told:
        while told.killed < KILLS:
            victim = chance.choice((RUNNER, RUNNER, RUNNER, *OUTSIDE))
            told.kill(victim, chance.uniform(0.0, 3.0), again_at_once=chance.random() < 0.3)
            print(f"{told.killed}: {victim}, {len(told.entries)} entries, {len(told.roots)} sizes signed")
        told.finish()
    assert rig.leftovers() == []
    judge(rig)
