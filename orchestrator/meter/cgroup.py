"""The sandbox's own use of the machine, read from outside it: CPU time, memory, block I/O and processes of its cgroup.

Every figure is of the group and all groups below it, so a session's parent group may stand for its sandbox's own.
Version 1 and version 2 are both read; on a hybrid host the finer clock wins (v1's `cpuacct.usage` counts nanoseconds,
v2's `cpu.stat` microseconds of the same time). CPU time and memory are needed; block I/O and processes may be absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.meter.files import KernelFile, keyed_number, open_if_there
from protocol.errors import MeterUnavailable
from protocol.methodology.trace import BLOCK_IO, CPU_TIME, MEMORY, MEMORY_PEAK, PIDS
from protocol.units import NS_PER_US

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COLUMNS = (CPU_TIME,)
HOST_COLUMNS = (MEMORY, MEMORY_PEAK, BLOCK_IO, PIDS)

CLOCK_V1 = "cpuacct.usage"
CLOCK_V2 = "cpu.stat usage_usec"

IO_V1_TREE = "blkio.throttle.io_service_bytes_recursive"  # v1 counts a group's children nowhere else
IO_V1 = "blkio.throttle.io_service_bytes"


class CgroupInstrument:
    """Reads one sandbox's cgroup. `clock` names the file that the CPU time comes from."""

    name = "cgroup"
    columns = COLUMNS
    host_columns = HOST_COLUMNS

    def __init__(self, dirs: Mapping[str, Path]) -> None:
        """Open what the cgroup offers; raises MeterUnavailable NO_CGROUP where it has no CPU time or no memory."""
        self._cpu_v1 = _first(dirs, {"cpuacct": "cpuacct.usage"})
        self._cpu_v2 = None if self._cpu_v1 else _first(dirs, {"unified": "cpu.stat"})
        self._memory = _first(dirs, {"memory": "memory.usage_in_bytes", "unified": "memory.current"})
        self._peak = _first(dirs, {"memory": "memory.max_usage_in_bytes", "unified": "memory.peak"})
        self._io_v1 = _first(dirs, {"blkio": IO_V1_TREE}) or _first(dirs, {"blkio": IO_V1})
        self._io_v2 = None if self._io_v1 else _first(dirs, {"unified": "io.stat"})
        self._pids = _first(dirs, {"pids": "pids.current", "unified": "pids.current"})
        self.clock = CLOCK_V1 if self._cpu_v1 else CLOCK_V2
        if self._memory is None or (self._cpu_v1 or self._cpu_v2) is None:
            self.close()
            raise MeterUnavailable(
                code="NO_CGROUP",
                observed="no CPU time or no memory in the sandbox's cgroup",
                expected="the cpuacct and memory controllers (v1), or cpu.stat and memory.current (v2)",
                hint="enable both controllers for containers, or run the meter with the host's cgroup tree mounted",
            )

    def read(self) -> tuple[int | None, ...]:
        """Return the CPU time used so far, in nanoseconds."""
        if self._cpu_v1 is not None:
            return (self._cpu_v1.number(),)
        return (None if self._cpu_v2 is None else usage_v2(self._cpu_v2.text()),)

    def read_host(self) -> tuple[int | None, ...]:
        """Return memory in use and at its peak, bytes read and written, and processes."""
        return (
            None if self._memory is None else self._memory.number(),
            None if self._peak is None else self._peak.number(),
            self._io(),
            None if self._pids is None else self._pids.number(),
        )

    def close(self) -> None:
        """Close every file."""
        for file in (self._cpu_v1, self._cpu_v2, self._memory, self._peak, self._io_v1, self._io_v2, self._pids):
            if file is not None:
                file.close()

    def _io(self) -> int | None:
        if self._io_v1 is not None:
            return block_bytes_v1(self._io_v1.text())
        return None if self._io_v2 is None else block_bytes_v2(self._io_v2.text())


def usage_v2(text: bytes) -> int:
    """Return the CPU time of a v2 `cpu.stat`, in nanoseconds."""
    return keyed_number("cpu.stat", text, b"usage_usec") * NS_PER_US


def block_bytes_v1(text: bytes) -> int:
    """Return the bytes of a v1 `blkio.throttle.io_service_bytes`: its reads and writes (its total counts discards)."""
    total = 0
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in {b"Read", b"Write"} and words[2].isdigit():  # noqa: PLR2004 - dev, op, n
            total += int(words[2])
    return total


def block_bytes_v2(text: bytes) -> int:
    """Return the bytes of a v2 `io.stat`: its rbytes and wbytes."""
    total = 0
    for word in text.split():
        key, _, value = word.partition(b"=")
        if key in {b"rbytes", b"wbytes"} and value.isdigit():
            total += int(value)
    return total


def _first(dirs: Mapping[str, Path], candidates: Mapping[str, str]) -> KernelFile | None:
    for controller, name in candidates.items():
        if controller in dirs:
            file = open_if_there(dirs[controller] / name)
            if file is not None:
                return file
    return None
