"""A real container's cgroup, read from outside: both versions agree, and the sampler's record says the same."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.launch.cgroups import Membership, directories
from orchestrator.meter.cgroup import CLOCK_V1, CLOCK_V2, CgroupInstrument
from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig, SandboxTarget
from protocol.errors import InvalidMeasurement
from protocol.methodology.energy import Estimated, account, validate
from protocol.methodology.trace import parse_trace
from protocol.units import NS_PER_MS, NS_PER_S, NS_PER_US

pytestmark = pytest.mark.engine

IMAGE = "jouleseal/base:local"
TICK_NS = 10 * NS_PER_MS  # a busy group's clock is brought up to date at scheduler ticks at the latest
WORK = """
import time
end = time.process_time() + 1.5
while time.process_time() < end: pass
open("/tmp/done", "w").close()
time.sleep(600)
"""


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def container() -> Iterator[tuple[str, SandboxTarget]]:
    """A sealed-off container that burns 1.5 CPU seconds when it is told to go, and then sleeps."""
    wait = "import os, time\nwhile not os.path.exists('/tmp/go'): time.sleep(0.01)\n"
    words = "run --detach --network none --read-only --cap-drop ALL --memory 256m --tmpfs /tmp".split()
    container_id = docker(*words, "--entrypoint", "python3", IMAGE, "-c", wait + WORK)
    try:
        pid = int(docker("inspect", "--format", "{{.State.Pid}}", container_id))
        membership = Membership.parse(Path(f"/proc/{pid}/cgroup").read_text())
        dirs = directories(membership, Path("/proc/self/mountinfo").read_text())
        yield container_id, SandboxTarget(container_id=container_id, init_pid=pid, cgroup_dirs=dirs, cpus_milli=1000)
    finally:
        docker("rm", "--force", container_id)


def inside(pid: int, name: str) -> Path:
    return Path(f"/proc/{pid}/root/tmp/{name}")


def work(pid: int) -> None:
    """Let the container do its work, and wait until it has."""
    inside(pid, "go").touch()
    while not inside(pid, "done").exists():
        time.sleep(0.05)


def test_every_version_of_this_host_counts_the_same_cpu_time(container) -> None:
    _, target = container
    dirs = target.cgroup_dirs
    memory = {name: dirs[name] for name in ("memory",) if name in dirs}
    readers = {}
    if "cpuacct" in dirs:
        readers[CLOCK_V1] = CgroupInstrument({"cpuacct": dirs["cpuacct"], **memory})
    if "unified" in dirs:
        readers[CLOCK_V2] = CgroupInstrument({"unified": dirs["unified"], **memory})
    assert readers
    assert all(reader.clock == clock for clock, reader in readers.items())
    work(target.init_pid)
    time.sleep(0.2)  # it sleeps now: no clock moves between two reads
    own = int(Path(f"/proc/{target.init_pid}/schedstat").read_text().split()[0])
    found = {clock: reader.read()[0] for clock, reader in readers.items()}
    # What the engine's own starter used inside the group before the container's program began comes on top.
    assert all(1.5 * NS_PER_S < own <= ns + NS_PER_US and ns < own + NS_PER_S for ns in found.values())
    assert len({ns // NS_PER_US for ns in found.values()}) == 1
    for reader in readers.values():
        assert reader.read_host()[0] > 1 << 20
        reader.close()


def test_the_record_of_a_real_container_holds_its_work(tmp_path, container) -> None:
    container_id, target = container
    path = tmp_path / "record"
    with Sampler.start(path, SamplerConfig(powercap=tmp_path / "none")) as sampler:
        sampler.attach(target)
        for name in ("idle-0", "run-1", "idle-1"):
            sampler.open_window(name)
            work(target.init_pid) if name == "run-1" else time.sleep(0.5)
            sampler.close_window()
        docker("kill", container_id)
        sampler.stop()
    trace = parse_trace(path.read_bytes())
    validate(trace)
    run = trace.window("run-1")
    found = account(trace, run, trace.window("idle-0"), trace.window("idle-1"))
    assert 1.5 * NS_PER_S - TICK_NS <= found.facts.cpu_ns <= run.duration_ns + TICK_NS
    cpu, dram = found.channels["cpu"], found.channels["dram"]
    assert isinstance(cpu, Estimated)
    assert float(cpu.joules) == pytest.approx(0.74 * run.duration_ns / 1e9 + 2.76 * found.facts.cpu_ns / 1e9)
    assert isinstance(dram, Estimated)
    assert dram.joules > 0
    assert 0 < found.idle_net["cpu"].joules < cpu.joules
    assert found.facts.memory_peak_bytes >= 1 << 20


def test_a_container_that_is_killed_in_a_window_voids_it(tmp_path, container) -> None:
    container_id, target = container
    path = tmp_path / "record"
    with Sampler.start(path, SamplerConfig(powercap=tmp_path / "none")) as sampler:
        sampler.attach(target)
        sampler.open_window("run-1")
        docker("kill", container_id)
        docker("wait", container_id)
        while target.cgroup_dirs["memory"].exists():
            time.sleep(0.05)
        time.sleep(0.3)
        sampler.close_window()
        sampler.stop()
    trace = parse_trace(path.read_bytes())
    assert [failure.instrument for failure in trace.failures] == ["cgroup"]
    with pytest.raises(InvalidMeasurement) as caught:
        validate(trace)
    assert caught.value.code == "CHANNEL_LOST"
