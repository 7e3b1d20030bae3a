"""docs/keys.md is run as it is written: every command, in order, in one folder, by the real front door."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.record.domain import open_domain
from orchestrator.record.registrar import Registrar
from protocol.attestation.root import root_fingerprint
from tests.unit.record.ceremony_world import trust_at
from tests.unit.record.record_world import evidence_of, steps

PAGE = Path(__file__).parents[3] / "docs" / "keys.md"
KNOWN = ("jouleseal", "mkdir", "(umask", "sha256sum", "rm")


def commands():
    return [line.strip() for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("    ")]


@pytest.fixture(name="desk")
def _desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def do(written, domain):
    if not written.startswith("jouleseal"):
        subprocess.run(["bash", "-euc", written], capture_output=True, check=True)
        return 0
    log_key = ""
    if "<log key>" in written:
        log_key = trust_at(Path("home")).keyring.in_role("log")[0].key.key_id
    return cli.main(shlex.split(written.replace("<domain>", f"sha256:{domain}").replace("<log key>", log_key))[1:])


def test_every_command_of_the_page_works_as_written(desk, capsys):
    domain = ""
    for written in commands():
        assert written.startswith(KNOWN), written
        assert do(written, domain) == 0, f"{written}\n{capsys.readouterr().err}"
        said = capsys.readouterr().out
        if written == "jouleseal init --home home":
            domain = root_fingerprint((desk / "home" / "trust" / "root.json").read_bytes())
        if written.startswith("jouleseal keys") and "--json" not in written and " show " not in written:
            assert "What this does:" in said
            assert "What comes next:" in said
    shown = json.loads(said_by("jouleseal keys show --home home --json", capsys))
    assert [root["version"] for root in shown["roots"]] == [1, 2]
    assert shown["keyring"]["version"] == 6
    states = {(key["role"], key["name"]): key["state"] for key in shown["keyring"]["keys"]}
    assert states["auditor", "audit-house"] == "ended"
    assert states["runner", "runner-1"] == "in force"
    goes_on(desk / "home")
    goes_on(desk / "small")


def said_by(written, capsys):
    assert do(written, "") == 0
    return capsys.readouterr().out


def goes_on(home):
    """A campaign is recorded after everything that the page did."""
    with Registrar(open_domain(home), boot_id="boot-1") as voice:
        assert len(list(steps(voice, evidence_of(home)))) == 4


def test_the_page_names_every_step():
    page = PAGE.read_text(encoding="utf-8")
    for step in ("new", "prove", "root-init", "root-sign", "enrol", "renew", "rotate", "revoke", "install", "show"):
        assert f"jouleseal keys {step} " in page
