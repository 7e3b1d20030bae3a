"""docs/auditor.md is run as it is written: every indented command, in order, by a shell with no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worlds.world import IMAGE, World

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs" / "auditor.md"
KNOWN = ("sha256sum", "jouleseal-verify", "mkdir")


def commands():
    lines = PAGE.read_text().splitlines()
    return [line.strip() for line in lines if line.startswith("    ")]


def test_the_page_has_commands_and_only_known_ones():
    assert len(commands()) >= 7
    assert all(command.startswith(KNOWN) for command in commands())


@pytest.fixture(name="desk")
def _desk(tmp_path):
    """An auditor's desk: a bundle, a root, and the verifier on the path."""
    world = World()
    world.campaign()
    (tmp_path / "bundle.tar").write_bytes(world.tar())
    (tmp_path / "root.json").write_bytes(world.trust.root())
    tool = tmp_path / "bin" / "jouleseal-verify"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m verifier "$@"\n')
    tool.chmod(0o755)
    return tmp_path, world


def test_every_command_of_the_page_works_as_written(desk):
    folder, world = desk
    for written in commands():
        command = written.replace("<fingerprint>", world.pin.removeprefix("sha256:")).replace("<config digest>", IMAGE)
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=folder,
            env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout.decode()}{done.stderr.decode()}"


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
