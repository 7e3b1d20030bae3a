"""The gated window of an accelerator: one window with idle before and after it, its energy bracketed between ticks.

A device's energy counter moves once in U (20 to 100 ms). A plain difference of readings at a window's marks is off by
up to U/T, and for idle-work-idle it is biased low by (U/2)(P - P_idle)/E: 2.2 % at 2 s with U = 100 ms. A 1 s running
mean loses 22 to 30 % of a 2 s run. Both go away where the device is idle on both sides of the window.

Rules
1. Tick: the counter's new value was first seen by the reading that began at t(i) and ended by t(i) + span(i), and not
   by the one that began at t(i-1): the tick lies in (t(i-1), t(i) + span(i)], and is taken at the middle. Counters
   that fall raise CounterReset.
2. Idle: the slope between the two ticks of the last 2 s before OPEN that resolve it best (the sum of their half widths
   over the time between them is smallest). The sampler hunts ticks twice while it arms, 1 s apart, for this.
3. A, primary (method nvml-gated/1): the counter's difference between one tick before OPEN and one after CLOSE, minus
   the idle slope over the slack at both ends. Of the ticks, the one with the smallest doubt is taken: idle over its
   half width, and the idle slope's bound over its slack.
4. Deferred work: what the counter gained from A's last tick to the end of the hold, above idle. It is charged as soon
   as it exceeds what the ticks can resolve (a bound, not a deviation), and named DEFERRED_WORK from 1 % of the window.
   Energy above idle in A's own slack is never subtracted, and so is charged too.
5. B, cross-check (nvml-gated-mean/1): idle over the window, plus the integral of (1 s mean - idle) from OPEN to the end
   of the hold. A running mean moves energy later by up to 1 s and loses none of it, so that with its tail the integral
   is whole (deferred work included). Its idle is its own mean over the last 0.5 s before OPEN.
6. Fusion is by check, not by averaging: |A - B| at most max(2 % of A, k u), else CHANNELS_DISAGREE. B stands alone,
   under its own method id, where the device has no counter.
7. Gross is the headline; idle-net takes the idle slope over the window's length out of it. Nothing that is zero or less
   is ever an energy (ZERO_ENERGY).
8. Standard uncertainties, in joules; the stated one is k = 2 times their root sum of squares:
   u_gain      5 %/sqrt 3 of E, uncalibrated (arXiv 2312.02741: proportional, per board); a calibration replaces it
   u_edge      |idle after - idle before| x U; the two ticks' half widths, added because the same polling located both;
               the idle slope's bound over the slack; the counter's last digit. The last three are rectangular
               distributions (half width/sqrt 3: JCGM 100:2008, 4.3.7)
   u_channels  what of |A - B| the 1 s mean's own resolution does not explain, over sqrt 3: a check cannot show less
               than it resolves. For work of a height P above idle that resolution is P x h / sqrt 6 with h the longest
               time that the mean was seen to stand still while it should fall (the unbracketed edges of a held value,
               as of a counter), and P x g^2 / 8 per second at each of its four corners, g the time between readings
               around it (the trapezoid rule at a kink: slope x(g - x)/2). Its last digit, 1 mW of the work and of idle,
               is a rectangular distribution.
   u_runs      s/sqrt n over the runs of a cell
Everything is exact arithmetic in fractions; orchestrator and verifier get the same bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Final, NoReturn

from protocol.errors import CounterReset, InvalidMeasurement, TraceGap, WindowTooShort
from protocol.methodology import statistics
from protocol.methodology.energy import COVERAGE_FACTOR, GAIN_HALF_WIDTH, MEAN_POWER_SPAN_NS
from protocol.methodology.trace import GPU_ENERGY, GPU_POWER_AVERAGE, PowerTrace, Window
from protocol.units import NS_PER_MS, NS_PER_S

METHOD_GATED: Final = "nvml-gated/1"
METHOD_GATED_MEAN: Final = "nvml-gated-mean/1"

IDLE_BASE_NS: Final = 2 * NS_PER_S  # within what settling (1.5 s) and arming (1 s and two hunts) guarantee to be idle
MEAN_BASE_NS: Final = 500 * NS_PER_MS  # of it, what a 1 s mean says of idle alone
HOLD_NS: Final = 2 * NS_PER_S  # idle after CLOSE, at least: the mean's 1 s, and time for deferred work to show
HOLD_LIMIT_NS: Final = 2_500 * NS_PER_MS  # and at most: what comes later is the next run's settling
DEFERRED_SHARE: Final = Fraction(1, 100)
CHANNELS_SHARE: Final = Fraction(2, 100)
FLAG_DEFERRED: Final = "DEFERRED_WORK"

_WATTS: Final = 1_000_000  # mJ per ns
_MILLI: Final = Fraction(1, 1_000)
_QUANTUM: Final = _MILLI  # joules: the counter's last digit
_THIRD: Final = Fraction(1, 3)  # a rectangular distribution's variance over its half width squared
_SIXTH: Final = Fraction(1, 6)
_CORNER: Final = Fraction(1, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One device's readings: begun at `times`, over within `spans`; millijoules counted, milliwatts of 1 s mean."""

    name: str
    times: Sequence[int]
    spans: Sequence[int]
    energy_mj: Sequence[int | None] | None
    mean_mw: Sequence[int | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """The counter came to `value` (mJ) after `after_ns` and by `by_ns`."""

    after_ns: int
    by_ns: int
    value: int

    @property
    def at(self) -> Fraction:
        """The middle, in nanoseconds."""
        return Fraction(self.after_ns + self.by_ns, 2)

    @property
    def half(self) -> Fraction:
        """Half the width of what is known, in nanoseconds."""
        return Fraction(self.by_ns - self.after_ns, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """A power in watts that cannot be off by more than `bound`."""

    watts: Fraction
    bound: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A window and the idle around it: quiet from `from_ns` to its opening, held idle from its close `until_ns`."""

    window: Window
    from_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """A: `joules` of the window, the ticks it stands on, idle on both sides, deferred joules and their resolution."""

    joules: Fraction
    start: Tick
    end: Tick
    idle: Slope
    idle_after: Slope
    update_ns: int
    deferred: Fraction
    resolution: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanIntegral:
    """B: `joules` of the window with its tail, the idle watts it stands on, and what its readings cannot resolve."""

    joules: Fraction
    idle_watts: Fraction
    resolution: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """The terms of rule 8, each one standard deviation in joules; `u_channels` is None where there is one channel."""

    u_gain: Fraction
    u_edge: Fraction
    u_channels: Fraction | None

    def expanded(self, *, gain: bool = True) -> Fraction:
        """Return k = 2 times the root sum of squares, with or without the board's gain."""
        parts = [self.u_edge, self.u_channels or Fraction(0), self.u_gain if gain else Fraction(0)]
        return COVERAGE_FACTOR * statistics.square_root(sum((part**2 for part in parts), Fraction(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedReading:
    """One device's window: gross joules with deferred work charged, net of idle, its doubt, its channels and flags.

    `idle_net_doubt` is the expanded uncertainty (k = 2) of `idle_net`: that of the gross joules, the gain's part of
    what is left, and the idle slope's bound over the whole window, rectangular.
    """

    device: str
    method: str
    joules: Fraction
    idle_net: Fraction
    idle_net_doubt: Fraction
    idle_watts: Fraction
    deferred: Fraction
    uncertainty: Uncertainty
    counter: Bracket | None
    mean: MeanIntegral | None
    flags: tuple[str, ...]


def gate(trace: PowerTrace, run: Window, before: Window, after: Window) -> Gate:
    """Return the gate that three marked windows make; raises WindowTooShort NOT_HELD where idle was too brief."""
    if run.open_ns - before.open_ns < IDLE_BASE_NS or after.close_ns - run.close_ns < HOLD_NS:
        raise WindowTooShort(
            code="NOT_HELD",
            observed=f"{run.open_ns - before.open_ns} ns of idle before {run.name!r}, "
            f"{after.close_ns - run.close_ns} ns after, in the record of {trace.digest[:8]}",
            expected=f"at least {IDLE_BASE_NS} ns before and {HOLD_NS} ns after",
            hint="a gated window needs its settling and its hold",
        )
    until_ns = min(after.close_ns, run.close_ns + HOLD_LIMIT_NS)
    return Gate(window=run, from_ns=before.open_ns, until_ns=until_ns)


def series(trace: PowerTrace, device: str) -> Series:
    """Return one device's readings of a record."""
    return Series(
        name=device,
        times=trace.fast.times,
        spans=trace.fast.spans,
        energy_mj=trace.fast.column(f"{device}.{GPU_ENERGY}"),
        mean_mw=trace.fast.column(f"{device}.{GPU_POWER_AVERAGE}"),
    )


def measure(found: Series, gated: Gate, calibration: Fraction | None = None) -> GatedReading:
    """Return a device's energy over a gated window; `calibration` is a wall meter's standard uncertainty, relative.

    Raises InvalidMeasurement: COUNTER_RESET, COUNTER_FROZEN, NO_IDLE_TICKS, CHANNEL_LOST, CHANNELS_DISAGREE or
    ZERO_ENERGY.
    """
    counter = None if found.energy_mj is None else bracket(found, gated)
    mean = None if found.mean_mw is None else mean_integral(found, gated)
    if counter is not None:
        joules, idle = counter.joules + counter.deferred, counter.idle.watts
    elif mean is not None:
        joules, idle = mean.joules, mean.idle_watts
    else:
        _lost(found.name, "neither its counter nor its mean power is in the record")
    if joules <= 0:
        raise InvalidMeasurement(
            code="ZERO_ENERGY",
            observed=f"{found.name} cost {float(joules):.6f} J",
            expected="more than nothing",
            hint="the instrument stands still; look for a lost device or a reloaded driver",
        )
    doubt = Uncertainty(
        u_gain=u_gain(joules, calibration),
        u_edge=mean.resolution if counter is None and mean is not None else u_edge(counter, gated.window),
        u_channels=None if counter is None or mean is None else u_channels(joules, mean.joules, mean.resolution),
    )
    if counter is not None and mean is not None:
        _agree(found.name, joules, mean.joules, doubt)
    deferred = Fraction(0) if counter is None else counter.deferred
    idle_net = joules - energy(idle, gated.window.duration_ns)
    slope_bound = Fraction(0) if counter is None else energy(counter.idle.bound, gated.window.duration_ns)
    return GatedReading(
        device=found.name,
        method=METHOD_GATED_MEAN if counter is None else METHOD_GATED,
        joules=joules,
        idle_net=idle_net,
        idle_net_doubt=COVERAGE_FACTOR
        * statistics.square_root(
            doubt.u_edge**2
            + (doubt.u_channels or Fraction(0)) ** 2
            + slope_bound**2 * _THIRD
            + u_gain(abs(idle_net), calibration) ** 2
        ),
        idle_watts=idle,
        deferred=deferred,
        uncertainty=doubt,
        counter=counter,
        mean=mean,
        flags=(FLAG_DEFERRED,) if deferred > DEFERRED_SHARE * (joules - deferred) else (),
    )


# Ticks


def ticks(found: Series, start_ns: int, end_ns: int) -> list[Tick]:
    """Return the counter's ticks that are known to lie in [start, end]; raises CounterReset, TraceGap CHANNEL_LOST."""
    return list(_ticks(found, start_ns, end_ns))


def _ticks(found: Series, start_ns: int, end_ns: int) -> Iterator[Tick]:
    first, last = bisect_left(found.times, start_ns), bisect_right(found.times, end_ns)
    values = (found.energy_mj or ())[first:last]
    for i in range(1, len(values)):
        earlier, later = values[i - 1], values[i]
        if earlier is None or later is None:
            _lost(found.name, "its counter was not read throughout")
        if later < earlier:
            raise CounterReset(
                observed=f"{found.name}: the counter fell from {earlier} to {later}",
                expected="a cumulative counter that never falls",
                hint="the driver was reloaded or the device reset while it was measured",
            )
        by = found.times[first + i] + found.spans[first + i]
        if later > earlier and by <= end_ns:
            yield Tick(after_ns=found.times[first + i - 1], by_ns=by, value=later)


def slope(found: Sequence[Tick], name: str) -> Slope:
    """Return the power between the two ticks that resolve it best; raises NO_IDLE_TICKS where there are none."""
    if len(found) < 2:  # noqa: PLR2004 - a slope needs two points
        raise WindowTooShort(
            code="NO_IDLE_TICKS",
            observed=f"the counter of {name} moved {len(found)} times while the device was to be idle",
            expected="at least two ticks before and two after the window",
            hint="hold longer; a counter that stands still for a second is a device that the driver has lost",
        )
    # Doubled integers throughout: a ratio does not mind.
    doubts = {
        (a, b): Fraction(a.by_ns - a.after_ns + b.by_ns - b.after_ns, b.by_ns + b.after_ns - a.by_ns - a.after_ns)
        for a, b in combinations(found, 2)
    }
    a, b = min(doubts, key=lambda pair: doubts[pair])
    watts = Fraction((b.value - a.value) * _WATTS) / (b.at - a.at)
    return Slope(watts=watts, bound=watts * doubts[a, b] + Fraction(_WATTS) / (b.at - a.at))


def update_period(found: Sequence[Tick]) -> int:
    """Return U in nanoseconds: the median time between neighbouring ticks (rounded down)."""
    steps = sorted(later.at - earlier.at for earlier, later in pairwise(found))
    return int(steps[len(steps) // 2]) if steps else 0


# The two channels


def bracket(found: Series, gated: Gate) -> Bracket:
    """Return A: the counter between two ticks, minus idle over the slack; raises as `measure` does."""
    window = gated.window
    moves = ticks(found, max(gated.from_ns, window.open_ns - IDLE_BASE_NS), gated.until_ns)
    quiet = [tick for tick in moves if tick.by_ns <= window.open_ns]
    held = [tick for tick in moves if tick.after_ns >= window.close_ns]
    idle = slope(quiet, found.name)
    idle_after = slope(held, found.name)
    start = min(quiet, key=lambda tick: idle.watts * tick.half + idle.bound * (window.open_ns - tick.at))
    end = min(held, key=lambda tick: idle.watts * tick.half + idle.bound * (tick.at - window.close_ns))
    slack = (window.open_ns - start.at) + (end.at - window.close_ns)
    last = min(held, key=lambda tick: idle.watts * tick.half + idle.bound * (gated.until_ns - tick.at))
    tail = last.at - end.at
    deferred = (last.value - end.value) * _MILLI - energy(idle.watts, tail)
    resolution = energy(idle.bound, tail) + energy(idle.watts, last.half + end.half) + _QUANTUM
    return Bracket(
        joules=(end.value - start.value) * _MILLI - energy(idle.watts, slack),
        start=start,
        end=end,
        idle=idle,
        idle_after=idle_after,
        update_ns=update_period(quiet),
        deferred=deferred if deferred > resolution else Fraction(0),
        resolution=resolution,
    )


def mean_integral(found: Series, gated: Gate) -> MeanIntegral:
    """Return B: the 1 s mean above idle, integrated with its tail; raises TraceGap CHANNEL_LOST."""
    window = gated.window
    base = window.open_ns - MEAN_BASE_NS
    idle = _integral(found, base, window.open_ns) * NS_PER_S / MEAN_BASE_NS
    above = _integral(found, window.open_ns, gated.until_ns) - energy(idle, gated.until_ns - window.open_ns)
    joules = above + energy(idle, window.duration_ns)
    corners = (window.open_ns, window.open_ns + MEAN_POWER_SPAN_NS, window.close_ns, window.close_ns + NS_PER_S)
    steps = [_step_at(found, corner) for corner in corners]
    watts = max(above, Fraction(0)) * NS_PER_S / window.duration_ns  # the work's height: a mean climbs at so much a s
    unresolved = sum((watts * Fraction(step, NS_PER_S) ** 2 * _CORNER for step in steps), Fraction(0))
    unresolved += energy(watts, _stands_still(found, window.close_ns)) * statistics.square_root(_SIXTH)
    unresolved += energy(_MILLI, gated.until_ns - window.open_ns) * statistics.square_root(_THIRD)
    return MeanIntegral(joules=joules, idle_watts=idle, resolution=unresolved)


def _integral(found: Series, start_ns: int, end_ns: int) -> Fraction:
    """Return the joules under the mean power between two instants, straight between readings."""
    first = max(bisect_right(found.times, start_ns) - 1, 0)
    last = bisect_left(found.times, end_ns) + 1
    times, values = found.times[first:last], (found.mean_mw or ())[first:last]
    if not times or times[0] > start_ns or times[-1] < end_ns or None in values:
        _lost(found.name, "its mean power was not read throughout")
    known = [value for value in values if value is not None]
    doubled = sum((a + b) * (t - s) for (s, a), (t, b) in pairwise(zip(times, known, strict=True)))
    area = Fraction(doubled, 2)
    if start_ns > times[0]:
        area -= _piece((times[0], known[0]), (times[1], known[1]), times[0], start_ns)
    if end_ns < times[-1]:
        area -= _piece((times[-2], known[-2]), (times[-1], known[-1]), end_ns, times[-1])
    return area / (_WATTS * 1_000_000)  # mW ns


def _piece(left: tuple[int, int], right: tuple[int, int], start_ns: int, end_ns: int) -> Fraction:
    """Return the area under the straight line between two readings, between two instants on it."""
    (s, a), (t, b) = left, right
    low = a + Fraction((b - a) * (start_ns - s), t - s)
    high = a + Fraction((b - a) * (end_ns - s), t - s)
    return (low + high) * (end_ns - start_ns) / 2


def _stands_still(found: Series, close_ns: int) -> int:
    """Return the longest time that the mean was seen not to move in the second after the work, when it should fall."""
    part = slice(bisect_left(found.times, close_ns), bisect_right(found.times, close_ns + MEAN_POWER_SPAN_NS))
    values = (found.mean_mw or ())[part]
    longest = since = 0
    for i in range(1, len(values)):
        if values[i] == values[i - 1]:
            longest = max(longest, found.times[part.start + i] - found.times[part.start + since])
        else:
            since = i
    return longest


def _step_at(found: Series, instant_ns: int) -> int:
    """Return the time between the readings around an instant; 0 where one was taken at the instant itself."""
    after = bisect_left(found.times, instant_ns)
    if after in {0, len(found.times)} or found.times[after] == instant_ns:
        return 0
    return found.times[after] - found.times[after - 1]


# Uncertainty, each term one standard deviation in joules


def u_gain(joules: Fraction, calibration: Fraction | None = None) -> Fraction:
    """Return the board's gain: 5 %/sqrt 3 of the energy, or the calibration's relative standard uncertainty of it."""
    if calibration is not None:
        return joules * calibration
    return joules * GAIN_HALF_WIDTH * statistics.square_root(_THIRD)


def u_edge(found: Bracket | None, window: Window) -> Fraction:
    """Return what the window's edges leave open: idle drift over U, the ticks' places, idle over the slack."""
    if found is None:
        return Fraction(0)
    drift = energy(abs(found.idle_after.watts - found.idle.watts), found.update_ns)
    places = energy(found.idle.watts, found.start.half + found.end.half)
    slack = (window.open_ns - found.start.at) + (found.end.at - window.close_ns)
    rectangles = [places, energy(found.idle.bound, slack), _QUANTUM]
    return statistics.square_root(drift**2 + sum((part**2 for part in rectangles), Fraction(0)) * _THIRD)


def u_channels(a: Fraction, b: Fraction, resolution: Fraction) -> Fraction:
    """Return the channels' difference beyond what the mean's own resolution explains, over sqrt 3."""
    return max(abs(a - b) - resolution, Fraction(0)) * statistics.square_root(_THIRD)


def u_runs(joules: Sequence[Fraction]) -> Fraction | None:
    """Return the standard deviation of the runs' mean, s/sqrt n; None for fewer than two runs."""
    spread = statistics.deviation(joules)
    return None if spread is None else spread / statistics.square_root(Fraction(len(joules)))


def energy(watts: Fraction, ns: Fraction | int) -> Fraction:
    """Return the joules of a power over nanoseconds."""
    return watts * ns / NS_PER_S


def combined(parts: Mapping[str, GatedReading]) -> tuple[Fraction, Fraction]:
    """Return joules and expanded uncertainty (k = 2) of several devices; their gains are taken as independent."""
    spread = sum((part.uncertainty.expanded() ** 2 for part in parts.values()), Fraction(0))
    return sum((part.joules for part in parts.values()), Fraction(0)), statistics.square_root(spread)


def _agree(name: str, a: Fraction, b: Fraction, doubt: Uncertainty) -> None:
    """Raise CHANNELS_DISAGREE unless |A - B| is within max(2 %, k u).

    Only u_edge counts as u here: the gain is common to both channels, and u_channels is the difference itself.
    """
    allowed = max(CHANNELS_SHARE * a, COVERAGE_FACTOR * doubt.u_edge)
    if abs(a - b) > allowed:
        raise InvalidMeasurement(
            code="CHANNELS_DISAGREE",
            observed=f"{name}: {float(a):.3f} J by its counter, {float(b):.3f} J by its mean power",
            expected=f"a difference of at most {float(allowed):.3f} J",
            hint="one of the device's two readings is wrong; neither is counted",
        )


def _lost(name: str, how: str) -> NoReturn:
    raise TraceGap(
        code="CHANNEL_LOST",
        observed=f"{name}: {how}",
        expected="readings from before the window's opening to the end of its hold",
        hint="the instrument failed; the record's failure rows say when",
    )
