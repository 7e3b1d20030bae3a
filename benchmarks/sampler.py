"""What metering costs: the sampler's CPU time at its default cadence, over real time, and how late its samples are.

Each row is one sampler process that reads a live cgroup (and, with gcc on the machine, one or eight of the tests'
stand-in accelerators through pynvml) for --seconds, alone and beside four busy processes in that cgroup. CPU time is
that of all its threads, from /proc/PID/task/*/schedstat between two marks, so that its start does not count; lateness
is how long after its deadline a sample was taken. Only root may make the cgroup of its own that the numbers need.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig, SandboxTarget
from protocol.methodology.energy import validate
from protocol.methodology.trace import parse_trace

GOAL_MS_PER_S = {0: 5.0, 1: 5.0, 8: 12.0}  # CPU, by how many accelerators are read
GOAL_LATE_P99_MS = 5.0
BUSY_PROCESSES = 4
CGROUP_ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpuacct", "memory", "blkio", "pids", "unified")
STANDIN = Path(__file__).resolve().parents[1] / "tests" / "standin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sampler: CPU time and its ratio to the host's row, lateness of its samples, misses, its record's growth."""

    accelerators: int
    busy_processes: int
    seconds: float
    cpu_ms_per_s: float
    ratio_to_host: float
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    misses: int
    record_bytes_per_s: int
    parse_ms_per_5_min: float

    @property
    def within(self) -> bool:
        """Whether the row meets its goals."""
        return self.cpu_ms_per_s <= GOAL_MS_PER_S[self.accelerators] and self.late_p99_ms < GOAL_LATE_P99_MS


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
    """The CPU time of a process so far, all its threads together."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def measure(config: SamplerConfig, busy: int, seconds: float) -> Row:
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
        accelerators=len(config.devices),
        busy_processes=busy,
        seconds=round(elapsed, 1),
        cpu_ms_per_s=spent * 1e3 / elapsed,
        ratio_to_host=1.0,
        late_p50_ms=late[len(late) // 2],
        late_p99_ms=late[int(len(late) * 0.99)],
        late_max_ms=late[-1],
        misses=trace.misses,
        record_bytes_per_s=round(len(data) / elapsed),
        parse_ms_per_5_min=parsing * 1e3 * 300 / elapsed,
    )


def rows(seconds: float) -> list[Row]:
    """Measure the host's instruments, and with one and eight accelerators where the stand-in can be built."""
    if shutil.which("gcc") is None:
        return _beside([measure(SamplerConfig(), busy, seconds) for busy in (0, BUSY_PROCESSES)])
    sys.path.insert(0, str(STANDIN))
    # Imported here because it lies with the tests, and only where its library can be compiled.
    from accelerator import CONTROL, UUIDS, Device, build  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        os.environ["LD_LIBRARY_PATH"] = str(build(Path(folder)))
        os.environ[CONTROL] = str(Path(folder) / "device.txt")
        Device(Path(folder) / "device.txt", devices=len(UUIDS))
        configs = [SamplerConfig(devices=UUIDS[:count]) for count in GOAL_MS_PER_S]
        return _beside([measure(config, busy, seconds) for busy in (0, BUSY_PROCESSES) for config in configs])


def _beside(found: list[Row]) -> list[Row]:
    """Put each row in relation to that of the host's instruments alone, with as many busy processes."""
    host = {row.busy_processes: row.cpu_ms_per_s for row in found if not row.accelerators}
    return [replace(row, ratio_to_host=row.cpu_ms_per_s / host[row.busy_processes]) for row in found]


def show(found: list[Row]) -> None:
    """Print the rows as a table."""
    head = ("CPU, ms/s", "goal", "to host's", "late p50 ms", "p99 ms", "max ms", "missed", "bytes/s")
    print(f"{'sampler reads':<30} {'busy':>4} " + " ".join(f"{word:>11}" for word in head))
    for row in found:
        many = "s" if row.accelerators > 1 else ""
        named = f"host, cgroup, {row.accelerators} accelerator{many}" if row.accelerators else "host, cgroup"
        cost = f"{row.cpu_ms_per_s:>11.2f} {GOAL_MS_PER_S[row.accelerators]:>11g} {row.ratio_to_host:>11.2f}"
        late = f"{row.late_p50_ms:>11.2f} {row.late_p99_ms:>11.2f} {row.late_max_ms:>11.2f}"
        print(f"{named:<30} {row.busy_processes:>4} {cost} {late} {row.misses:>11} {row.record_bytes_per_s:>11}")
    print(f"goal of lateness: p99 under {GOAL_LATE_P99_MS:g} ms; the accelerators are the tests' stand-in library")
    print(f"five minutes of record are read in {found[0].parse_ms_per_5_min:.0f} ms")


def main() -> int:
    """Print the table; exits 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each sampler runs (default 20)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    arguments = parser.parse_args()
    found = rows(arguments.seconds)
    if arguments.json:
        print(
            json.dumps(
                {
                    "goals": {"cpu_ms_per_s": GOAL_MS_PER_S, "late_p99_ms": GOAL_LATE_P99_MS},
                    "rows": list(map(asdict, found)),
                },
                indent=1,
            )
        )
    else:
        show(found)
    return 0 if all(row.within for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
