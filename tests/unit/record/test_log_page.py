"""docs/log.md as commands: from two witnesses of other organisations to a log whose checkpoints all three cosign."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.commands.witness import unix_now
from orchestrator.record.domain import open_domain
from orchestrator.record.registrar import Registrar
from orchestrator.record.witness_home import open_witness
from protocol.attestation.root import root_fingerprint
from protocol.tlog.entry import open_checkpoint
from tests.unit.record.record_world import evidence_of, record_plan
from tests.unit.record.witness_world import served, short_folder


@pytest.fixture
def folder():
    with short_folder() as path:
        yield path


def run(capsys, *argv) -> str:
    capsys.readouterr()
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    assert code == 0, out + err
    return out


def test_two_organisations_become_witnesses_as_the_page_says(folder, capsys):
    home = folder / "home"
    run(capsys, "init", "--home", home)
    policy = home / "trust/policy.txt"
    fingerprint = root_fingerprint((home / "trust/root.json").read_bytes())
    lines = {}
    for name in ("auditor", "vendor"):
        made = folder / name
        told = run(capsys, "witness", "init", f"{name}.example/w-{name}", "--home", made, "--log", policy, "--json")
        said = json.loads(told)
        lines[name] = f"witness {name} {said['vkey']}"
        words = ["keys", "prove", made / "witness.pem", "--role", "witness", "--domain", fingerprint]
        run(capsys, *words, "--out", folder / f"{name}.proof")
        assert lines[name].split()[-1] in run(capsys, "witness", "show", "--home", made)

    old = policy.read_text().splitlines()
    assert "group quorum-group 1 operator" in old
    new = [line for line in old if not line.startswith(("group", "quorum"))]
    new += [*lines.values(), "group quorum-group 2 operator auditor vendor", "quorum quorum-group", ""]
    (folder / "new-policy.txt").write_text("\n".join(new))
    enrol = ["keys", "enrol", "--role", "witness", "--home", home]
    run(
        capsys,
        *enrol,
        folder / "auditor.proof",
        "--name",
        "auditor.example/w-auditor",
        "--organisation",
        "auditor.example",
    )
    urls = {name: f"unix:{folder / name}.sock" for name in lines}
    (home / "witnesses.json").write_text(json.dumps({"witnesses": urls}))
    vendor = ["--name", "vendor.example/w-vendor", "--organisation", "vendor.example"]
    homes = {name: open_witness(folder / name, clock=unix_now) for name in lines}
    with served(homes["auditor"], folder / "auditor.sock"), served(homes["vendor"], folder / "vendor.sock"):
        run(capsys, *enrol, folder / "vendor.proof", *vendor, "--policy", folder / "new-policy.txt")
        with Registrar.open(home) as voice:
            logged = record_plan(voice, evidence_of(home))
            assert voice.missing_witnesses == ()
        told = json.loads(run(capsys, "log", "checkpoint", "--home", home, "--json"))
        assert (told["missing"], len(told["signedBy"])) == ([], 4)
        shown = run(capsys, "witness", "show", "--home", folder / "vendor")
    domain = open_domain(home)
    seen = open_checkpoint(logged.checkpoint_note, domain.policy)
    assert {line.name for line in seen.cosigned} == {key.name for key in domain.policy.witnesses.values()}
    assert f"remembers {seen.checkpoint.size} entries" in shown
    run(capsys, "log", "audit", home)
    run(capsys, "log", "monitor", home)


def test_the_page_names_every_code_that_the_commands_can_print():
    page = (Path(__file__).parents[3] / "docs/log.md").read_text(encoding="utf-8")
    source = "".join(
        (Path(__file__).parents[3] / "orchestrator/record" / name).read_text(encoding="utf-8")
        for name in ("audit.py", "monitor.py", "log_copy.py", "witness_client.py")
    )
    codes = set(re.findall(r'code="([A-Z_]+)"', source)) | set(re.findall(r'\.add\("([A-Z_]+)"', source))
    codes |= set(re.findall(r'^[A-Z]+ = "(WITNESS_[A-Z]+)"', source, re.MULTILINE))
    told_elsewhere = {"NO_LOG", "NO_POLICY", "NOT_IN_LOG", "NO_CHECKPOINT", "LOG_SHORT", "BAD_KEY_ID", "MONITOR_STATE"}
    quiet = {"NO_KEYRING", "NOT_CHECKED", "NOT_PUBLISHED", "PENDING", "OPEN_INTENT", "OPEN_CAMPAIGN", "BAD_WITNESSES"}
    assert {code for code in codes - told_elsewhere - quiet if code not in page} == set()
