"""The stand-in device that feels work: its ring is its truth, and the real pynvml reads that truth out of it."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import pytest
from accelerator import UUID, UUIDS, Device

from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig
from protocol.errors import AcceleratorUnavailable
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.units import NS_PER_MS, NS_PER_S
from tests.standin import ring as ring_file
from tests.standin.activity import Activity, Ring, hierarchy


class PaperTree:
    """A hierarchy of control groups made of files, as version 1 or 2 has it."""

    def __init__(self, root: Path, version: int) -> None:
        self.root = root / "cpuacct" if version == 1 else root
        self.version = version
        self.root.mkdir(parents=True)
        if version == 2:
            (root / "cgroup.controllers").write_text("cpu memory\n")

    def use(self, name: str, cpu_ns: int, pids: str = "") -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text(pids)
        if self.version == 1:
            (folder / "cpuacct.usage").write_text(f"{cpu_ns}\n")
        else:
            (folder / "cpu.stat").write_text(f"usage_usec {cpu_ns // 1000}\nuser_usec 1\n")
        return folder

    def end(self, folder: Path) -> None:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> PaperTree:
    return PaperTree(tmp_path / "cgroup", request.param)


def test_what_ended_groups_had_used_is_kept(tmp_path: Path, tree: PaperTree) -> None:
    tree.use("jouleseal", 5 * NS_PER_S)
    tree.use("somebody-else", 77 * NS_PER_S)
    activity = Activity(hierarchy(tmp_path / "cgroup"))
    assert activity.used_ns() == 0  # what was used before is not this device's
    tree.use("jouleseal", 6 * NS_PER_S)
    command = tree.use("jouleseal-meter-1-1", 0)
    activity.scan()
    tree.use("jouleseal-meter-1-1", 2 * NS_PER_S)
    assert activity.used_ns() == 3 * NS_PER_S
    tree.end(command)
    activity.scan()
    assert activity.used_ns() == 3 * NS_PER_S
    tree.use("jouleseal-meter-1-2", NS_PER_S)  # it has worked before it was seen
    activity.scan()
    assert activity.used_ns() == 4 * NS_PER_S


def test_the_processes_are_those_of_every_group_below(tmp_path: Path, tree: PaperTree) -> None:
    tree.use("jouleseal", 0)
    tree.use("jouleseal/1-abc/c0ffee", 0, "77\n78\n")
    tree.use("jouleseal-meter-9", 0, "12\n")
    tree.use("jouleseal-of-somebody-else", 0, "99\n")
    assert Activity(hierarchy(tmp_path / "cgroup")).processes() == [12, 77, 78]


def test_the_ring_holds_idle_and_work(tmp_path: Path, tree: PaperTree) -> None:
    tree.use("jouleseal", 0)
    activity = Activity(hierarchy(tmp_path / "cgroup"))
    ring = Ring(tmp_path / "ring", activity, 70_000, 280_000)
    tree.use("jouleseal", NS_PER_S, "5\n")
    ring.tick()
    ring.list_processes()
    entries = ring_file.read(tmp_path / "ring")
    assert (tmp_path / "ring.pids").read_text() == "5\n"
    (begin, nothing), (_, past), (end, after) = entries
    assert nothing == 0
    assert past == (entries[1][0] - begin) * 70_000 // 10**6  # 70 W, in microjoules
    assert after == ((end - begin) * 70_000 + NS_PER_S * 280_000) // 10**6  # and a CPU second at 280 W
    assert ring_file.truth_joules(tmp_path / "ring", begin, end) == Fraction(after, 10**6)
    middle = (begin + entries[1][0]) // 2
    assert ring_file.truth_joules(tmp_path / "ring", begin, middle) == Fraction(past, 2 * 10**6)
    with pytest.raises(ValueError, match="says nothing"):
        ring_file.truth_joules(tmp_path / "ring", begin, end + 1)


def write_ring(path: Path, entries: list[tuple[int, int]]) -> None:
    path.write_bytes(b"".join(ring_file.ENTRY.pack(*entry) for entry in entries))


def sampled(path: Path, config: SamplerConfig) -> PowerTrace:
    with Sampler.start(path, config) as sampler:
        sampler.open_window("run-1")
        time.sleep(0.1)
        sampler.close_window()
        sampler.stop()
    return parse_trace(path.read_bytes())


def test_the_library_reads_the_ring_at_its_sensors_pace(tmp_path: Path, no_powercap: Path, device: Device) -> None:
    # 100 W for 3 s, then 400 W for 210 ms, entries every 10 ms; the last is long past, so every reading is of the end.
    start = time.monotonic_ns() - 60 * NS_PER_S
    entries = [(start + n * 10 * NS_PER_MS, n * 10**6 + max(n - 300, 0) * 3 * 10**6) for n in range(322)]
    write_ring(tmp_path / "ring", entries)
    (tmp_path / "pids").write_text("4\n5\n")
    device.set(wave="activity", ring=tmp_path / "ring", pids=tmp_path / "pids", start_ns=start)
    device.set(low_mw=100_000, high_mw=400_000)
    trace = sampled(tmp_path / "r", SamplerConfig(devices=(UUID,), powercap=no_powercap))
    assert set(trace.fast.column("gpu0.energy_mj")) == {
        320_000 + 60_000
    }  # at 3.2 s: the last tick of 100 ms, not the end
    assert set(trace.fast.column("gpu0.power_average_mw")) == {160_000}  # 0.8 s of 100 W and 0.2 s of 400 W
    assert set(trace.fast.column("gpu0.power_instant_mw")) == {400_000}
    assert set(trace.slow.column("gpu0.utilization")) == {100}
    assert set(trace.slow.column("gpu0.processes")) == {2}


def test_eight_devices_are_told_apart(tmp_path: Path, no_powercap: Path, device: Device) -> None:
    device.set(devices=8, high_mw=200_000, name="NVIDIA H100 80GB HBM3", driver="550.54.15", frozen=10)
    device.one(7, frozen=70)
    device.one(2, name="Another")
    trace = sampled(tmp_path / "r", SamplerConfig(devices=(UUIDS[7], UUIDS[2]), powercap=no_powercap))
    assert (trace.host["gpu0.name"], trace.host["gpu1.name"]) == ("NVIDIA H100 80GB HBM3", "Another")
    assert trace.host["driver"] == "550.54.15"
    assert set(trace.fast.column("gpu0.energy_mj")) == {70}
    assert set(trace.fast.column("gpu1.energy_mj")) == {10}


def test_a_device_more_than_there_are_is_not_there(tmp_path: Path, no_powercap: Path, device: Device) -> None:
    device.set(devices=2)
    with pytest.raises(AcceleratorUnavailable):
        Sampler.start(tmp_path / "r", SamplerConfig(devices=(UUIDS[2],), powercap=no_powercap))


def test_a_ring_that_is_written_no_more_is_a_counter_that_stands_still(
    tmp_path: Path, no_powercap: Path, device: Device
) -> None:
    start = time.monotonic_ns() - NS_PER_S
    write_ring(tmp_path / "ring", [(start, 0), (start + 250 * NS_PER_MS, 9 * 10**6)])
    device.set(wave="activity", ring=tmp_path / "ring", start_ns=start)
    trace = sampled(tmp_path / "r", SamplerConfig(devices=(UUID,), powercap=no_powercap))
    assert set(trace.fast.column("gpu0.energy_mj")) == {9_000}
