"""Power now, for a screen: the same models and counters as the account's, over the last second of raw rows.

Nothing here is evidence; the account of a window is `protocol.methodology.energy`, from the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from orchestrator.meter.interface import LiveReading, Power
from protocol.methodology import trace as record
from protocol.methodology.energy import NotApplicable, Unmeasured
from protocol.methodology.host_models import CPU_MAX_WATTS, CPU_MIN_WATTS, DRAM_WATTS_PER_GB
from protocol.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GB = 10**9
_MILLI = Fraction(1, 1_000)
_MICRO = Fraction(1, 1_000_000)
_KINDS = {record.SourceKind.MODEL: "estimated", record.SourceKind.SIMULATED: "simulated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Two moments of one kind of row: times in nanoseconds, and values by column."""

    columns: Sequence[str]
    start_ns: int
    end_ns: int
    start: Sequence[int | None]
    end: Sequence[int | None]

    def now(self, column: str) -> int | None:
        """Return a column's newest value."""
        return self.end[self.columns.index(column)] if column in self.columns else None

    def rate(self, column: str) -> Fraction | None:
        """Return a counter's growth per second; None where it was not read, fell, or no time has passed."""
        if column not in self.columns or self.end_ns <= self.start_ns:
            return None
        place = self.columns.index(column)
        before, after = self.start[place], self.end[place]
        if before is None or after is None or after < before:
            return None
        return Fraction((after - before) * NS_PER_S, self.end_ns - self.start_ns)


def live_reading(
    header: Mapping[str, Any], cpus_milli: int | None, rows: tuple[Rows, Rows], misses: int
) -> LiveReading:
    """Return each channel's power between two fast and two host rows; `header` is the record's first line."""
    fast, slow = rows
    channels: dict[str, Power | Unmeasured | NotApplicable] = {}
    for name, source in header["sources"].items():
        kind = record.SourceKind(source["kind"])
        if kind is record.SourceKind.NONE:
            channels[name] = NotApplicable(reason=source["reason"])
            continue
        watts = _watts(kind, name, source, cpus_milli, rows)
        if kind is record.SourceKind.UNREAD or watts is None:
            channels[name] = Unmeasured(reason=source["reason"] or "not read yet")
        else:
            channels[name] = Power(watts=watts, kind=_KINDS.get(kind, "measured"))
    return LiveReading(at_ns=max(fast.end_ns, slow.end_ns), channels=channels, window=None, misses=misses)


def _watts(
    kind: record.SourceKind, name: str, source: Mapping[str, Any], cpus_milli: int | None, rows: tuple[Rows, Rows]
) -> Fraction | None:
    fast, slow = rows
    if kind in record.ACCELERATORS:
        return _sum([_device_watts(fast, device) for device in source["devices"]])
    if kind is record.SourceKind.RAPL:
        # The whole node's: the split to the sandbox needs the idle time, and is the account's.
        return _sum([_scaled(slow.rate(zone["column"]), _MICRO) for zone in source["counters"]])
    if kind is record.SourceKind.MODEL and cpus_milli is not None:
        if name == "dram":
            used = slow.now(record.MEMORY)
            return None if used is None else DRAM_WATTS_PER_GB * Fraction(used, _GB)
        cpus = fast.rate(record.CPU_TIME)
        busy = _scaled(cpus, Fraction(1, NS_PER_S))
        return (
            None
            if busy is None
            else Fraction(cpus_milli, 1_000) * CPU_MIN_WATTS + busy * (CPU_MAX_WATTS - CPU_MIN_WATTS)
        )
    return None


def _device_watts(fast: Rows, device: str) -> Fraction | None:
    mean = fast.now(f"{device}.{record.GPU_POWER_AVERAGE}")
    return _scaled(fast.rate(f"{device}.{record.GPU_ENERGY}"), _MILLI) if mean is None else mean * _MILLI


def _scaled(value: Fraction | None, factor: Fraction) -> Fraction | None:
    return None if value is None else value * factor


def _sum(parts: Sequence[Fraction | None]) -> Fraction | None:
    known = [part for part in parts if part is not None]
    return sum(known, Fraction(0)) if parts and len(known) == len(parts) else None
