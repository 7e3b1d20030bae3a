"""What a rig's own short records say of its instruments: figures for its qualification, pure and exact.

Rules
1. Lateness: samples are due on absolute deadlines, a period apart from the record's origin. How late a deadline was met
   is the time to the first reading at or after it; a deadline after which none came before the next was missed.
2. Counter: its update period U is the median time between neighbouring ticks of a dense record, its jitter how far
   each such time is from U. No tick is located better than the time between two readings, which stands beside it.
3. Polling: the idle slope of the counter while it is read densely, against the mean of the slopes read slowly before
   and after. What can be resolved is the sum of the slopes' bounds and half of what the two slow ones differ by: a
   device that still cools would otherwise pass for one that minds being asked. (Reported of some boards: a counter off
   by a factor of 2, the further the more often power is polled.)
4. Idle: the 1 s mean's lowest and highest value, and its decay in watts per second, by least squares.
5. Clocks: as in `validity`, from the first record's anchor to the last's.
6. The sampler's CPU share is read from its process's CPU clock, between two edges and without its start, which a
   session pays once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from protocol.methodology import gated, statistics
from protocol.methodology.trace import GPU_POWER_AVERAGE, PowerTrace, SourceKind, Window
from protocol.units import NS_PER_S

_P99: Final = 990
_EDGE_NS: Final = NS_PER_S  # a slope's two ends are sought this far from the edges of its window


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A window of a record."""

    trace: PowerTrace
    window: Window

    def values(self, column: str) -> list[tuple[int, int]]:
        """Return what was read of a column within the window, with its instants; from fast and from host samples."""
        for table in (self.trace.fast, self.trace.slow):
            found = table.column(column)
            if found is not None:
                part = table.between(self.window.open_ns, self.window.close_ns)
                pairs = zip(table.times[part], found[part], strict=True)
                return [(at, value) for at, value in pairs if value is not None]
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A distribution in nanoseconds."""

    median: int
    p99: int
    most: int
    count: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Spread | None:
        """Return the distribution of values; None where there are none."""
        if not values:
            return None
        middle, p99 = statistics.percentile(values, 500), statistics.percentile(values, _P99)
        return cls(median=middle, p99=p99, most=max(values), count=len(values))

    def to_json(self) -> dict[str, int]:
        """Return the distribution as whole nanoseconds."""
        return {"medianNs": self.median, "p99Ns": self.p99, "maxNs": self.most, "count": self.count}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late deadlines were met, and how many were not."""

    spread: Spread
    missed: int
    period_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Updates:
    """A counter's update period, how far single ones are from it, the longest, and how well a tick was located."""

    period_ns: int
    jitter: Spread
    longest_ns: int
    resolution_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """The counter's idle slope read slowly and read densely; their difference and its resolution are relative."""

    slow_watts: Fraction
    dense_watts: Fraction
    difference: Fraction
    resolution: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """The device at rest: its 1 s mean's mean, lowest and highest value, and its decay (negative: it cools)."""

    mean_mw: int
    low_mw: int
    high_mw: int
    watts_per_s: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The sampler's CPU time over a stretch of real time, in nanoseconds."""

    cpu_ns: int
    over_ns: int

    @property
    def share(self) -> Fraction:
        """CPU time a time."""
        return Fraction(self.cpu_ns, self.over_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A processor's energy counter, and whether it moved while it was read."""

    column: str
    moved: bool


def lateness(stretch: Stretch) -> Lateness | None:
    """Return how late the deadlines within a window were met; None where it holds no deadline."""
    trace, window = stretch.trace, stretch.window
    first = -(-(window.open_ns - trace.origin_ns) // trace.period_ns)
    last = (window.close_ns - trace.origin_ns) // trace.period_ns
    late = []
    for number in range(first, last):
        due = trace.origin_ns + number * trace.period_ns
        at = bisect_left(trace.fast.times, due)
        if at < len(trace.fast.times):
            late.append(trace.fast.times[at] - due)
    spread = Spread.of(late)
    missed = sum(value >= trace.period_ns for value in late)
    return None if spread is None else Lateness(spread=spread, missed=missed, period_ns=trace.period_ns)


def call_cost(stretch: Stretch) -> Spread | None:
    """Return how long one reading of all accelerators took, from the rows' spans."""
    part = stretch.trace.fast.between(stretch.window.open_ns, stretch.window.close_ns)
    return Spread.of(stretch.trace.fast.spans[part])


def updates(dense: Stretch, device: str) -> Updates | None:
    """Return how a counter updates; None with fewer than three ticks. Raises CounterReset or TraceGap."""
    found = _ticks(dense, device)
    steps = [int(later.at - earlier.at) for earlier, later in pairwise(found)]
    period = statistics.percentile(steps, 500) if steps else 0
    jitter = Spread.of([abs(step - period) for step in steps])
    if jitter is None or len(steps) < 2:  # noqa: PLR2004 - a jitter needs two steps
        return None
    widest = max(tick.by_ns - tick.after_ns for tick in found)
    return Updates(period_ns=period, jitter=jitter, longest_ns=max(steps), resolution_ns=widest)


def polling(slow: Sequence[Stretch], dense: Stretch, device: str) -> Polling | None:
    """Return how the counter minds being read; None where it does not move, or there is no slow stretch.

    Raises CounterReset, TraceGap CHANNEL_LOST, or WindowTooShort NO_IDLE_TICKS where a stretch has no two ticks.
    """
    slopes = [slope(stretch, device) for stretch in slow]
    fast = slope(dense, device)
    if not slopes:
        return None
    base = statistics.mean([found.watts for found in slopes])
    if base <= 0:
        return None
    drift = (max(found.watts for found in slopes) - min(found.watts for found in slopes)) / 2
    bound = fast.bound + max(found.bound for found in slopes) + drift
    return Polling(
        slow_watts=base, dense_watts=fast.watts, difference=(fast.watts - base) / base, resolution=bound / base
    )


def slope(stretch: Stretch, device: str) -> gated.Slope:
    """Return the counter's slope over a window, between the best located ticks of its first and its last second."""
    window = stretch.window
    found = _ticks(stretch, device)
    ends = [t for t in found if t.by_ns <= window.open_ns + _EDGE_NS or t.after_ns >= window.close_ns - _EDGE_NS]
    return gated.slope(ends, device)


def idle(stretches: Sequence[Stretch], device: str) -> Idle | None:
    """Return the device's rest over its stretches; None where it has no mean power."""
    pairs = [pair for stretch in stretches for pair in stretch.values(f"{device}.{GPU_POWER_AVERAGE}")]
    if len(pairs) < 2:  # noqa: PLR2004 - a decay needs two readings
        return None
    values = [value for _, value in pairs]
    centre_at = statistics.mean([at for at, _ in pairs])
    centre = statistics.mean(values)
    above = sum(((at - centre_at) * (value - centre) for at, value in pairs), Fraction(0))
    below = sum(((at - centre_at) ** 2 for at, _ in pairs), Fraction(0))
    return Idle(
        mean_mw=round(centre), low_mw=min(values), high_mw=max(values), watts_per_s=above / below * NS_PER_S / 1_000
    )


def clocks_apart(traces: Sequence[PowerTrace]) -> tuple[int, int]:
    """Return by how many nanoseconds the boot clock and the wall clock left the monotonic one, over all records."""
    start, end = traces[0].anchor_start, traces[-1].anchor_end
    elapsed = end.monotonic_ns - start.monotonic_ns
    return abs(end.boottime_ns - start.boottime_ns - elapsed), abs(end.realtime_ns - start.realtime_ns - elapsed)


def zones(stretch: Stretch) -> tuple[Zone, ...]:
    """Return the processor's energy counters that the record reads."""
    found = []
    for source in stretch.trace.sources.values():
        if source.kind is SourceKind.RAPL:
            for counter in source.counters:
                values = {value for _, value in stretch.values(counter.column)}
                found.append(Zone(column=counter.column, moved=len(values) > 1))
    return tuple(found)


def settings(trace: PowerTrace, device: str) -> Mapping[str, int | str]:
    """Return what the device says of itself: the header's facts, and the newest value of each state column."""
    prefix = f"{device}."
    stated: dict[str, int | str] = {
        name.removeprefix(prefix): value for name, value in trace.host.items() if name.startswith(prefix)
    }
    for column in trace.slow.columns:
        if column.startswith(prefix):
            known = [value for value in trace.slow.column(column) or () if value is not None]
            if known:
                stated[column.removeprefix(prefix)] = known[-1]
    return stated


def _ticks(stretch: Stretch, device: str) -> list[gated.Tick]:
    found = gated.series(stretch.trace, device)
    if found.energy_mj is None:
        return []
    return gated.ticks(found, stretch.window.open_ns, stretch.window.close_ns)
