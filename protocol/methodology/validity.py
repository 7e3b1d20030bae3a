"""Which records may be counted at all: every rule that voids one, with its constant.

Checked from the first mark to the last (what happens before and after no window is of no consequence):
1. The record was ended by its session's own stop: not by a signal, and not because the orchestrator died.
2. CLOCK_BOOTTIME and CLOCK_MONOTONIC ran together (the machine was not suspended), and the wall clock was not stepped:
   each apart by at most 50 ms between the two anchors.
3. No gap: fast samples at most 3 periods or 1 s apart, host samples at most 3 of theirs; of the ticks that were due, at
   most 5 % missed.
4. Counters never run backwards. (RAPL's zones wrap at a known range, and may once between two readings.)
5. No instrument failed, and what a channel stands on was read every time.
6. The accelerator was not held back by heat or by a power brake, nobody else computed on it, and its power limit and
   modes (MIG, ECC, persistence, compute) stayed what they were.

A driver that is reloaded, or a device that is reset, is seen by rule 4 or by rule 5. NVML offers no name of a driver's
instance, and none is needed: the sampler holds the driver open for the whole record, so that the kernel refuses to
unload it (NVIDIA/dcgm-exporter #706: an open NVML handle blocks it), and what is forced makes its handles answer
with an error (DEVICE_LOST). The counter counts "since the driver was last reloaded" (nvml.h): it begins again at 0.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from protocol.errors import (
    CounterReset,
    ForeignProcess,
    Interrupted,
    InvalidMeasurement,
    Throttled,
    TraceGap,
    WindowTooShort,
)
from protocol.methodology import trace as record
from protocol.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.methodology.trace import PowerTrace, Table

STATUS_CLOSED: Final = "closed"
MAX_CLOCK_STEP_NS: Final = 50 * NS_PER_MS
MAX_GAP_PERIODS: Final = 3
MAX_GAP_NS: Final = NS_PER_S
MAX_MISSED: Final = Fraction(5, 100)

# NVML's clocks event reasons (nvml.h): hardware slowdown, software and hardware thermal slowdown, power brake
REASONS_HELD_BACK: Final = 0x8 | 0x20 | 0x40 | 0x80

GPU_REASONS: Final = "clock_reasons"
GPU_PROCESSES: Final = "processes"
GPU_FOREIGN: Final = "foreign_processes"
GPU_LIMIT: Final = "power_limit_mw"
GPU_MIG: Final = "mig"
GPU_ECC: Final = "ecc"
GPU_PERSISTENCE: Final = "persistence"
GPU_COMPUTE_MODE: Final = "compute_mode"
GPU_SETTINGS: Final = (GPU_LIMIT, GPU_MIG, GPU_ECC, GPU_PERSISTENCE, GPU_COMPUTE_MODE)  # what must stay as it was

_COUNTERS_FAST: Final = (record.CPU_TIME,)
_COUNTERS_SLOW: Final = (record.BLOCK_IO,)


def validate(trace: PowerTrace) -> None:
    """Return if the record may be counted; raise the InvalidMeasurement that names the first broken rule otherwise."""
    if not trace.windows:
        raise WindowTooShort(
            code="NO_WINDOW",
            observed="a record without a window",
            expected="at least one window",
            hint="the session ended before it measured anything",
        )
    _check_status(trace)
    _check_clocks(trace)
    _check_failures(trace)
    _check_gaps(trace)
    for table, column in _needed(trace):
        _check_read(trace, table, column)
    for table, column in _counters(trace):
        _check_rising(trace, table, column)
    for device in trace.sources["gpu"].devices:
        _check_device(trace, device)


def _measured_part(trace: PowerTrace) -> tuple[int, int]:
    return trace.windows[0].open_ns, trace.windows[-1].close_ns


def _check_status(trace: PowerTrace) -> None:
    if trace.status != STATUS_CLOSED:
        raise Interrupted(
            code="RECORD_INTERRUPTED",
            observed=f"the sampler ended its record as {trace.status!r}",
            expected=STATUS_CLOSED,
            hint="run the session again",
        )


def _check_clocks(trace: PowerTrace) -> None:
    start, end = trace.anchor_start, trace.anchor_end
    elapsed = end.monotonic_ns - start.monotonic_ns
    asleep = abs(end.boottime_ns - start.boottime_ns - elapsed)
    stepped = abs(end.realtime_ns - start.realtime_ns - elapsed)
    for code, apart, what in (("SUSPENDED", asleep, "was suspended"), ("CLOCK_STEPPED", stepped, "had its clock set")):
        if apart > MAX_CLOCK_STEP_NS:
            raise InvalidMeasurement(
                code=code,
                observed=f"the machine {what} during the session ({apart} ns apart)",
                expected=f"at most {MAX_CLOCK_STEP_NS} ns",
                hint="keep the machine awake and its clock slewed, not stepped",
            )
    outside = start.monotonic_ns > trace.windows[0].open_ns or end.monotonic_ns < trace.windows[-1].close_ns
    if outside:
        raise InvalidMeasurement(
            code="ANCHOR_OUTSIDE",
            observed="windows that lie outside the record's two anchors",
            expected="an anchor before the first window and one after the last",
            hint="the record was not written by one sampler from start to end",
        )


def _check_failures(trace: PowerTrace) -> None:
    start, end = _measured_part(trace)
    for failure in trace.failures:
        if start <= failure.at_ns <= end:
            raise TraceGap(
                code="CHANNEL_LOST",
                observed=f"{failure.instrument} failed: {failure.code} {failure.text}",
                expected="instruments that answer throughout",
                hint="look at the instrument; a device that was lost needs a reset by the operator",
            )


def _check_gaps(trace: PowerTrace) -> None:
    start, end = _measured_part(trace)
    limits = (
        (trace.fast, min(MAX_GAP_PERIODS * trace.period_ns, MAX_GAP_NS)),
        (trace.slow, MAX_GAP_PERIODS * trace.host_period_ns),
    )
    for table, limit in limits:
        times = table.times[table.between(start, end)]
        widest = max((later - earlier for earlier, later in pairwise(times)), default=0)
        if widest > limit:
            raise TraceGap(
                observed=f"{widest} ns without a sample",
                expected=f"at most {limit} ns",
                hint="the machine was too busy for the sampler, or an instrument hung",
            )
    due = len(trace.fast.times) + trace.misses
    if trace.misses > MAX_MISSED * due:
        raise TraceGap(
            code="SAMPLES_MISSED",
            observed=f"{trace.misses} of {due} samples missed",
            expected=f"at most {MAX_MISSED * 100} %",
            hint="the machine was too busy for the sampler",
        )


def _needed(trace: PowerTrace) -> Iterator[tuple[Table, str]]:
    """Name the columns that the record's own sources need."""
    kinds = {name: source.kind for name, source in trace.sources.items()}
    if trace.attachment is not None:
        yield trace.fast, record.CPU_TIME
        if kinds["dram"] is record.SourceKind.MODEL:
            yield trace.slow, record.MEMORY
        if record.SourceKind.RAPL in kinds.values():
            yield trace.slow, record.HOST_BUSY
    for source in trace.sources.values():
        for counter in source.counters:
            yield trace.slow, counter.column
    for device in trace.sources["gpu"].devices:
        names = [f"{device}.{record.GPU_ENERGY}", f"{device}.{record.GPU_POWER_AVERAGE}"]
        yield trace.fast, next((name for name in names if name in trace.fast.columns), names[0])


def _check_read(trace: PowerTrace, table: Table, column: str) -> None:
    values = table.column(column)
    if values is None or None in values[table.between(*_measured_part(trace))]:
        raise TraceGap(
            code="CHANNEL_LOST",
            observed=f"{column} was not read every time",
            expected="a reading in every sample from the first mark to the last",
            hint="the instrument failed or was never there",
        )


def _counters(trace: PowerTrace) -> Iterator[tuple[Table, str]]:
    for column in _COUNTERS_FAST:
        yield trace.fast, column
    for column in _COUNTERS_SLOW:
        yield trace.slow, column
    for device in trace.sources["gpu"].devices:
        yield trace.fast, f"{device}.{record.GPU_ENERGY}"


def _check_rising(trace: PowerTrace, table: Table, column: str) -> None:
    values = table.column(column)
    if values is None:
        return
    found = [value for value in values[table.between(*_measured_part(trace))] if value is not None]
    for earlier, later in pairwise(found):
        if later < earlier:
            raise CounterReset(
                observed=f"{column} fell from {earlier} to {later}",
                expected="a cumulative counter that never falls",
                hint="the driver was reloaded or the device reset while it was measured",
            )


def _check_device(trace: PowerTrace, device: str) -> None:
    part = trace.slow.between(*_measured_part(trace))

    def seen(name: str) -> list[int]:
        return [value for value in (trace.slow.column(f"{device}.{name}") or ())[part] if value is not None]

    held = [value for value in seen(GPU_REASONS) if value & REASONS_HELD_BACK]
    if held:
        raise Throttled(
            observed=f"{device} was held back (clocks event reasons {held[0]:#x})",
            expected="no thermal slowdown and no power brake",
            hint="cool the machine, and look at its power supply",
        )
    if any(seen(GPU_FOREIGN)):
        raise ForeignProcess(
            observed=f"a process outside the sandbox computed on {device}",
            expected="nobody but the sandbox on a leased device",
            hint="stop what else uses the device",
        )
    for name in GPU_SETTINGS:
        found = set(seen(name))
        if len(found) > 1:
            raise InvalidMeasurement(
                code="DEVICE_CHANGED",
                observed=f"{device}: {name} changed between {sorted(found)}",
                expected="a device whose limits and modes stay as they were",
                hint="something else configures the device; stop it",
            )
