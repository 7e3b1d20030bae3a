"""The machine itself: how busy all of its CPUs are, and the facts that a record opens with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.meter.files import KernelFile, as_number
from protocol.methodology.trace import HOST_BUSY

if TYPE_CHECKING:
    from pathlib import Path

_IDLE_FIELDS = (3, 4)  # of /proc/stat's cpu line: idle and iowait
_TIME_FIELDS = 8  # user nice system idle iowait irq softirq steal; guest time is already in user
_MAX_FACT = 120  # characters of one fact


class HostInstrument:
    """Reads /proc/stat: clock ticks in which any CPU did anything, summed over the CPUs, since the machine started."""

    name = "host"
    columns: tuple[str, ...] = ()
    host_columns = (HOST_BUSY,)

    def __init__(self, proc: Path) -> None:
        """Open /proc/stat; raises OSError where there is none."""
        self._stat = KernelFile(proc / "stat")

    def read(self) -> tuple[int | None, ...]:
        """Return nothing: the machine is read once a second."""
        return ()

    def read_host(self) -> tuple[int | None, ...]:
        """Return the busy ticks."""
        return (busy_ticks(self._stat.text()),)

    def close(self) -> None:
        """Close the file."""
        self._stat.close()


def busy_ticks(text: bytes) -> int:
    """Return the busy clock ticks of a /proc/stat; raises MeterUnavailable READ_FAILED for another kind of text."""
    words = text.split(b"\n", 1)[0].split()
    fields = [as_number("/proc/stat", word) for word in words[1 : 1 + _TIME_FIELDS]]
    if words[:1] != [b"cpu"] or len(fields) < _TIME_FIELDS:
        return as_number("/proc/stat", b"")
    return sum(value for place, value in enumerate(fields) if place not in _IDLE_FIELDS)


def host_facts(proc: Path, governor: Path) -> dict[str, str]:
    """Return the processor's name, the kernel's version and the frequency governor, as this machine states them."""
    model = "unknown"
    for line in _lines(proc / "cpuinfo"):
        if line.startswith(("model name", "Model", "CPU implementer")):
            model = line.partition(":")[2].strip()
            break
    facts = {"cpu": model, "kernel": os.uname().release, "machine": os.uname().machine}
    facts["governor"] = next(iter(_lines(governor)), "none stated")
    return {name: _ascii(value) for name, value in facts.items()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")[:_MAX_FACT]
