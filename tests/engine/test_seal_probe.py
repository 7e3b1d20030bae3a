"""The seal, tried from inside: a probe finds no way out of a sandbox, and finds every way out where there is no seal.

The controls are what make the first story worth telling: each check of the probe is seen open at least once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.launch.probe import PROBE_IMAGE, Hole, ask, baits, parse
from tests.engine.conftest import docker, leftovers, rig_name

pytestmark = pytest.mark.engine

# Granted to no container on a kernel with real-time groups, however it is started.
NEVER_OPEN_HERE = {"realtime"}


def control(*flags: str) -> dict[str, Hole]:
    """What the probe finds in a container that is started without the seal."""
    with baits() as laid:
        done = docker("run", "--rm", *flags, PROBE_IMAGE, json.dumps(laid))
    return {hole.name: hole for hole in parse(done.stdout.encode())}


def is_open(holes: dict[str, Hole]) -> set[str]:
    return {name for name, hole in holes.items() if hole.open}


def test_the_probe_finds_no_way_out_of_a_sandbox(launched):
    holes = {hole.name: hole for hole in ask(launched(PROBE_IMAGE))}
    assert len(holes) > 35
    assert {name: holes[name].detail for name in is_open(holes)} == {}


def test_a_plain_container_has_many_ways_out(engine):
    assert is_open(control()) >= {
        *("disk", "writes", "image-volume", "exec-in-tmp", "tmpfs-bounds", "capabilities", "new-privileges"),
        *("limits", "linker-variables", "accelerator-variables", "health-check", "control-groups", "interfaces"),
    }


def test_a_hardened_container_without_this_profile_still_has_some(engine):
    """What most platforms do: no network, read-only, no capabilities, no new privileges."""
    flags = "--network none --read-only --cap-drop ALL --security-opt no-new-privileges --tmpfs /tmp --tmpfs /cache"
    found = is_open(control(*flags.split()))
    assert found >= {"image-volume", "disk", "limits", "linker-variables", "accelerator-variables", "health-check"}


def test_every_check_of_the_probe_can_fail(engine, tmp_path: Path):
    (tmp_path / "power").mkdir()
    (tmp_path / "power" / "energy_uj").write_text("1\n")
    (tmp_path / "socket").mkdir()
    capabilities = ("SYS_ADMIN", "SYS_NICE", "SYSLOG", "NET_RAW")
    found = control(
        *(word for name in capabilities for word in ("--cap-add", name)),
        *"--network host --pid host --cgroupns host --user 0:0 --security-opt seccomp=unconfined".split(),
        *("--volume", "/var/run/docker.sock:/var/run/docker.sock"),
        *("--volume", f"{tmp_path}/power:/sys/kernel/debug:ro", "--volume", f"{tmp_path}/socket:/run/jouleseal"),
        *("--device", "/dev/kmsg"),
    )
    assert set(found) - is_open(found) <= NEVER_OPEN_HERE


def test_the_doctor_finds_this_rig_fit_and_leaves_nothing(engine, tmp_path: Path):
    rig = f"{rig_name()}-doctor"
    diagnosis = doctor.examine(rig_id=rig, state=tmp_path)
    assert [f"{f.check}: {f.observed}" for f in diagnosis.findings if f.health is doctor.Health.FAILED] == []
    assert diagnosis.fit
    assert {"profile", "hole.vsock", "hole.io_uring", "hole.power-meters"} <= {f.check for f in diagnosis.findings}
    assert leftovers(rig) == ""


def test_the_doctor_names_the_hole_that_it_finds(engine, launched, monkeypatch: pytest.MonkeyPatch):
    """An engine that drops the filter: here, because it is handed one that lets everything through."""
    monkeypatch.setattr("orchestrator.launch.profile.seccomp_inline", lambda: '{"defaultAction":"SCMP_ACT_ALLOW"}')
    diagnosis = doctor.diagnose(engine)
    failed = {f.check: f for f in diagnosis.findings if f.health is doctor.Health.FAILED}
    assert {"hole.io_uring", "hole.ptrace", "hole.personality", "hole.namespaces"} <= set(failed)
    assert all(finding.remedy for finding in failed.values())
    assert not diagnosis.fit


def test_the_doctor_says_how_to_get_the_probe(engine):
    diagnosis = doctor.diagnose(engine, probe_image="jouleseal/no-such-probe:local")
    (failed,) = [f for f in diagnosis.findings if f.health is doctor.Health.FAILED]
    assert (failed.check, "IMAGE_NOT_FOUND" in failed.observed, bool(failed.remedy)) == ("seal", True, True)
