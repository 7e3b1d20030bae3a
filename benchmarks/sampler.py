"""What metering costs: the sampler's share of a core at its default cadence, over real time, beside a busy sandbox.

Each row is one sampler process that reads a live cgroup (and, with gcc on the machine, the tests' stand-in accelerator
through pynvml) for --seconds while two busy processes compete for the CPUs. CPU time is the process's own, from
/proc/PID/stat between two marks, so that its start does not count; lateness is how long after its deadline a sample was
taken. Goal: under 1 % of a core. Only root may make the cgroup of its own that the numbers need.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig, SandboxTarget
from protocol.methodology.energy import validate
from protocol.methodology.trace import parse_trace

GOAL_SHARE = 0.01
BUSY_PROCESSES = 2
CGROUP_ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpuacct", "memory", "blkio", "pids", "unified")
STANDIN = Path(__file__).resolve().parents[1] / "tests" / "standin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sampler: share of a core, lateness of its samples in milliseconds, misses, and how fast its record grows."""

    instruments: str
    busy_processes: int
    seconds: float
    cpu_share: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    misses: int
    record_bytes_per_s: int
    parse_ms_per_5_min: float


@contextlib.contextmanager
def sandbox(busy: int) -> Iterator[SandboxTarget]:
    """Busy processes in a cgroup of their own, in every hierarchy that this machine has."""
    name = f"jouleseal-bench-{os.getpid()}"
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        dirs = {"unified": CGROUP_ROOT / name}
    else:
        dirs = {c: CGROUP_ROOT / c / name for c in CONTROLLERS if (CGROUP_ROOT / c).is_dir()}
    for path in dirs.values():
        path.mkdir()
    busy_loop = "import math\nwhile True: math.factorial(400)"
    processes = [subprocess.Popen([sys.executable, "-c", busy_loop]) for _ in range(busy)]
    processes.append(subprocess.Popen(["sleep", "3600"]))
    for path in dirs.values():
        for process in processes:
            (path / "cgroup.procs").write_text(str(process.pid))
    try:
        yield SandboxTarget(container_id=name, init_pid=processes[0].pid, cgroup_dirs=dirs, cpus_milli=1000)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for path in dirs.values():
            path.rmdir()


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
    return int(fields[0]) / 1e9


def measure(instruments: str, config: SamplerConfig, busy: int, seconds: float) -> Row:
    """Run one sampler for a while and read its record."""
    with tempfile.TemporaryDirectory() as folder, sandbox(busy) as target:
        path = Path(folder) / "record"
        with Sampler.start(path, config) as sampler:
            sampler.attach(target)
            opened = sampler.open_window("bench")
            before = cpu_seconds(sampler.pid)
            time.sleep(seconds)
            spent = cpu_seconds(sampler.pid) - before
            closed = sampler.close_window()
            sampler.stop()
        data = path.read_bytes()
    began = time.perf_counter()
    trace = parse_trace(data)
    parsing = time.perf_counter() - began
    validate(trace)
    late = sorted((at - trace.origin_ns) % config.period_ns / 1e6 for at in trace.fast.times if opened < at < closed)
    elapsed = (closed - opened) / 1e9
    return Row(
        instruments=instruments,
        busy_processes=busy,
        seconds=round(elapsed, 1),
        cpu_share=spent / elapsed,
        late_p50_ms=late[len(late) // 2],
        late_p99_ms=late[int(len(late) * 0.99)],
        late_max_ms=late[-1],
        misses=trace.misses,
        record_bytes_per_s=round(len(data) / elapsed),
        parse_ms_per_5_min=parsing * 1e3 * 300 / elapsed,
    )


def rows(seconds: float) -> list[Row]:
    """Measure the host's instruments idle and busy, and with one accelerator where the stand-in can be built."""
    found = [measure("host, cgroup", SamplerConfig(), busy, seconds) for busy in (0, BUSY_PROCESSES)]
    if shutil.which("gcc") is None:
        return found
    sys.path.insert(0, str(STANDIN))
    # Imported here because it lies with the tests, and only where its library can be compiled.
    from accelerator import CONTROL, UUID, Device, build  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        os.environ["LD_LIBRARY_PATH"] = str(build(Path(folder)))
        os.environ[CONTROL] = str(Path(folder) / "device.txt")
        Device(Path(folder) / "device.txt")
        config = SamplerConfig(devices=(UUID,))
        found.append(measure("host, cgroup, NVML stand-in", config, BUSY_PROCESSES, seconds))
    return found


def show(found: list[Row]) -> None:
    """Print the rows as a table."""
    head = ("% of a core", "late p50 ms", "p99 ms", "max ms", "missed", "bytes/s")
    print(f"{'sampler reads':<28} {'busy':>4} " + " ".join(f"{word:>11}" for word in head))
    for row in found:
        late = f"{row.late_p50_ms:>11.2f} {row.late_p99_ms:>11.2f} {row.late_max_ms:>11.2f}"
        print(
            f"{row.instruments:<28} {row.busy_processes:>4} {row.cpu_share * 100:>11.3f} {late} "
            f"{row.misses:>11} {row.record_bytes_per_s:>11}"
        )
    print(f"goal: under {GOAL_SHARE * 100:g} % of a core at the default cadence")
    print(f"five minutes of record are read in {found[0].parse_ms_per_5_min:.0f} ms")


def main() -> int:
    """Print the table; exits 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each sampler runs (default 20)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args()
    found = rows(arguments.seconds)
    if arguments.json:
        print(json.dumps({"goal_cpu_share": GOAL_SHARE, "rows": [asdict(row) for row in found]}, indent=1))
    else:
        show(found)
    return 0 if all(row.cpu_share < GOAL_SHARE for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
