"""Tier T4, which a second runner earns for the first one; and what an auditor may demand of a result that is true."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from protocol.attestation.bundle import BundleFiles
from tests.worlds.accelerated import UUID, AcceleratedWorld
from tests.worlds.world import Trust, World, cell, failed
from verifier.auditor_policy import POLICY_FORMAT, parse_auditor_policy
from verifier.cli import main
from verifier.demands import Demands
from verifier.report import Verdict
from verifier.verify import judge

OTHER_UUID = "GPU-57a2d111-0000-4000-8000-000000000002"
OUTSIDE = {"organisations": {"witness-operator": "university"}}


def one(uuid=UUID, *, watts=300, trust=None, **facts):
    """A runner's bundle under witnesses of another organisation."""
    world = AcceleratedWorld(uuid=uuid, trust=trust or Trust(devices=(uuid,), **OUTSIDE, **facts))
    world.work_mw = watts * 1_000
    return world


def second(**facts):
    return one(OTHER_UUID, runner_id="runner-2", runner_key="runner-two", **facts)


def told(world, **facts):
    world.campaign([cell(runs=3)], **facts)
    return world


def pair(first, other):
    """Judge the first world's bundle with the other's beside it."""
    bundles = [BundleFiles(world.bundle()) for world in (first, other)]
    demands = Demands(root=first.pin)
    return judge(lambda: bundles[0], demands, judge(lambda: bundles[1], demands)).report


def test_a_second_runner_that_measures_the_same_earns_t4():
    report = pair(told(one()), told(second(watts=304)))
    assert report.verdict is Verdict.VERIFIED
    assert report.tier == "T4"
    assert "runner-2 measured 1 cell again" in report.checks[-1].detail


def test_a_second_runner_that_measures_otherwise():
    report = pair(told(one()), told(second(watts=380)))
    assert failed(report) == {("reproduction", "NOT_REPRODUCED")}
    assert report.tier == ""


def test_the_same_runner_again_is_no_reproduction():
    first = told(one())
    assert failed(pair(first, first)) == {("reproduction", "SAME_RUNNER")}


@pytest.mark.parametrize(
    "facts",
    [
        {"runner_id": "runner-2"},
        {"runner_id": "runner-2", "runner_key": "runner-two"},
        {"runner_key": "runner-two"},
    ],
)
def test_another_name_for_the_same_key_runner_or_device_is_no_reproduction(facts):
    again = one(**facts)
    assert failed(pair(told(one()), told(again))) == {("reproduction", "SAME_RUNNER")}


def test_other_cells_are_no_reproduction():
    other = second()
    other.campaign([cell(runs=2)])
    assert failed(pair(told(one()), other)) == {("reproduction", "NOT_REPRODUCED")}


def test_a_bundle_of_t1_reproduces_nothing():
    other = second(trust=Trust(devices=(OTHER_UUID,), runner_id="runner-2", runner_key="runner-two"))
    assert failed(pair(told(one()), told(other))) == {("reproduction", "NOT_BOTH_T3")}


def test_a_second_bundle_that_is_false_reproduces_nothing():
    first, other = told(one()), told(second())
    files = other.bundle()
    del files[next(path for path in files if path.startswith("evidence/"))]
    bundles = (BundleFiles(first.bundle()), BundleFiles(files))
    demands = Demands(root=first.pin)
    report = judge(lambda: bundles[0], demands, judge(lambda: bundles[1], demands)).report
    assert failed(report) == {("reproduction", "NOT_BOTH_T3")}


def test_the_command_takes_two_bundles(tmp_path, capsys):
    first, other = told(one()), told(second())
    for name, world in (("a.tar", first), ("b.tar", other)):
        (tmp_path / name).write_bytes(world.tar())
    command = [str(tmp_path / "a.tar"), "--root", first.pin, "--reproduced-by", str(tmp_path / "b.tar")]
    assert main(command) == 0
    assert "VERIFIED  tier T4" in capsys.readouterr().out


# The auditor's own policy.


def policy(**demands):
    return parse_auditor_policy(json.dumps({"format": POLICY_FORMAT, **demands}).encode())


def demanding(**demands):
    world = World()
    world.campaign()
    bundle = BundleFiles(world.bundle())
    judged = judge(lambda: bundle, Demands(root=world.pin, policy=policy(**demands)))
    return judged.report


def test_a_policy_that_is_met():
    key_id = Trust().runner.public_key.key_id
    report = demanding(tier="T1", hardwareClasses=["cpu"], signers=[key_id], maximumAgeDays=1)
    assert report.verdict is Verdict.VERIFIED
    assert report.checks[-1].check == "demanded"


@pytest.mark.parametrize(
    ("demands", "code"),
    [
        ({"tier": "T2"}, "TIER_NOT_REACHED"),
        ({"hardwareClasses": ["h100-80gb"]}, "CLASS_NOT_ACCEPTED"),
        ({"signers": ["0" * 64]}, "SIGNER_NOT_ACCEPTED"),
        ({"signers": []}, "SIGNER_NOT_ACCEPTED"),
    ],
)
def test_a_demand_that_is_not_met_has_its_code(demands, code):
    assert failed(demanding(**demands)) == {("demanded", code)}


def test_a_result_that_is_too_old():
    world = World()
    world.campaign()
    bundle = BundleFiles(world.bundle())
    demands = Demands(root=world.pin)
    judged_at = judge(lambda: bundle, demands).report.judged_at
    at = datetime.fromisoformat(judged_at)
    for days, verdict in ((9, Verdict.VERIFIED), (11, Verdict.FALSE)):
        now = at + timedelta(days=days)
        report = judge(lambda: bundle, Demands(root=world.pin, policy=policy(maximumAgeDays=10), now=now)).report
        assert report.verdict is verdict


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"format":"jouleseal-auditor-policy/1"}',
        b'{"format":"jouleseal-auditor-policy/1","tier":"T9"}',
        b'{"format":"jouleseal-auditor-policy/1","tier":"T1","tier":"T3"}',
        b'{"format":"jouleseal-auditor-policy/1","tier":"T1","colour":"green"}',
    ],
)
def test_a_policy_that_is_none_is_a_usage_error(text, tmp_path, capsys):
    world = World()
    world.campaign()
    (tmp_path / "bundle.tar").write_bytes(world.tar())
    (tmp_path / "policy.json").write_bytes(text)
    command = [str(tmp_path / "bundle.tar"), "--root", world.pin, "--policy", str(tmp_path / "policy.json")]
    assert main(command) == 2
    assert "POLICY_UNREADABLE" in capsys.readouterr().err
