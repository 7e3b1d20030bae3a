"""The doctor's findings about engines and machines that are values, and its reading of a probe's report."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator import doctor
from orchestrator.doctor import Diagnosis, Finding, Health
from orchestrator.launch.page import example_facts
from orchestrator.launch.probe import parse
from protocol.errors import EngineUnavailable

FACTS = example_facts()


def findings(**change: object) -> dict[str, Finding]:
    return {finding.check: finding for finding in doctor._engine(replace(FACTS, **change))}


def test_a_good_engine_is_all_ok_and_needs_no_remedy():
    assert {(f.health, f.remedy) for f in findings().values()} == {(Health.OK, "")}


@pytest.mark.parametrize(
    ("change", "check", "health"),
    [
        ({"version": "19.3.1"}, "engine", Health.FAILED),
        ({"version": "dev"}, "engine", Health.FAILED),
        ({"rootless": True}, "engine-seal", Health.FAILED),
        ({"rootless": True, "cgroup_version": "2"}, "rootless", Health.WARNING),
        ({"seccomp": False}, "engine-seal", Health.FAILED),
        ({"user_namespaces": True}, "engine-seal", Health.FAILED),
        ({"containerd_store": True}, "engine-seal", Health.FAILED),
        ({"swap_limit": False}, "limits", Health.WARNING),
        ({"nofile_hard": 1024}, "open-files", Health.WARNING),
    ],
)
def test_a_lesser_engine_is_found_with_its_remedy(change: dict, check: str, health: Health):
    finding = findings(**change)[check]
    assert finding.health is health
    assert finding.remedy


def test_one_processor_is_a_warning():
    found = {f.check: f for f in doctor._machine(replace(FACTS, cpu_ids=(0,)), None)}
    assert found["processors"].health is Health.WARNING


def test_an_engine_that_is_not_there_is_a_finding_and_not_an_exception(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    diagnosis = doctor.examine()
    assert not diagnosis.fit
    assert [f.check for f in diagnosis.findings] == ["engine"]
    assert "ENGINE_DOWN" in diagnosis.findings[0].observed
    with pytest.raises(EngineUnavailable) as caught:
        diagnosis.require_fit()
    assert caught.value.code == "RIG_UNFIT"


def test_a_warning_does_not_make_a_rig_unfit():
    warning = Finding(check="x", health=Health.WARNING, observed="a", expected="b", remedy="c")
    diagnosis = Diagnosis(findings=(warning,), facts=FACTS, profile_sha256="0" * 64)
    assert diagnosis.fit
    diagnosis.require_fit()
    assert json.loads(json.dumps(diagnosis.to_json()))["findings"][0]["health"] == "warning"


REPORT = {"schema": "jouleseal-probe/1", "holes": [{"id": "vsock", "open": False, "detail": "closed"}]}


def test_a_probes_report_is_read():
    (hole,) = parse(json.dumps(REPORT).encode())
    assert (hole.name, hole.open) == ("vsock", False)


@pytest.mark.parametrize("value", [True, None, 0, "false"])
def test_what_is_not_plainly_closed_is_open(value: object):
    (hole,) = parse(json.dumps({**REPORT, "holes": [{"id": "x", "open": value, "detail": ""}]}).encode())
    assert hole.open


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"holes": []}',
        json.dumps({**REPORT, "holes": []}).encode(),
        json.dumps({**REPORT, "schema": "x"}).encode(),
    ],
)
def test_a_report_that_cannot_be_read_is_a_failed_check_and_no_clean_bill(data: bytes):
    with pytest.raises(EngineUnavailable) as caught:
        parse(data)
    assert caught.value.code == "PROBE_FAILED"
