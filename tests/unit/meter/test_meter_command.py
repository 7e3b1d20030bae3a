"""`jouleseal meter -- COMMAND`: what it prints of a command, what it voids, and whose exit status is whose."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from accelerator import UUID, Device

from orchestrator.cli import main
from orchestrator.meter import measuring
from orchestrator.meter.own_group import OwnGroup
from protocol.methodology.trace import parse_trace
from protocol.units import NS_PER_S

WORKER = str(Path(__file__).parents[2] / "standin" / "worker.py")


@pytest.fixture
def no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not make control groups."""

    def refuse(_name: str) -> OwnGroup:
        raise PermissionError(13, "Permission denied", "/sys/fs/cgroup/cpuacct/jouleseal-meter")

    monkeypatch.setattr(OwnGroup, "make", refuse)


@pytest.fixture
def resting(device: Device) -> Device:
    device.set(wave="pulse", low_mw=70_000, high_mw=650_000, dither_mw=1, start_ns=time.monotonic_ns() - 10 * NS_PER_S)
    return device


def meter(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    status = main(["meter", "--json", *arguments])
    return status, json.loads(capfd.readouterr().out)


def test_a_command_is_measured_and_its_own_status_is_not_ours(no_group, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(measuring, "IDLE_S", 0.3)
    kept = tmp_path / "kept"
    status, found = meter(
        capfd, "--record", str(kept), "--", "sh", "-c", "echo from the command; echo more >&2; sleep 0.3; exit 7"
    )
    assert status == 0
    assert found["valid"] is True
    assert found["reasons"] == []
    assert found["command"]["exit_status"] == 7
    assert found["window"]["close_monotonic_ns"] - found["window"]["open_monotonic_ns"] >= 300_000_000
    assert set(found["channels"]) == {"gpu", "cpu", "dram", "network", "storage"}
    for channel in found["channels"].values():
        assert set(channel) >= {"kind", "joules", "uncertainty_joules", "idle_net_joules"}
        assert channel["kind"] == "unmeasured"
        assert channel["joules"] is None
        assert channel["reason"]
    assert "run as root" in found["channels"]["cpu"]["reason"]
    trace = parse_trace(kept.read_bytes())
    assert trace.digest == found["record_chain"]
    assert trace.window("run-1").open_ns == found["window"]["open_monotonic_ns"]


def test_a_signal_that_ends_the_command_is_named(no_group, capfd, monkeypatch) -> None:
    monkeypatch.setattr(measuring, "IDLE_S", 0.1)
    status, found = meter(capfd, "--", "sh", "-c", "kill -TERM $$")
    assert (status, found["command"]["exit_status"], found["command"]["signal"]) == (0, None, "SIGTERM")


def test_the_screen_leaves_standard_output_to_the_command(no_group, capfd, monkeypatch) -> None:
    monkeypatch.setattr(measuring, "IDLE_S", 0.1)
    assert main(["meter", "--", "echo", "mine"]) == 0
    said = capfd.readouterr()
    assert said.out == "mine\n"
    assert "network   unmeasured: no instrument reads network energy" in said.err


@pytest.mark.parametrize("command", [[], ["--"], ["--", "no-such-program-anywhere"]])
def test_a_command_that_is_not_there_is_the_callers(capfd, command: list[str]) -> None:
    status, found = meter(capfd, *command)
    assert status == 2
    assert found["error"]["code"] == "COMMAND_NOT_FOUND"


def test_an_accelerator_is_measured_gated_with_its_doubt(no_group, capfd, resting: Device) -> None:
    script = str(resting.script)
    status, found = meter(capfd, "--device", UUID, "--", sys.executable, "-S", WORKER, script, "2", "3")
    assert (status, found["reasons"], found["flags"]) == (0, [], [])
    assert found["command"]["exit_status"] == 3
    gpu = found["channels"]["gpu"]
    assert (gpu["kind"], gpu["method"]) == ("simulated", "nvml-gated/1")
    seconds = (found["window"]["close_monotonic_ns"] - found["window"]["open_monotonic_ns"]) / 1e9
    assert gpu["joules"] == pytest.approx(580 * 2 + 70 * seconds, rel=1e-3)
    assert gpu["idle_net_joules"] == pytest.approx(580 * 2, rel=2e-3)
    assert gpu["uncertainty_joules"] == pytest.approx(gpu["joules"] * 2 * 0.05 / 3**0.5, rel=0.01)  # the gain's


def test_a_device_lost_in_the_work_is_void_and_no_number(no_group, capfd, resting: Device) -> None:
    lose = f"sleep 0.5; echo 'error 15' > {resting.script}; sleep 0.5"
    status, found = meter(capfd, "--device", UUID, "--", "sh", "-c", lose)
    assert status == 5
    assert found["valid"] is False
    assert [reason["code"] for reason in found["reasons"]] == ["CHANNEL_LOST"]
    assert {channel["kind"] for channel in found["channels"].values()} == {"void"}
    assert all(channel["joules"] is None for channel in found["channels"].values())


def test_a_driver_reload_in_the_work_is_void(no_group, capfd, resting: Device) -> None:
    reload = "import sys, time; open(sys.argv[1], 'a').write(f'reset_ns {time.monotonic_ns()}\\n'); time.sleep(0.5)"
    status, found = meter(capfd, "--device", UUID, "--", sys.executable, "-S", "-c", reload, str(resting.script))
    assert (status, found["reasons"][0]["code"]) == (5, "COUNTER_RESET")


def test_a_counter_that_reads_half_voids_its_channel(no_group, capfd, resting: Device) -> None:
    resting.set(gain_permille=570)
    status, found = meter(capfd, "--device", UUID, "--", sys.executable, "-S", WORKER, str(resting.script), "2")
    assert status == 5
    assert [reason["code"] for reason in found["reasons"]] == ["CHANNELS_DISAGREE"]
    assert found["channels"]["gpu"] == {
        "kind": "void",
        "joules": None,
        "uncertainty_joules": None,
        "idle_net_joules": None,
        "reason": "CHANNELS_DISAGREE",
    }


def test_another_device_is_the_operators(no_group, capfd, resting: Device) -> None:
    status, found = meter(capfd, "--device", "GPU-0", "--", "true")
    assert (status, found["error"]["code"]) == (4, "ACCELERATOR_UNAVAILABLE")


class TestOwnGroup:
    """The control group, on folders of the same shape."""

    def test_version_1_needs_its_two_hierarchies(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            OwnGroup.make("g", tmp_path)
        for name in ("cpuacct", "memory"):
            (tmp_path / name).mkdir()
        group = OwnGroup.make("g", tmp_path)
        for door in group.doors:
            Path(door).touch()
        assert group.doors == [str(tmp_path / name / "g" / "cgroup.procs") for name in ("cpuacct", "memory")]
        assert not group.remove()  # a folder of plain files is no group that a kernel lets go

    def test_version_2_is_one_folder(self, tmp_path: Path) -> None:
        (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
        group = OwnGroup.make("g", tmp_path)
        assert group.dirs == {"unified": tmp_path / "g"}
        (tmp_path / "g" / "cgroup.procs").write_text("17\n18\n")
        assert group.processes() == 2
        group.remove()
        assert (tmp_path / "cgroup.procs").read_text() == "18"  # the last one sent back

    def test_half_a_group_is_taken_back(self, tmp_path: Path) -> None:
        for name in ("cpuacct", "memory"):
            (tmp_path / name).mkdir()
        (tmp_path / "memory" / "g").mkdir()
        with pytest.raises(FileExistsError):
            OwnGroup.make("g", tmp_path)
        assert not (tmp_path / "cpuacct" / "g").exists()
