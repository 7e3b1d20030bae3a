"""Qualifying a rig with the real sampler on a stand-in device: the document, what makes it unfit, how it is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator import UUID, Device

from orchestrator.meter import qualify
from orchestrator.meter.interface import SamplerConfig
from orchestrator.meter.qualify import Plan, Qualification
from protocol.errors import MeterUnavailable
from protocol.methodology.findings import Finding
from protocol.methodology.trace import parse_trace

TICK_MS = 20


@pytest.fixture
def plan(no_powercap: Path) -> Plan:
    """A plan of few seconds, beside one busy process."""
    config = SamplerConfig(powercap=no_powercap)
    return Plan(slow_s=0.5, again_s=0.3, dense_s=0.4, busy_s=0.4, busy=1, config=config)


@pytest.fixture
def resting(device: Device) -> Device:
    """A device that has been at rest for longer than its mean looks back."""
    device.set(high_mw=70_000, low_mw=70_000, tick_ms=TICK_MS, start_ns=time.monotonic_ns() - 5 * 10**9)
    return device


def named(found: Qualification) -> dict[str, Finding]:
    return {finding.name: finding for finding in found.findings}


def test_a_rig_with_a_device_is_qualified(tmp_path: Path, plan: Plan, resting: Device) -> None:
    found = qualify.qualify([UUID], tmp_path, plan)
    assert found.devices == (UUID,)
    by_name = named(found)
    assert all(by_name[f"gpu0.{name}"].good for name in ("persistence", "mig", "ecc", "processes", "counter", "idle"))
    document = json.loads(found.to_bytes())
    figures = document["figures"]["devices"]["gpu0"]
    assert abs(figures["counter"]["updateNs"] - TICK_MS * 10**6) < 5 * 10**6
    assert figures["idle"]["meanMw"] == 70_000
    assert figures["settings"]["name"].startswith("Jouleseal Stand-in")
    assert float(figures["polling"]["resolution"]) < 1
    assert float(document["figures"]["sampler"]["cpuShare"]) > 0
    assert document["figures"]["sampler"]["busyLateness"]["count"] >= 3
    assert document["host"]["driver"]
    assert document["fit"] is all(f["good"] or not f["matters"] for f in document["findings"])


def test_the_document_names_the_records_that_it_stands_on(tmp_path: Path, plan: Plan, resting: Device) -> None:
    found = qualify.qualify([UUID], tmp_path, plan)
    kept = {path.stem: parse_trace(path.read_bytes()).digest for path in tmp_path.glob("*.ndjson")}
    assert kept == found.records
    assert set(kept) == {"first", "dense", "last"}


def test_a_rig_without_a_device_is_qualified_for_what_it_has(tmp_path: Path, plan: Plan) -> None:
    found = qualify.qualify([], tmp_path, plan)
    assert found.devices == ()
    assert set(named(found)) == {"sampler.idle", "sampler.busy", "sampler.cpu", "rapl", "clocks"}
    assert named(found)["rapl"].good
    assert json.loads(found.to_bytes())["figures"]["devices"] == {}


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"mig": 1}, "MIG_ENABLED"),
        ({"virtualization": 3}, "VGPU"),
        ({"error": 15}, "DEVICE_LOST"),
        ({"error_init": 9}, "UNAVAILABLE"),
    ],
)
def test_a_device_that_cannot_be_opened_makes_the_rig_unfit_and_the_rest_is_judged(
    tmp_path: Path, plan: Plan, device: Device, facts: dict, code: str
) -> None:
    device.set(**facts)
    found = qualify.qualify([UUID], tmp_path, plan)
    assert not found.fit
    assert found.devices == (UUID,)
    refused = named(found)["accelerator"]
    assert code in refused.observed
    assert refused.matters
    assert refused.remedy
    assert "doctor" not in refused.remedy  # this is the doctor
    assert "sampler.idle" in named(found)


def test_a_device_that_minds_or_is_used_is_unfit(tmp_path: Path, plan: Plan, resting: Device) -> None:
    resting.set(pid=1, persistence=0, limit_mw=400_000)
    found = qualify.qualify([UUID], tmp_path, plan)
    assert not found.fit
    bad = {name: finding.matters for name, finding in named(found).items() if name.startswith("gpu0.")}
    assert not named(found)["gpu0.processes"].good
    assert not named(found)["gpu0.persistence"].good
    assert not named(found)["gpu0.power-limit"].good
    assert bad["gpu0.processes"] is True
    assert bad["gpu0.persistence"] is False


def test_looking_at_a_device_takes_one_record_and_judges_its_settings(
    tmp_path: Path, plan: Plan, device: Device
) -> None:
    device.set(ecc=0)
    found = {finding.name: finding for finding in qualify.look([UUID], tmp_path, plan.config)}
    assert not found["gpu0.ecc"].good
    assert found["gpu0.persistence"].good
    device.set(mig=1)
    (refused,) = qualify.look([UUID], tmp_path / "..", replace(plan.config))
    assert "MIG_ENABLED" in refused.observed


KILLED = """
import sys, time
from orchestrator.meter.qualify import busy_processes
with busy_processes(1) as pids:
    print(*pids, flush=True)
    time.sleep(60)
"""


def test_busy_processes_end_with_their_context_and_with_who_started_them() -> None:
    with qualify.busy_processes(2) as pids:
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as parent:
        busy = Path(f"/proc/{parent.stdout.readline().strip()}")
        parent.kill()
    for _ in range(200):
        if not busy.exists() or ") Z " in (busy / "stat").read_text():  # ended; whoever adopts it may not have looked
            return
        time.sleep(0.05)
    pytest.fail("a busy process outlived who started it")


@pytest.mark.slow
def test_the_plan_of_service_finds_a_sound_stand_in_fit(tmp_path: Path, resting: Device) -> None:
    resting.set(dither_mw=300, tick_ms=100)
    found = qualify.qualify([UUID], tmp_path)
    assert {name: f.observed for name, f in named(found).items() if not f.good and name.startswith("gpu0.")} == {}
    polling = found.to_json()["figures"]["devices"]["gpu0"]["polling"]
    assert abs(float(polling["difference"])) <= float(polling["resolution"]) < 0.02


# What is kept


def test_a_rig_that_was_never_qualified_has_no_document(tmp_path: Path) -> None:
    assert qualify.load(tmp_path) is None


def test_what_was_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    document = Qualification(
        devices=(UUID,), realtime_ns=1, host={}, findings=(), figures={}, records={"only": "0" * 64}
    )
    (tmp_path / qualify.FILE).write_bytes(document.to_bytes())
    assert qualify.load(tmp_path) == document.to_bytes()
    assert qualify.devices_of(document.to_bytes()) == (UUID,)


def test_a_document_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / qualify.FILE).mkdir()
    with pytest.raises(MeterUnavailable) as caught:
        qualify.load(tmp_path)
    assert caught.value.code == "QUALIFICATION_DAMAGED"


@pytest.mark.parametrize(
    "change",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        {"schema": "jouleseal-qualification/2"},
        {"devices": [1]},
        {"fit": "true"},
        {"findings": [{"good": 1}]},
        {"realtimeNs": "-1"},
        {"figures": "x" * qualify.MAX_BYTES},
    ],
)
def test_a_damaged_document_is_named(tmp_path: Path, change: bytes | dict) -> None:
    sound = Qualification(devices=(), realtime_ns=1, host={}, findings=(), figures={}, records={})
    data = change if isinstance(change, bytes) else json.dumps({**sound.to_json(), **change}).encode()
    (tmp_path / qualify.FILE).write_bytes(data)
    with pytest.raises(MeterUnavailable) as caught:
        qualify.load(tmp_path)
    assert caught.value.code == "QUALIFICATION_DAMAGED"
