"""docs/auditor.md is run as it is written: every indented command, in order, by a shell with no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocol.attestation.openings import drawn_places, write_openings
from tests.worlds.world import IMAGE, Trust, World, cell

REPOSITORY = Path(__file__).parents[3]
CELL = cell()
PAGE = REPOSITORY / "docs" / "auditor.md"
KNOWN = ("sha256sum", "jouleseal-verify", "mkdir", "openssl", "(umask 077 && openssl", "printf", "sed")


def commands():
    lines = PAGE.read_text().splitlines()
    return [line.strip() for line in lines if line.startswith("    ")]


def test_the_page_has_commands_and_only_known_ones():
    assert len(commands()) >= 20
    assert all(command.startswith(KNOWN) for command in commands())


@pytest.fixture(name="desk")
def _desk(tmp_path):
    """An auditor's desk: a bundle, a root, the verifier on the path, and two runners' bundles of tier T3."""
    world = World()
    world.campaign([CELL])
    (tmp_path / "bundle.tar").write_bytes(world.tar())
    (tmp_path / "root.json").write_bytes(world.trust.root())
    (tmp_path / "labels.json").write_text(json.dumps(["0", "1", "2", "0"]))
    for name, runner in (("witnessed", {}), ("second", {"runner_id": "runner-2", "runner_key": "runner-two"})):
        other = World(Trust(organisations={"witness-operator": "university"}, **runner))
        other.campaign([CELL])
        (tmp_path / f"{name}.tar").write_bytes(other.tar())
    tool = tmp_path / "bin" / "jouleseal-verify"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m verifier "$@"\n')
    tool.chmod(0o755)
    return tmp_path, world


def test_every_command_of_the_page_works_as_written(desk):
    folder, world = desk
    for written in commands():
        if "open-leaves" in written:
            opened_by_the_operator(folder, world)
        command = written.replace("<fingerprint>", world.pin.removeprefix("sha256:")).replace("<config digest>", IMAGE)
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=folder,
            env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout.decode()}{done.stderr.decode()}"


def opened_by_the_operator(folder, world):
    """What `jouleseal open` writes for the seed that the auditor drew."""
    seed = bytes.fromhex((folder / "seed.txt").read_text().strip())
    outcome = next(said for said in world.said if said.name == "session-outcome")
    places = {run: drawn_places(seed, outcome.statement_id, run, CELL.points, 3) for run in range(1, CELL.runs + 1)}
    leaves = [leaf for run, drawn in places.items() for leaf in world.openings(outcome, run, drawn)]
    (folder / "openings.jsonl").write_bytes(write_openings(leaves))


def test_the_page_ends_with_a_verdict_and_a_signature_that_openssl_checks(desk):
    """Flip one byte of the statement: the last command of the page must notice."""
    folder, _ = desk
    *_, payload, signature, signed, key, check = [
        line for line in commands() if line.startswith(("sed", "printf", "op"))
    ]
    script = f"mkdir unpacked && tar -xf bundle.tar -C unpacked\n{payload}\n{signature}\n{signed}\n{key}"
    subprocess.run(["bash", "-euc", script], cwd=folder, check=True)
    data = (folder / "signed").read_bytes()
    for name, content, code in (("whole", data, 0), ("flipped", data[:-3] + b"?" + data[-2:], 1)):
        (folder / "signed").write_bytes(content)
        done = subprocess.run(["bash", "-euc", check], cwd=folder, capture_output=True, check=False)
        assert done.returncode == code, name


def test_the_fingerprint_that_sha256sum_shows_is_the_one_that_verifies(desk):
    folder, world = desk
    shown = subprocess.run(["sha256sum", "root.json"], cwd=folder, capture_output=True, check=True).stdout.decode()
    assert world.pin == f"sha256:{shown.split()[0]}"


def test_the_page_names_every_exit_code_and_every_check_of_the_list():
    page = PAGE.read_text()
    assert all(f"| {code} |" in page for code in (0, 1, 2, 6, 70))
    threats = (REPOSITORY / "docs" / "threat-model.md").read_text()
    checks = {path.stem for path in (REPOSITORY / "verifier" / "checks").glob("[a-z]*.py")}
    named = {word for line in threats.splitlines() if line.startswith("| ") for word in line.split("`")[1::2]}
    assert named <= checks, named - checks
