"""The doctor's findings about engines and machines that are values, and its reading of a probe's report."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import doctor
from orchestrator.cli import build_parser
from orchestrator.commands import doctor as command
from orchestrator.doctor import Diagnosis, Finding, Health
from orchestrator.launch.page import example_facts
from orchestrator.launch.probe import parse
from orchestrator.meter.qualify import Qualification, load
from protocol.errors import EngineUnavailable, UsageError
from protocol.methodology import findings as agreed

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


# Accelerators and qualification, which the sampler's own process reads


def qualification(*found: agreed.Finding) -> Qualification:
    return Qualification(devices=("GPU-1",), realtime_ns=1, host={}, findings=found, figures={}, records={})


def lesser(*, matters: bool) -> agreed.Finding:
    return agreed.find("gpu0.x", "seen", "wanted", "mend it", good=False, matters=matters)


def test_a_qualifications_finding_stands_as_one_of_the_doctors():
    good = agreed.find("gpu0.x", "seen", "wanted", "", good=True)
    assert [doctor.health_of(f) for f in (good, lesser(matters=False), lesser(matters=True))] == list(Health)


def test_what_the_doctor_sees_of_a_device_makes_the_rig_unfit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    looked: list[tuple[str, ...]] = []

    def look(devices: list[str], folder: Path) -> tuple[agreed.Finding, ...]:
        assert folder.is_dir()
        looked.append(tuple(devices))
        return (lesser(matters=True), lesser(matters=False))

    monkeypatch.setattr(doctor.rig, "look", look)
    found = doctor.examine(devices=["GPU-1"])
    assert [(f.check, f.health) for f in found.findings[1:]] == [
        ("gpu0.x", Health.FAILED),
        ("gpu0.x", Health.WARNING),
    ]
    assert looked == [("GPU-1",)]
    doctor.examine()
    assert len(looked) == 1


def test_a_qualification_holds_what_the_probe_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(doctor.rig, "qualify", lambda *_: qualification(lesser(matters=False)))
    open_hole = Finding(check="hole.power-meters", health=Health.FAILED, observed="energy_uj", expected="", remedy="go")
    slight = Finding(check="rootless", health=Health.WARNING, observed="a", expected="b", remedy="c")
    sound = Finding(check="engine", health=Health.OK, observed="a", expected="b")
    for findings, fit in (((sound, slight), True), ((sound, open_hole), False)):
        diagnosis = Diagnosis(findings=findings, facts=FACTS, profile_sha256=None)
        found = doctor.qualify(diagnosis, ["GPU-1"], tmp_path)
        assert [f.name for f in found.findings] == [*(f.check for f in findings), "gpu0.x"]
        assert found.fit is fit


# The command


def arguments(home: Path, **change: object) -> argparse.Namespace:
    given = build_parser().parse_args(["doctor", "--home", str(home), "--qualify", "--device", "GPU-1", "--json"])
    return argparse.Namespace(**{**vars(given), **change})


def sound_engine(**_: object) -> Diagnosis:
    return Diagnosis(findings=(), facts=FACTS, profile_sha256=None)


@pytest.mark.parametrize(("matters", "code"), [(True, 4), (False, 0)])
def test_the_command_saves_what_it_prints_and_its_exit_code_says_what_matters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], matters: bool, code: int
):
    monkeypatch.setattr(doctor, "examine", sound_engine)
    monkeypatch.setattr(doctor.rig, "qualify", lambda *_: qualification(lesser(matters=matters)))
    home = tmp_path / "home"
    assert command.run(arguments(home)) == code
    printed = json.loads(capsys.readouterr().out)
    kept = load(home)
    assert kept is not None
    assert json.loads(kept) == printed
    assert printed["fit"] is (code == 0)
    assert command.run(arguments(home, json=False)) == code
    screen = capsys.readouterr().out
    assert "gpu0.x" in screen
    assert "mend it" in screen


def test_the_command_keeps_the_records_where_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def qualify(devices: list[str], folder: Path, plan: object) -> Qualification:
        (folder / "first.ndjson").write_text("a record\n")
        return qualification()

    monkeypatch.setattr(doctor, "examine", sound_engine)
    monkeypatch.setattr(doctor.rig, "qualify", qualify)
    assert command.run(arguments(tmp_path / "home", records=tmp_path / "kept")) == 0
    assert (tmp_path / "kept" / "first.ndjson").read_text() == "a record\n"
    with pytest.raises(UsageError):
        command.run(arguments(tmp_path / "home", records=tmp_path / "kept", qualify=False))
