"""Power over time from a meter's record: what a plot draws, in nanoseconds and watts.

Rules:
1. Counter: the mean power between two ticks, as a step. Ticks are joined until the doubt about their two places is at
   most a fifth of the time between them, because a shorter step would show the sampler's rhythm and not the device's.
2. Mean and instantaneous power: as the device said them.
3. Processor by model: between two readings of the sandbox's CPU time, by the formula of `host_models`. Other channels:
   the energy that `energy.read_channel` gives between two host readings, over the time between them.
4. Readings closer than half a period are one stretch; a window's mark always parts two of them.
5. Where nothing was read, or a counter fell, there is a gap: nothing is drawn across it.
6. The node, where a wall meter stood beside it: the energy that its calibrated log gives between two rows.
7. Above 1 MW nothing is power of one machine: such a record is refused (VerificationError RECORD_IMPLAUSIBLE).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

from orchestrator.report.words import KINDS
from protocol.errors import JoulesealError, VerificationError
from protocol.methodology import trace as record
from protocol.methodology.beside import Beside
from protocol.methodology.energy import Carried, read_channel
from protocol.methodology.gated import Series, Tick, ticks
from protocol.methodology.host_models import CPU_MAX_WATTS, CPU_MIN_WATTS, CPU_MODEL
from protocol.methodology.trace import PowerTrace, SourceKind, Table, Window
from protocol.methodology.wall_log import Log, clock
from protocol.units import NS_PER_S

RESOLVED: Final = 5  # times the doubt about its two ends is how long a step is, at least
MAX_WATTS: Final = 10**6
MAX_SPAN_NS: Final = 10 * 24 * 3_600 * NS_PER_S  # ten days: longer than any session's deadline
MAX_DEVICES: Final = 8  # panels of one picture: those of the largest common machine
_REACH_NS: Final = NS_PER_S  # beyond the stretch, so that a step that crosses its border is there
_WATTS: Final = 1_000_000  # mJ per ns
_MILLI: Final = 1_000

Point = tuple[int, float]
Piece = tuple[Point, ...]


class Shape(Enum):
    """How a curve is drawn."""

    STEPS = "steps"
    LINE = "line"
    DOTS = "dots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """One curve: unbroken pieces of (ns, W) in time order; a step is two points of equal power."""

    name: str
    shape: Shape
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel's curves over a stretch; `kind` is what kind of figure they are, `device` set for accelerators."""

    name: str
    kind: str
    device: str | None
    curves: tuple[Power, ...]


def channels(trace: PowerTrace, start_ns: int, end_ns: int) -> tuple[Channel, ...]:
    """Return every channel that has readings between two instants, accelerators first.

    Raises VerificationError RECORD_IMPLAUSIBLE by rule 7.
    """
    if not 0 < end_ns - start_ns <= MAX_SPAN_NS:
        raise _implausible(f"{end_ns - start_ns} ns of record")
    found: list[Channel] = []
    gpu = trace.sources["gpu"]
    for device in gpu.devices[:MAX_DEVICES] if gpu.kind in record.ACCELERATORS else ():
        curves = accelerator(trace, device, start_ns - _REACH_NS, end_ns + _REACH_NS)
        name = trace.host.get(f"{device}.name", "")
        found.append(Channel(name=f"{device} {name}".strip(), kind=KINDS[gpu.kind], device=device, curves=curves))
    for name in ("cpu", "dram"):
        kind = trace.sources[name].kind
        if trace.attachment is not None and kind in {SourceKind.RAPL, SourceKind.MODEL}:
            curve = _processor(trace, name, start_ns, end_ns)
            found.append(Channel(name=name, kind=KINDS[kind], device=None, curves=(curve,)))
    return tuple(channel for channel in found if any(curve.pieces for curve in channel.curves))


def node(trace: PowerTrace, given: Beside, start_ns: int, end_ns: int) -> tuple[Channel, ...]:
    """Return what a wall meter says of the whole machine, between its rows; nothing where there is none."""
    if given.wall is None:
        return ()
    found, calibration = given.wall
    try:
        lines = clock(trace)
        log = Log(found, calibration, lines)
    except JoulesealError:
        return ()
    first = max(bisect_right(found.times, lines.realtime(start_ns)) - 1, 0)
    pieces: list[list[Point]] = [[]]
    for begin, stop in pairwise(found.times[first : bisect_left(found.times, lines.realtime(end_ns)) + 1]):
        try:
            power = log.energy(begin, stop).watts
        except JoulesealError:
            pieces.append([])
            continue
        level = watts(power.numerator, power.denominator)
        pieces[-1] += [(lines.monotonic(begin), level), (lines.monotonic(stop), level)]
    curve = Power(name="between rows", shape=Shape.STEPS, pieces=tuple(tuple(piece) for piece in pieces if piece))
    kind = KINDS[SourceKind.SIMULATED if trace.sources["gpu"].kind is SourceKind.SIMULATED else SourceKind.NVML]
    return (Channel(name="node, at the wall", kind=kind, device=None, curves=(curve,)),)


def accelerator(trace: PowerTrace, device: str, start_ns: int, end_ns: int) -> tuple[Power, ...]:
    """Return a device's curves, those that the record has: counter, 1 s mean, instantaneous."""
    counter = trace.fast.column(f"{device}.{record.GPU_ENERGY}")
    curves = []
    if counter is not None:
        pieces = [steps(moves) for moves in _moves(trace, device, counter, start_ns, end_ns)]
        curves.append(Power(name="counter", shape=Shape.STEPS, pieces=tuple(filter(None, pieces))))
    for name, column, shape in (
        ("1 s mean", record.GPU_POWER_AVERAGE, Shape.LINE),
        ("instant", record.GPU_POWER_INSTANT, Shape.DOTS),
    ):
        values = trace.fast.column(f"{device}.{column}")
        if values is not None:
            curves.append(Power(name=name, shape=shape, pieces=_as_read(trace.fast, values, start_ns, end_ns)))
    return tuple(curves)


def counted(trace: PowerTrace, device: str, start_ns: int, end_ns: int) -> Piece:
    """Return a device's counter between two instants as it was read, in joules since the first reading, as a stair."""
    values = trace.fast.column(f"{device}.{record.GPU_ENERGY}") or ()
    part = trace.fast.between(start_ns, end_ns)
    pairs = zip(trace.fast.times[part], values[part], strict=True)
    read = [(at, value) for at, value in pairs if value is not None]
    points: list[Point] = []
    for at, value in read:
        joules = watts(value - read[0][1], _MILLI)
        points += [(at, points[-1][1]), (at, joules)] if points else [(at, joules)]
    return tuple(points)


def steps(moves: Sequence[Tick]) -> Piece:
    """Return the power between ticks as steps, by rule 1."""
    points: list[Point] = []
    for start, end in _resolved(moves):
        # Doubled nanoseconds: the middle of a tick's bounds is a half.
        begin, stop = start.after_ns + start.by_ns, end.after_ns + end.by_ns
        power = watts((end.value - start.value) * 2 * _WATTS, stop - begin)
        points += [(begin // 2, power), (stop // 2, power)]
    return tuple(points)


def _resolved(moves: Sequence[Tick]) -> Iterator[tuple[Tick, Tick]]:
    start = moves[0] if moves else None
    for tick in moves[1:]:
        if start is not None:
            doubt = (start.by_ns - start.after_ns) + (tick.by_ns - tick.after_ns)
            if tick.by_ns + tick.after_ns - start.by_ns - start.after_ns >= RESOLVED * doubt:
                yield start, tick
                start = tick


def _moves(
    trace: PowerTrace, device: str, counter: Sequence[int | None], start_ns: int, end_ns: int
) -> Iterator[list[Tick]]:
    """Yield the ticks of each stretch in which the counter was read throughout and never fell."""
    times, spans = trace.fast.times, trace.fast.spans
    part = trace.fast.between(start_ns, end_ns)
    first = max(part.start - 1, 0)
    for begin, stop in _unbroken(counter[first : part.stop + 1], lambda a, b: b >= a):
        where = slice(first + begin, first + stop)
        one = Series(name=device, times=times[where], spans=spans[where], energy_mj=counter[where], mean_mw=None)
        yield ticks(one, one.times[0], one.times[-1] + one.spans[-1])


def _as_read(table: Table, values: Sequence[int | None], start_ns: int, end_ns: int) -> tuple[Piece, ...]:
    part = table.between(start_ns, end_ns)
    times, found = table.times[part], values[part]
    pieces = []
    for begin, stop in _unbroken(found, lambda _a, _b: True):
        pairs = zip(times[begin:stop], found[begin:stop], strict=True)
        pieces.append(tuple((at, watts(value, _MILLI)) for at, value in pairs if value is not None))
    return tuple(pieces)


def _unbroken(values: Sequence[int | None], follows: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yield [begin, stop) of each stretch of values that are there and follow one another."""
    begin: int | None = None
    last: int | None = None
    for number, value in enumerate(values):
        if value is None or (last is not None and not follows(last, value)):
            if begin is not None:
                yield begin, number
            begin = None
        if value is not None and begin is None:
            begin = number
        last = value
    if begin is not None:
        yield begin, len(values)


def _processor(trace: PowerTrace, name: str, start_ns: int, end_ns: int) -> Power:
    source = trace.sources[name]
    marks = {mark for window in trace.windows for mark in (window.open_ns, window.close_ns)}
    if source.model == CPU_MODEL and source.kind is SourceKind.MODEL:
        read = _modelled(trace)
        times, period = trace.fast.times, trace.period_ns
    else:
        read = _accounted(trace, name)
        times, period = trace.slow.times, trace.host_period_ns
    first = max(bisect_right(times, start_ns) - 1, 0)
    near = times[first : bisect_left(times, end_ns) + 1]
    pieces: list[list[Point]] = [[]]
    for begin, stop in pairwise(borders(near, marks, period // 2)):
        power = read(begin, stop)
        if power is None:
            pieces.append([])
        else:
            pieces[-1] += [(begin, power), (stop, power)]
    return Power(name="between readings", shape=Shape.STEPS, pieces=tuple(tuple(piece) for piece in pieces if piece))


def borders(times: Sequence[int], marks: Iterable[int], least: int) -> list[int]:
    """Return the instants between which power is drawn, by rule 4."""
    kept: list[int] = []
    marked = set(marks)
    for at in times:
        if not kept or at - kept[-1] >= least:
            kept.append(at)
        elif at in marked:
            if kept[-1] in marked or len(kept) == 1:
                kept.append(at)
            else:
                kept[-1] = at
    return kept


def _modelled(trace: PowerTrace) -> Callable[[int, int], float | None]:
    """Return the CPU model's power between two readings, the function of `host_models`."""
    values = trace.fast.column(record.CPU_TIME) or (None,) * len(trace.fast.times)
    at = dict(zip(trace.fast.times, values, strict=True))
    milli = 0 if trace.attachment is None else trace.attachment.cpus_milli
    idle = milli * CPU_MIN_WATTS / _MILLI
    more = CPU_MAX_WATTS - CPU_MIN_WATTS

    def read(start_ns: int, end_ns: int) -> float | None:
        first, last = at[start_ns], at[end_ns]
        if first is None or last is None or last < first:
            return None
        power = idle + more * (last - first) / (end_ns - start_ns)
        return watts(power.numerator, power.denominator)

    return read


def _accounted(trace: PowerTrace, name: str) -> Callable[[int, int], float | None]:
    """Return a channel's power between two readings, by the energy account."""

    def read(start_ns: int, end_ns: int) -> float | None:
        try:
            found = read_channel(trace, name, Window(name="plot", open_ns=start_ns, close_ns=end_ns))
        except (JoulesealError, KeyError):  # KeyError: a host row whose fast row is not in the record
            return None
        if not isinstance(found, Carried):
            return None
        power = found.joules * NS_PER_S / (end_ns - start_ns)
        return watts(power.numerator, power.denominator)

    return read


def watts(part: int, whole: int) -> float:
    """Return a quotient in watts as the nearest float; raises VerificationError RECORD_IMPLAUSIBLE by rule 7."""
    if abs(part) > MAX_WATTS * whole:
        raise _implausible(f"a power above {MAX_WATTS} W")
    return part / whole


def _implausible(observed: str) -> VerificationError:
    return VerificationError(
        code="RECORD_IMPLAUSIBLE",
        observed=f"{observed} in the meter's record",
        expected=f"at most {MAX_WATTS} W, over at most {MAX_SPAN_NS // NS_PER_S} s",
        hint="this is no record of one machine's session",
    )
