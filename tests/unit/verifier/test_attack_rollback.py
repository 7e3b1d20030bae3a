"""Attacks that only an auditor who remembers can see: a log or a keyring that goes back, or has two histories."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from protocol.attestation.bundle import BundleFiles
from protocol.errors import UsageError
from tests.worlds.world import Trust, World, failed
from verifier.cli import main
from verifier.demands import Demands
from verifier.report import Status, Verdict
from verifier.state import State, parse_state, read_state
from verifier.verify import judge


def look(world, state, files=None):
    """Verify a world's bundle under what was seen before, and return the report and what is seen now."""
    found = BundleFiles(world.bundle() if files is None else files)
    judged = judge(lambda: found, Demands(root=world.pin, state=state))
    return judged.report, judged.state.value if judged.state.known else None


def seen(world):
    report, state = look(world, State())
    assert report.verdict is Verdict.VERIFIED
    return state


def grown(world):
    """Tell one more campaign in the same log."""
    world.campaign(model="other")
    return world


def test_a_log_that_grew_is_verified_again_and_remembered():
    world = World()
    world.campaign()
    state = seen(world)
    report, same = look(world, state)
    assert (report.verdict, same) == (Verdict.VERIFIED, state)
    report, later = look(grown(world), state)
    assert report.verdict is Verdict.VERIFIED
    assert "grew from size 4" in report.checks[-1].detail
    (log,) = later.logs.values()
    assert log.size == 8


def test_log_rolled_back():
    world = World()
    world.campaign()
    old = world.bundle()
    state = seen(grown(world))
    report, after = look(world, state, old)
    assert failed(report) == {("memory", "LOG_ROLLED_BACK")}
    assert after is None


def forked(sessions_later):
    """Two histories under one log key: the same first entry, another one from then on."""
    first, second = World(), World()
    first.campaign()
    second.campaign(edit={"campaign-plan": lambda plan: plan["submission"].update(modelVersion="2")})
    for _ in range(sessions_later):
        grown(second)
    return first, second


def test_log_forked_at_the_same_size():
    first, second = forked(0)
    report, _ = look(second, seen(first))
    assert failed(report) == {("memory", "LOG_FORKED")}


def test_log_forked_at_a_larger_size():
    first, second = forked(1)
    report, _ = look(second, seen(first))
    assert failed(report) == {("memory", "LOG_FORKED")}


def test_keyring_rolled_back():
    new, old = World(Trust(keyring_version=2)), World(Trust(keyring_version=1))
    for world in (new, old):
        world.campaign()
    report, _ = look(old, seen(new))
    assert failed(report) == {("memory", "KEYRING_ROLLED_BACK")}


def test_two_keyrings_of_one_version():
    first, second = World(), World(Trust(last_valid_index=100))
    for world in (first, second):
        world.campaign()
    report, _ = look(second, seen(first))
    assert failed(report) == {("memory", "KEYRING_FORKED")}


def test_root_rolled_back():
    world = World()
    world.campaign()
    state = seen(world)
    newer = {pin: replace(keys, root_version=2) for pin, keys in state.roots.items()}
    report, _ = look(world, replace(state, roots=newer))
    assert failed(report) == {("memory", "ROOT_ROLLED_BACK")}


def test_tiles_that_do_not_reach_back_cannot_be_judged():
    """A bundle from deep inside a long log: nothing is refused, nothing believed, nothing remembered."""
    world = World()
    world.campaign()
    state = seen(world)
    world.log.entries += [b"somebody's entry %d" % n for n in range(300)]
    world.said.clear()
    world.statements.clear()
    world.evidence.clear()
    world.campaign(model="other")
    report, after = look(world, state, world.bundle(304))
    assert (report.verdict, after) == (Verdict.UNJUDGED, None)
    assert report.checks[-1].code == "LOG_GAP"
    assert report.checks[-1].status is Status.NOT_CHECKED


# The command and its file.


@pytest.fixture(name="desk")
def _desk(tmp_path):
    world = World()
    world.campaign()
    (tmp_path / "old.tar").write_bytes(world.tar())
    (tmp_path / "new.tar").write_bytes(grown(world).tar())
    return tmp_path, world


def run(desk, bundle):
    folder, world = desk
    return main([str(folder / bundle), "--root", world.pin, "--state", str(folder / "seen.json")])


def test_the_file_is_written_only_after_a_whole_verification(desk, capsys):
    folder, _world = desk
    (folder / "bad.tar").write_bytes((folder / "new.tar").read_bytes()[:-1])
    assert run(desk, "bad.tar") == 1
    assert not (folder / "seen.json").exists()
    assert run(desk, "old.tar") == 0
    assert run(desk, "new.tar") == 0
    remembered = (folder / "seen.json").read_bytes()
    assert run(desk, "old.tar") == 1
    assert "LOG_ROLLED_BACK" in capsys.readouterr().out
    assert (folder / "seen.json").read_bytes() == remembered
    assert parse_state(remembered) == read_state(folder / "seen.json")
    assert sorted(path.name for path in folder.iterdir()) == ["bad.tar", "new.tar", "old.tar", "seen.json"]


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"format":"jouleseal-verifier-state/2"}', b"\xff"])
def test_a_damaged_file_is_never_taken_for_an_empty_one(desk, damage, capsys):
    folder, _world = desk
    (folder / "seen.json").write_bytes(damage)
    assert run(desk, "old.tar") == 2
    assert "STATE_UNREADABLE" in capsys.readouterr().err


def test_a_field_too_many_in_the_file(tmp_path):
    value = json.loads(State().to_bytes())
    (tmp_path / "seen.json").write_text(json.dumps({**value, "more": 1}, separators=(",", ":"), sort_keys=True))
    with pytest.raises(UsageError):
        read_state(tmp_path / "seen.json")
