"""From a meter's record to energy per window and channel: exact, typed, and the same for orchestrator and verifier.

Rules
1. A channel is read as one piecewise linear function of time that never falls: a cumulative energy, straight between
   readings. A window's energy is that function's difference between the marks. So adjoining windows add up exactly,
   and a longer window never costs less.
2. Arithmetic is exact (integers and fractions). Where a split is rounded, it is rounded down to whole picojoules
   between two readings, once, before any window is looked at.
3. Absence is a value. A consumer that does not exist is NotApplicable, one that nothing reads is Unmeasured, each with
   its reason; neither is 0 and neither is summed. A channel that was read and then lost raises: the window is void.
   An energy of zero or less raises too.
4. Gross is what the window cost, idle power included. Idle-net takes out the mean power of the idle windows around
   it, over the window's length; it may be zero or negative where the work does not show.
5. IT energy is the sum over the channels that carry a number, and names them (scope). It is Measured only if every
   term is, and Simulated if one term is: what a stand-in device says is no property of any machine.
6. gpu: difference of NVML's total-energy counter (method nvml-counter/1); where the device has none, the integral of
   its 1 s mean power (method nvml-mean-power/1). Uncertainty (k = 2): the board's gain, 5 % half width, uncalibrated
   (arXiv 2312.02741), and the edges, U x P / sqrt 6 with U the longest time between two changes of the counter.
7. cpu, dram by RAPL (method rapl-capacity/1): between two readings, the sandbox is charged the share
       (its CPU time + its allotment's share of the node's idle time) / (CPUs x elapsed)
   of the node's counters. All of the node's idle power is thereby somebody's, no small number is divided by, and the
   idle windows take the idle part out again. RAPL states no uncertainty; neither do we.
8. cpu, dram without RAPL: the models of `host_models`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import isqrt
from typing import TYPE_CHECKING, ClassVar, Final, NoReturn

from protocol.errors import InvalidMeasurement, TraceGap, Unverifiable, WindowTooShort
from protocol.methodology import trace as record
from protocol.methodology.host_models import (
    CPU_MAX_WATTS,
    CPU_MIN_WATTS,
    CPU_MODEL,
    DRAM_MODEL,
    DRAM_WATTS_PER_GB,
)
from protocol.methodology.trace import Window
from protocol.methodology.validity import validate
from protocol.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from protocol.methodology.trace import PowerTrace, Source, Table

__all__ = [
    "AcceleratorReading",
    "Carried",
    "Curve",
    "EnergyAccount",
    "Estimated",
    "Measured",
    "NotApplicable",
    "Reading",
    "Simulated",
    "Unmeasured",
    "WindowFacts",
    "account",
    "read_channel",
    "total",
    "validate",
]

METHOD_COUNTER: Final = "nvml-counter/1"
METHOD_MEAN_POWER: Final = "nvml-mean-power/1"
METHOD_RAPL: Final = "rapl-capacity/1"

GAIN_HALF_WIDTH: Final = Fraction(5, 100)  # "Part-time Power Measurements", arXiv 2312.02741: proportional, per board
COVERAGE_FACTOR: Final = 2  # k = 2
MEAN_POWER_SPAN_NS: Final = NS_PER_S  # NVML: a 1 s running mean on Ampere and later
MIN_COUNTER_CHANGES: Final = 2  # fewer changes of a counter inside a window resolve nothing

_MILLI: Final = Fraction(1, 1_000)
_PJ_PER_UJ: Final = 1_000_000
_BYTES_PER_GB: Final = 10**9
_ROOT_SCALE: Final = 10**9  # uncertainties are rounded up to whole nanojoules


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An instrument read it. `joules`, and the expanded uncertainty (k = 2) in joules where the instrument has one."""

    kind: ClassVar[str] = "measured"
    joules: Fraction
    uncertainty: Fraction | None
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A named model computed it from what the sandbox used."""

    kind: ClassVar[str] = "estimated"
    joules: Fraction
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A stand-in device played it: read and accounted for as the real one would be, and true of nothing."""

    kind: ClassVar[str] = "simulated"
    joules: Fraction
    uncertainty: Fraction | None
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """Something was consumed, and nothing here read it."""

    kind: ClassVar[str] = "unmeasured"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotApplicable:
    """There is no such consumer."""

    kind: ClassVar[str] = "not-applicable"
    reason: str


Carried = Measured | Estimated | Simulated  # what has a number
Reading = Carried | Unmeasured | NotApplicable


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFacts:
    """What else the record says of a window, None where it was not read.

    `cpu_ns` is the sandbox's CPU time, `block_io_bytes` what it read and wrote, `memory_peak_bytes` its highest use
    since it started, `foreign_cpu` the share of the node's CPU capacity that others used.
    """

    cpu_ns: int | None
    block_io_bytes: int | None
    memory_peak_bytes: int | None
    foreign_cpu: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyAccount:
    """One window's energy: gross per channel, the same net of idle, and the sums over the channels named by `scope`."""

    window: Window
    channels: Mapping[str, Reading]
    idle_net: Mapping[str, Reading]
    it_energy: Reading
    it_idle_net: Reading
    scope: tuple[str, ...]
    facts: WindowFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorReading:
    """What a gated window says of the gpu channel: gross joules and the same net of idle, each with its doubt."""

    joules: Fraction
    uncertainty: Fraction
    idle_net: Fraction
    idle_net_uncertainty: Fraction
    method: str


def account(
    trace: PowerTrace,
    window: Window,
    idle_before: Window | None,
    idle_after: Window | None,
    gated: AcceleratorReading | None = None,
) -> EnergyAccount:
    """Return the energy of a window, and of its work alone where at least one idle window is given.

    `gated` replaces the plain difference of the gpu channel by what a gated window says of it. Raises TraceGap
    CHANNEL_LOST where a channel was not read throughout, InvalidMeasurement ZERO_ENERGY where a channel that was read
    cost nothing, WindowTooShort where a counter hardly moved, Unverifiable for an unknown model.
    """
    idle = [around for around in (idle_before, idle_after) if around is not None]
    plain = [name for name in trace.channels if gated is None or name != "gpu"]
    gross = {name: read_channel(trace, name, window) for name in plain}
    baselines = [(around, {name: read_channel(trace, name, around) for name in plain}) for around in idle]
    net = {
        name: _net(reading, window, [(around, found[name]) for around, found in baselines])
        for name, reading in gross.items()
    }
    if gated is not None:
        kind = Simulated if trace.sources["gpu"].kind is record.SourceKind.SIMULATED else Measured
        method = gated.method
        gross = {"gpu": kind(joules=gated.joules, uncertainty=gated.uncertainty, method=method), **gross}
        net = {"gpu": kind(joules=gated.idle_net, uncertainty=gated.idle_net_uncertainty, method=method), **net}
    scope = tuple(name for name, reading in gross.items() if isinstance(reading, Carried))
    return EnergyAccount(
        window=window,
        channels=gross,
        idle_net=net,
        it_energy=total(gross[name] for name in scope),
        it_idle_net=total(net[name] for name in scope),
        scope=scope,
        facts=_facts(trace, window),
    )


def read_channel(trace: PowerTrace, channel: str, window: Window) -> Reading:
    """Return the gross energy of one channel over one window; raises as `account` does."""
    source = trace.sources[channel]
    kind = source.kind
    if kind is record.SourceKind.NONE:
        return NotApplicable(reason=source.reason)
    if kind is record.SourceKind.UNREAD:
        return Unmeasured(reason=source.reason)
    if kind in record.ACCELERATORS:
        return _accelerators(trace, source, window)
    if trace.attachment is None:
        return Unmeasured(reason="no sandbox was attached to the record")
    if kind is record.SourceKind.RAPL:
        joules = _rapl(trace, source, window).energy(window)
        return Measured(joules=_positive(joules, channel), uncertainty=None, method=METHOD_RAPL)
    return Estimated(joules=_positive(_model(trace, source.model, window), channel), model=source.model)


def total(readings: Iterable[Reading]) -> Reading:
    """Add readings that carry energy; Unmeasured where one does not, or where there is none."""
    terms = list(readings)
    carried = [term for term in terms if isinstance(term, Carried)]
    if not terms or len(carried) < len(terms):
        return Unmeasured(reason="no channel, or not every channel of the sum, was read")
    joules = sum((term.joules for term in carried), Fraction(0))
    models = [term.model for term in carried if isinstance(term, Estimated)]
    read = [term for term in carried if not isinstance(term, Estimated)]
    if any(isinstance(term, Simulated) for term in read):
        kind: type[Simulated | Measured] = Simulated
    elif models:
        return Estimated(joules=joules, model="+".join(dict.fromkeys(models)))
    else:
        kind = Measured
    return kind(
        joules=joules,
        uncertainty=None if models else _combined([term.uncertainty for term in read]),
        method="+".join(dict.fromkeys([*(term.method for term in read), *models])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A cumulative quantity, straight between readings: `times` in nanoseconds, `values` whole, `unit` in joules."""

    name: str
    times: Sequence[int]
    values: Sequence[int]
    unit: Fraction

    def at(self, instant_ns: int) -> Fraction:
        """Return the value at an instant; raises TraceGap where the curve does not reach."""
        after = bisect_right(self.times, instant_ns)
        if after and self.times[after - 1] == instant_ns:
            return Fraction(self.values[after - 1])
        if after in {0, len(self.times)}:
            _lost(self.name, "outside its readings")
        start, end = self.times[after - 1], self.times[after]
        low, high = self.values[after - 1], self.values[after]
        return low + Fraction((high - low) * (instant_ns - start), end - start)

    def energy(self, window: Window) -> Fraction:
        """Return the joules between a window's marks."""
        return (self.at(window.close_ns) - self.at(window.open_ns)) * self.unit


def _accelerators(trace: PowerTrace, source: Source, window: Window) -> Measured | Simulated:
    parts = [_accelerator(trace, device, window) for device in source.devices]
    kind = Simulated if source.kind is record.SourceKind.SIMULATED else Measured
    return kind(
        joules=sum((part.joules for part in parts), Fraction(0)),
        uncertainty=_combined([part.uncertainty for part in parts]),
        method="+".join(dict.fromkeys(part.method for part in parts)),
    )


def _accelerator(trace: PowerTrace, device: str, window: Window) -> Measured:
    counter = f"{device}.{record.GPU_ENERGY}"
    if counter in trace.fast.columns:
        times, values = _readings(trace.fast, counter, window)
        joules = Curve(name=counter, times=times, values=values, unit=_MILLI).energy(window)
        method, resolution = METHOD_COUNTER, _update_period(counter, times, values, window)
    else:
        mean = f"{device}.{record.GPU_POWER_AVERAGE}"
        times, values = _readings(trace.fast, mean, window)
        unit = _MILLI / (2 * NS_PER_S)
        joules = Curve(name=mean, times=times, values=_integral(times, values), unit=unit).energy(window)
        method, resolution = METHOD_MEAN_POWER, MEAN_POWER_SPAN_NS
    gain = COVERAGE_FACTOR**2 * (joules * GAIN_HALF_WIDTH) ** 2 / 3
    edges = COVERAGE_FACTOR**2 * (joules * Fraction(resolution, window.duration_ns)) ** 2 / 6
    return Measured(joules=_positive(joules, device), uncertainty=_root(gain + edges), method=method)


def _update_period(name: str, times: Sequence[int], values: Sequence[int], window: Window) -> int:
    """Return the longest time between two changes of a counter inside a window, the window's ends included."""
    changes = [
        times[i]
        for i in range(1, len(times))
        if values[i] != values[i - 1] and window.open_ns < times[i] <= window.close_ns
    ]
    if len(changes) < MIN_COUNTER_CHANGES:
        raise WindowTooShort(
            observed=f"{name} changed {len(changes)} times inside window {window.name!r}",
            expected=f"at least {MIN_COUNTER_CHANGES} changes",
            hint="lengthen the window; a counter that stands still for a second is a device that the driver has lost",
        )
    ends = [window.open_ns, *changes, window.close_ns]
    return max(later - earlier for earlier, later in pairwise(ends))


def _rapl(trace: PowerTrace, source: Source, window: Window) -> Curve:
    """Return the sandbox's share of the node's counters, in picojoules."""
    attachment = trace.attachment
    times, busy = _readings(trace.slow, record.HOST_BUSY, window)
    # Host rows reach further around a window than fast rows do, and each has a fast row of its own time.
    reach = Window(name=window.name, open_ns=times[0], close_ns=times[-1])
    cpu_at = dict(zip(*_readings(trace.fast, record.CPU_TIME, reach), strict=True))
    busy_at = dict(zip(times, busy, strict=True))
    zones = [_unwrapped(trace.slow, counter.column, counter.range, window) for counter in source.counters]
    times = [at for at in times if all(at in zone for zone in zones)]
    milli = min(attachment.cpus_milli if attachment else 0, trace.host_cpus * 1_000)
    energies = [0]
    for start, end in pairwise(times):
        capacity = trace.host_cpus * (end - start)
        own = min(cpu_at[end] - cpu_at[start], capacity)
        node = max((busy_at[end] - busy_at[start]) * NS_PER_S // trace.clock_ticks, own)
        idle = max(capacity - node, 0)
        microjoules = sum(zone[end] - zone[start] for zone in zones)
        weight = own * 1_000 * trace.host_cpus + milli * idle
        share = microjoules * _PJ_PER_UJ * weight // (capacity * 1_000 * trace.host_cpus)
        energies.append(energies[-1] + share)
    return Curve(name="rapl", times=times, values=energies, unit=Fraction(1, 10**12))


def _unwrapped(table: Table, column: str, modulus: int, window: Window) -> dict[int, int]:
    """Return a wrapping counter as one that does not wrap, by time."""
    times, values = _readings(table, column, window)
    out: dict[int, int] = {}
    turns = 0
    previous = values[0]
    for at, value in zip(times, values, strict=True):
        turns += modulus if value < previous else 0
        previous = value
        out[at] = value + turns
    return out


def _model(trace: PowerTrace, model: str, window: Window) -> Fraction:
    if model == CPU_MODEL:
        times, values = _readings(trace.fast, record.CPU_TIME, window)
        used = Curve(name=record.CPU_TIME, times=times, values=values, unit=Fraction(1, NS_PER_S))
        cpus = Fraction(trace.attachment.cpus_milli if trace.attachment else 0, 1_000)
        idle = cpus * CPU_MIN_WATTS * Fraction(window.duration_ns, NS_PER_S)
        return idle + used.energy(window) * (CPU_MAX_WATTS - CPU_MIN_WATTS)
    if model == DRAM_MODEL:
        times, values = _readings(trace.slow, record.MEMORY, window)
        unit = DRAM_WATTS_PER_GB / (2 * _BYTES_PER_GB * NS_PER_S)
        return Curve(name=record.MEMORY, times=times, values=_integral(times, values), unit=unit).energy(window)
    raise Unverifiable(
        code="UNKNOWN_MODEL",
        observed=f"a figure of model {model!r}",
        expected=f"{CPU_MODEL} or {DRAM_MODEL}",
        hint="use the verifier of the release that made this record",
    )


def _integral(times: Sequence[int], values: Sequence[int]) -> list[int]:
    """Return twice the running integral by trapezoids, so that it stays whole."""
    doubled = [0]
    for i in range(1, len(times)):
        doubled.append(doubled[-1] + (values[i] + values[i - 1]) * (times[i] - times[i - 1]))
    return doubled


def _readings(table: Table, column: str, window: Window) -> tuple[list[int], list[int]]:
    """Return a column's readings from the last one at or before a window's opening to the first at or after its close.

    Raises where one is missing inside the window. (Nothing that a window's energy needs lies outside this stretch.)
    """
    values = table.column(column)
    if values is None:
        _lost(column, "not in the record")
    inside = table.between(window.open_ns, window.close_ns)
    if None in values[inside]:
        _lost(column, f"not read throughout window {window.name!r}")
    first = inside.start if table.times[inside.start : inside.start + 1] == (window.open_ns,) else inside.start - 1
    last = inside.stop if table.times[inside.stop - 1 : inside.stop] == (window.close_ns,) else inside.stop + 1
    times, found = table.times[max(first, 0) : last], values[max(first, 0) : last]
    pairs = [(at, value) for at, value in zip(times, found, strict=True) if value is not None]
    if not pairs:
        _lost(column, f"not read around window {window.name!r}")
    return [at for at, _ in pairs], [value for _, value in pairs]


def _net(reading: Reading, window: Window, idle: list[tuple[Window, Reading]]) -> Reading:
    """Take the idle windows' mean power out of a reading."""
    if isinstance(reading, Unmeasured | NotApplicable):
        return reading
    if not idle:
        return Unmeasured(reason="no idle window beside this one")
    baseline = total(found for _, found in idle)
    if isinstance(baseline, Unmeasured | NotApplicable):
        return Unmeasured(reason="the idle windows beside this one were not read")
    stretch = Fraction(window.duration_ns, sum(around.duration_ns for around, _ in idle))
    joules = reading.joules - baseline.joules * stretch
    if isinstance(reading, Estimated) or isinstance(baseline, Estimated):
        return Estimated(joules=joules, model=reading.model if isinstance(reading, Estimated) else "mixed")
    spread = None if baseline.uncertainty is None else baseline.uncertainty * stretch
    return type(reading)(joules=joules, uncertainty=_combined([reading.uncertainty, spread]), method=reading.method)


def _facts(trace: PowerTrace, window: Window) -> WindowFacts:
    cpu = _difference(trace.fast, record.CPU_TIME, window)
    busy = _difference(trace.slow, record.HOST_BUSY, window)
    capacity = trace.host_cpus * window.duration_ns
    foreign = None
    if cpu is not None and busy is not None:
        foreign = max(Fraction(busy * NS_PER_S, trace.clock_ticks) - cpu, Fraction(0)) / capacity
    peaks = trace.slow.column(record.MEMORY_PEAK) or ()
    seen = [value for value in peaks[trace.slow.between(window.open_ns, window.close_ns)] if value is not None]
    return WindowFacts(
        cpu_ns=cpu,
        block_io_bytes=_difference(trace.slow, record.BLOCK_IO, window),
        memory_peak_bytes=max(seen, default=None),
        foreign_cpu=foreign,
    )


def _difference(table: Table, column: str, window: Window) -> int | None:
    """Return last minus first reading inside a window, None where either is missing."""
    values = (table.column(column) or ())[table.between(window.open_ns, window.close_ns)]
    first, last = (values[0], values[-1]) if values else (None, None)
    return None if first is None or last is None else last - first


def _combined(parts: Sequence[Fraction | None]) -> Fraction | None:
    """Combine independent uncertainties; unknown where one is unknown."""
    known = [part for part in parts if part is not None]
    return None if len(known) < len(parts) else _root(sum((part**2 for part in known), Fraction(0)))


def _root(square: Fraction) -> Fraction:
    """Return a square root rounded up to whole nanojoules."""
    scaled = square * _ROOT_SCALE**2
    whole = -(-scaled.numerator // scaled.denominator)
    root = isqrt(whole)
    return Fraction(root if root * root == whole else root + 1, _ROOT_SCALE)


def _positive(joules: Fraction, channel: str) -> Fraction:
    if joules <= 0:
        raise InvalidMeasurement(
            code="ZERO_ENERGY",
            observed=f"channel {channel} cost {float(joules):.6f} J",
            expected="more than nothing",
            hint="the instrument stands still; look for a lost device or a reloaded driver",
        )
    return joules


def _lost(column: str, how: str) -> NoReturn:
    raise TraceGap(
        code="CHANNEL_LOST",
        observed=f"{column} was {how}",
        expected="readings from before the window's opening to after its close",
        hint="the instrument failed; the record's failure rows say when",
    )
