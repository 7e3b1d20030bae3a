"""A real campaign whose quorum needs outside organisations: two witnesses as processes of their own, on loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.commands.witness import unix_now
from orchestrator.record.domain import open_domain
from orchestrator.record.keys import encrypt_key
from orchestrator.record.witness_home import WitnessHome
from protocol.attestation.predicates import SessionIntent
from tests.engine import rig as rigs
from tests.engine.rig import Rig, docker
from tests.unit.record.witness_world import OUTSIDE, tell, widen, witness
from verifier.cli import main as verifier

pytestmark = pytest.mark.engine
rig = rigs.rig

EXIT_RIG = 4
COMMAND = [sys.executable, "-c", "import sys; from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"]


@contextmanager
def serving(home: WitnessHome, address: str) -> Iterator[str]:
    """Let a witness listen as a process of its own; give its URL."""
    words = ["witness", "serve", "--home", str(home.folder), "--listen", address, "--json"]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


class Outside:
    """The witnesses of two organisations, in the policy of a rig's domain; any two of the three are its quorum."""

    def __init__(self, rig: Rig) -> None:
        local = open_domain(rig.home)
        self.rig = rig
        self.homes = {name: witness(rig.folder, name, local, unix_now) for name in OUTSIDE}
        self.domain = widen(local, {name: home.key for name, home in self.homes.items()}, at=int(time.time()))

    @contextmanager
    def listening(self, names: Sequence[str] = OUTSIDE) -> Iterator[None]:
        with ExitStack() as stack:
            urls = {name: stack.enter_context(serving(self.homes[name], "127.0.0.1:0")) for name in names}
            tell(self.domain, {name: urls.get(name, "http://127.0.0.1:9") for name in OUTSIDE})
            yield


def tier(rig: Rig, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    code = verifier([str(rig.bundle), "--root", str(rig.out / "root.json"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0, told
    return told["tier"]


def test_a_run_that_outside_organisations_witnessed_verifies_at_t3(rig, hostile, capsys):
    outside = Outside(rig)
    with outside.listening():
        code, said = rig.completed(rig.submission(hostile["honest"]))
        assert code == 0, said
    assert "did not cosign" not in said
    assert tier(rig, capsys) == "T3"
    note = (rig.home / "log/checkpoint").read_text()
    assert all(home.key.name in note for home in outside.homes.values())
    assert main(["log", "audit", str(rig.home)]) == 0


def test_a_run_without_its_quorum_starts_no_session_and_goes_on_when_a_witness_is_back(rig, hostile, capsys):
    outside = Outside(rig)
    with outside.listening([]):
        code, said = rig.completed(rig.submission(hostile["honest"]))
        assert code == EXIT_RIG
        assert "NO_QUORUM" in said
        assert "auditor: WITNESS_DOWN" in said
    assert not list((rig.home / "statements").glob("*.sigstore.json")), "nothing was released"
    with outside.listening(["vendor"]):
        code, said = rig.completed(rig.submission(hostile["honest"]))
        assert code == 0, said
        assert "auditor: WITNESS_DOWN" in said, "who is missing is named, and the run goes on"
        assert len(rig.told().all(SessionIntent)) == 1
    assert tier(rig, capsys) == "T3"


def test_witnesses_that_were_started_again_go_on_from_what_they_remember(rig, hostile):
    outside, sizes = Outside(rig), []
    for _ in range(2):
        with outside.listening():
            code, said = rig.completed(rig.submission(hostile["honest"]))
            assert code == 0, said
        sizes.append([home.remembered_size(outside.domain.policy.log) for home in outside.homes.values()])
    assert sizes == [[4, 4], [8, 8]]


def test_a_run_with_encrypted_keys_shows_its_passphrase_to_nobody(rig, hostile):
    secret = rig.folder / "secret"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    for name in ("runner", "log", "witness"):
        encrypt_key(rig.home / "keys" / f"{name}.pem", b"correct horse battery")
    submission = rig.submission(hostile["honest"])
    code, said = rig.completed(submission)
    assert code == EXIT_RIG
    assert "KEY_LOCKED" in said
    with rig.command(submission, words=["--passphrase-file", str(secret)]) as process:
        next(line for line in process.stderr if "run 1 of 1" in line)
        own = Path(f"/proc/{process.pid}")
        shown = (own / "cmdline").read_text() + (own / "environ").read_text()
        containers = docker("ps", "--quiet", "--filter", f"label=dev.jouleseal.rig={rig.rig_id}").split()
        assert containers
        shown += docker("inspect", *containers)
        process.stderr.read()
    assert process.returncode == 0
    assert "correct horse" not in shown
    assert rig.verdict() == 0
