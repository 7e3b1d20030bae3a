"""The stand-in device that feels work: its ring is its truth, and the real pynvml reads that truth out of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
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
from tests.standin.activity import Activity, Family, Ring, hierarchy


class PaperTree:
    """A hierarchy of control groups made of files, as version 1 or 2 has it."""

    def __init__(self, root: Path, version: int) -> None:
        self.top = root
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

    def activity(self, owns: Callable[[str, set[int]], bool] = lambda _name, _pids: True) -> Activity:
        return Activity(hierarchy(self.top), owns)

    def end(self, folder: Path) -> None:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> PaperTree:
    return PaperTree(tmp_path / "cgroup", request.param)


def test_what_ended_groups_had_used_is_kept(tree: PaperTree) -> None:
    tree.use("jouleseal/1-abc", 5 * NS_PER_S)
    tree.use("somebody-else", 77 * NS_PER_S)
    activity = tree.activity()
    assert activity.used_ns() == 0  # what was used before is not this device's
    tree.use("jouleseal/1-abc", 6 * NS_PER_S)
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


def test_the_processes_are_those_of_every_group_below(tree: PaperTree) -> None:
    tree.use("jouleseal/1-abc/c0ffee", 0, "77\n78\n")
    tree.use("jouleseal-meter-9", 0, "12\n")
    tree.use("jouleseal-of-somebody-else", 0, "99\n")
    assert tree.activity().processes == [12, 77, 78]


def test_what_another_family_runs_is_not_felt(tree: PaperTree) -> None:
    tree.use("jouleseal/1-abc", 0, "77\n")
    tree.use("jouleseal/2-def", 0, "78\n")
    activity = tree.activity(lambda _name, pids: 77 in pids)
    tree.use("jouleseal/2-def", NS_PER_S, "78\n")
    assert (activity.used_ns(), activity.processes) == (0, [77])
    activity.scan()
    assert activity.used_ns() == 0


def test_a_family_owns_its_metered_commands_and_the_sandboxes_that_it_holds() -> None:
    hold = "import os, sys; kept = os.pidfd_open(os.getpid()); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ours, theirs = Family(os.getpid()), Family(child.pid + 10_000_000)
        assert ours.owns("1-abc", {child.pid, 1})
        assert ours.owns(f"jouleseal-meter-{child.pid}-5", set())
        assert not ours.owns("1-abc", {1})
        assert not ours.owns("jouleseal-meter-1-5", set())
        assert not theirs.owns("1-abc", {child.pid})
        child.communicate()


def test_the_ring_holds_idle_and_work(tmp_path: Path, tree: PaperTree) -> None:
    tree.use("jouleseal/1-abc", 0)
    activity = tree.activity()
    ring = Ring(tmp_path / "ring", activity, 70_000, 280_000)
    tree.use("jouleseal/1-abc", NS_PER_S, "5\n")
    ring.tick()
    activity.scan()
    ring.list_processes()
    entries = ring_file.read(tmp_path / "ring")
    assert (tmp_path / "ring.pids").read_text() == "5\n"
    (begin, nothing), (_, past), (end, after) = entries
    assert nothing == 0
    assert past == (entries[1][0] - begin) * 70_000 // 10**6  # 70 W, in microjoules
    assert after == ((end - begin) * 70_000 + NS_PER_S * 280_000) // 10**6  # and a CPU second at 280 W
    assert ring_file.truth_joules(tmp_path / "ring", begin, end) == Fraction(after, 10**6)
    early = ring_file.truth_joules(tmp_path / "ring", begin, begin + 1_000)
    assert early == Fraction(past * 1_000, 10**6 * (entries[1][0] - begin))
    with pytest.raises(ValueError, match="says nothing"):
        ring_file.truth_joules(tmp_path / "ring", begin, end + 1)


def write_ring(path: Path, entries: list[tuple[int, int]]) -> None:
    path.write_bytes(b"".join(ring_file.ENTRY.pack(*entry) for entry in entries))


def test_what_work_between_two_entries_may_have_been_is_bounded(tmp_path: Path) -> None:
    # Idle at 100 W; 4 J of work between 10 and 20 ms, 8 J to 30 ms, 2 J to 40 ms. The window is from 15 to 35 ms.
    ms, joule = NS_PER_MS, 10**6
    work = [0, 0, 4, 12, 14, 14]
    write_ring(tmp_path / "ring", [(n * 10 * ms, (n + done) * joule) for n, done in enumerate(work)])
    assert ring_file.truth_joules(tmp_path / "ring", 15 * ms, 35 * ms) == 2 + 2 + 8 + 1
    assert ring_file.truth_bounds(tmp_path / "ring", 15 * ms, 35 * ms, 100_000) == (2 + 8, 2 + 4 + 8 + 2)
    assert ring_file.truth_bounds(tmp_path / "ring", 20 * ms, 30 * ms, 100_000) == (1 + 8, 1 + 8)
    assert ring_file.truth_bounds(tmp_path / "ring", 20 * ms, 30 * ms, 100_000, 10 * ms) == (1 + 8, 1 + 4 + 8 + 2)


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
