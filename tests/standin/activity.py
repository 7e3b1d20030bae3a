"""Turns what Jouleseal's sandboxes and metered commands compute into the power of a stand-in device, while it runs.

    python -m tests.standin.activity RING IDLE_MW MW_PER_CPU PERIOD_MS      (ends when its standard input does)

Every period it reads the CPU time that the groups have used, those that have ended since too, and appends to the RING

    energy so far = IDLE_MW x time + MW_PER_CPU x CPU time

IDLE_MW, MW_PER_CPU: what the device takes at rest and for each busy CPU, in milliwatts.

Beside it, RING.pids holds the processes of the groups: the device's compute processes. Groups are found by the names
that `orchestrator.launch.layout` and `orchestrator.meter` give them, in the hierarchy that counts CPU time. Only those
of the daemon's own family count, the processes under its parent: others may work beside it on a device of their own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.standin.ring import ENTRY

PARENTS = ("jouleseal", "jouleseal.slice")  # under one of them every sandbox has its group
COMMANDS = "jouleseal-meter-"
CGROUP_ROOT = Path("/sys/fs/cgroup")
PAST_NS = 2_000_000_000  # the device has idled so long when it is first seen: its 1 s mean has a past
SCAN_NS = 100_000_000
PICO_PER_MICRO = 1_000_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


def hierarchy(root: Path = CGROUP_ROOT) -> Path:
    """The tree of groups in which CPU time is counted."""
    if (root / "cgroup.controllers").exists():
        return root
    trees = (root / "cpuacct", root / "cpu,cpuacct", root / "unified")
    return next((path for path in trees if path.is_dir()), root)


class Group:
    """One group's CPU time since it was first seen, kept when the group has ended."""

    def __init__(self, folder: Path, *, counted: bool) -> None:
        name = "cpuacct.usage" if (folder / "cpuacct.usage").exists() else "cpu.stat"
        self._file = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
        self._before = 0 if counted else self._read()
        self._used = 0

    def used_ns(self) -> int:
        with contextlib.suppress(OSError):  # it has ended: what it had used stands
            self._used = max(self._used, self._read() - self._before)
        return self._used

    def close(self) -> int:
        os.close(self._file)
        return self._used

    def _read(self) -> int:
        first = os.pread(self._file, 64, 0).split()
        return int(first[1]) * 1_000 if first[0] == b"usage_usec" else int(first[0])


class Family:
    """The processes under one of them, and the sandboxes that they hold."""

    def __init__(self, pid: int, proc: Path = Path("/proc")) -> None:
        self._pid = pid
        self._proc = proc

    def owns(self, name: str, pids: set[int]) -> bool:
        """Whether a group is the family's: a metered command by its name, a sandbox by who holds its first process."""
        members = set(self._members(self._pid))
        if name.startswith(COMMANDS):
            return int(name.removeprefix(COMMANDS).split("-")[0]) in members
        return any(held in pids for member in members for held in self._held(member))

    def _members(self, pid: int) -> Iterator[int]:
        yield pid
        for listed in self._proc.glob(f"{pid}/task/*/children"):
            with contextlib.suppress(OSError):
                for child in listed.read_text().split():
                    yield from self._members(int(child))

    def _held(self, pid: int) -> Iterator[int]:
        """The processes of which this one has a pidfd: `orchestrator.launch.process` keeps one for each sandbox."""
        for descriptor in self._proc.glob(f"{pid}/fdinfo/*"):
            with contextlib.suppress(OSError):
                for line in descriptor.read_text().splitlines():
                    if line.startswith("Pid:"):
                        yield int(line.split()[1])


class Activity:
    """The family's groups in one hierarchy: their CPU time together, and their processes."""

    def __init__(self, root: Path, owns: Callable[[str, set[int]], bool]) -> None:
        self._root = root
        self._owns = owns
        self._groups: dict[tuple[Path, int], Group] = {}
        self._ended_ns = 0
        self.processes: list[int] = []
        self.scan(counted=False)

    def scan(self, *, counted: bool = True) -> None:
        """Look which groups there are; what a new one has used counts whole, but for those found at the beginning."""
        found: dict[tuple[Path, int], Path] = {}
        pids: set[int] = set()
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):
                key, inside = (folder, folder.stat().st_ino), _processes(folder)
                if key in self._groups or self._owns(folder.name, inside):
                    found[key] = folder
                    pids |= inside
        for key in set(self._groups) - set(found):
            group = self._groups.pop(key)
            group.used_ns()
            self._ended_ns += group.close()
        for key in set(found) - set(self._groups):
            with contextlib.suppress(FileNotFoundError):
                self._groups[key] = Group(found[key], counted=counted)
        self.processes = sorted(pids)

    def used_ns(self) -> int:
        return self._ended_ns + sum(group.used_ns() for group in self._groups.values())

    def _folders(self) -> Iterator[Path]:
        for folder in _inside(self._root):
            if folder.name in PARENTS:
                yield from _inside(folder)
            elif folder.name.startswith(COMMANDS):
                yield folder


def _inside(folder: Path) -> list[Path]:
    """The groups directly in one; none where it has ended meanwhile."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _processes(folder: Path) -> set[int]:
    """The processes of a group and of all below it."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        found.update(map(int, (folder / "cgroup.procs").read_text().split()))
    return found.union(*map(_processes, _inside(folder)))


class Ring:
    """Writes the file, and beside it the processes whenever they are others."""

    def __init__(self, path: Path, activity: Activity, idle_mw: int, mw_per_cpu: int) -> None:
        self._activity = activity
        self._idle_mw = idle_mw
        self._mw_per_cpu = mw_per_cpu
        self._pids = path.with_name(path.name + ".pids")
        self._written: list[int] | None = None
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.start_ns = time.monotonic_ns()
        self._origin_ns = self.start_ns - PAST_NS
        self._last_uj = 0
        self.list_processes()
        os.write(self._file, ENTRY.pack(self._origin_ns, 0))
        self.tick()

    def tick(self) -> None:
        used = self._activity.used_ns()
        now = time.monotonic_ns()
        joined = (now - self._origin_ns) * self._idle_mw + used * self._mw_per_cpu  # in picojoules
        self._last_uj = max(self._last_uj, joined // PICO_PER_MICRO)
        os.write(self._file, ENTRY.pack(now, self._last_uj))

    def list_processes(self) -> None:
        found = self._activity.processes
        if found != self._written:
            beside = self._pids.with_suffix(".new")
            beside.write_text("".join(f"{pid}\n" for pid in found))
            beside.rename(self._pids)
            self._written = found


def follow(ring: Ring, activity: Activity, period_ns: int) -> None:
    """Tick on absolute deadlines until standard input ends."""
    turn = 0
    scanned = ring.start_ns
    while True:
        now = time.monotonic_ns()
        turn = max(turn + 1, (now - ring.start_ns) // period_ns)
        wait_ns = max(ring.start_ns + turn * period_ns - now, 0)
        if select.select([0], [], [], wait_ns / NS_PER_S)[0]:
            return
        ring.tick()
        if time.monotonic_ns() - scanned >= SCAN_NS:
            scanned = time.monotonic_ns()
            activity.scan()
            ring.list_processes()


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at the terminal it is the command's; we end when it has ended
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))  # a busy sandbox does not make the device's ticks late
    idle_mw, mw_per_cpu, period_ms = (int(word) for word in sys.argv[2:5])
    activity = Activity(hierarchy(), Family(os.getppid()).owns)
    ring = Ring(Path(sys.argv[1]), activity, idle_mw, mw_per_cpu)
    print(ring.start_ns, flush=True)
    follow(ring, activity, period_ms * NS_PER_MS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
