"""A wall meter's log with its calibration: energy between two instants, and the doubt of it (`wall`, rules 1 to 4)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Final

from protocol.errors import InvalidMeasurement, TraceGap
from protocol.methodology import statistics
from protocol.methodology.energy import COVERAGE_FACTOR, Curve
from protocol.methodology.trace import PowerTrace, Window
from protocol.methodology.wall_calibration import READING_MEAN, WallCalibration
from protocol.methodology.wall_csv import COUNTERS, NANO, WALL_WATTS, WallTrace
from protocol.units import NS_PER_S

NODE: Final = "node"
CLOCK_RATE: Final = Fraction(500, 10**6)  # adjtimex(2): the most by which the kernel slews a clock

_THIRD: Final = Fraction(1, 3)  # a rectangular distribution's variance over its half width squared


@dataclass(frozen=True, slots=True, kw_only=True)
class WallUncertainty:
    """The terms of rule 4, each one standard deviation in joules."""

    u_gain: Fraction
    u_offset: Fraction
    u_clock: Fraction
    u_rate: Fraction
    u_sampling: Fraction
    u_resolution: Fraction
    u_idle: Fraction = Fraction(0)

    def standard(self, *, calibrated: bool = True) -> Fraction:
        """Return the root sum of squares, with or without the certificate's two terms."""
        found = [self.u_clock + self.u_sampling, self.u_rate, self.u_resolution, self.u_idle]
        found += [self.u_gain, self.u_offset] if calibrated else []
        return statistics.square_root(sum((part**2 for part in found), Fraction(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WallEnergy:
    """The energy of one stretch of time, and its doubt."""

    joules: Fraction
    duration_ns: int
    uncertainty: WallUncertainty

    @property
    def watts(self) -> Fraction:
        """The stretch's mean power."""
        return self.joules * NS_PER_S / self.duration_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The line from a record's CLOCK_MONOTONIC to CLOCK_REALTIME; `drift_ns` is what the two drifted apart."""

    monotonic_ns: int
    realtime_ns: int
    slope: Fraction
    drift_ns: int

    def realtime(self, monotonic_ns: int) -> int:
        """Return the calendar's instant of a mark, in nanoseconds, rounded down."""
        return self.realtime_ns + (monotonic_ns - self.monotonic_ns) * self.slope.numerator // self.slope.denominator

    def monotonic(self, realtime_ns: int) -> int:
        """Return the record's instant of a row."""
        return self.monotonic_ns + (realtime_ns - self.realtime_ns) * self.slope.denominator // self.slope.numerator

    def window(self, found: Window) -> Window:
        """Return a window with its marks in CLOCK_REALTIME."""
        return Window(name=found.name, open_ns=self.realtime(found.open_ns), close_ns=self.realtime(found.close_ns))


def clock(power: PowerTrace) -> Clock:
    """Return the record's clock; raises InvalidMeasurement CLOCK_STEPPED where its anchors make no line."""
    start, end = power.anchor_start, power.anchor_end
    elapsed, passed = end.monotonic_ns - start.monotonic_ns, end.realtime_ns - start.realtime_ns
    if elapsed <= 0 or passed <= 0:
        raise InvalidMeasurement(
            code="CLOCK_STEPPED",
            observed=f"{passed} ns of CLOCK_REALTIME in {elapsed} ns of CLOCK_MONOTONIC",
            expected="two anchors apart on both clocks",
            hint="keep the machine's clock slewed, not stepped",
        )
    return Clock(
        monotonic_ns=start.monotonic_ns,
        realtime_ns=start.realtime_ns,
        slope=Fraction(passed, elapsed),
        drift_ns=abs(passed - elapsed),
    )


class Log:
    """A stretch of a log with its calibration: energies and their doubts between instants of CLOCK_REALTIME."""

    def __init__(self, found: WallTrace, calibration: WallCalibration, clock: Clock, *, counted: bool = True) -> None:
        """Take in the readings: the cumulative ones where the log has them and `counted`, else the watts."""
        self.found, self.calibration = found, calibration
        self.times = found.times
        self.counter = found.counter if counted or WALL_WATTS not in found.columns else None
        column = found.columns[self.counter or WALL_WATTS]
        self.instant = self.counter is None and calibration.reading != READING_MEAN
        unit = NANO * COUNTERS.get(self.counter or "", Fraction(1))
        self.quantum = column.quantum * COUNTERS.get(self.counter or "", Fraction(1))
        steps = [later - earlier for earlier, later in pairwise(self.times)]
        if self.counter is None:
            heights = self._heights(column.values)
            self._low = [min(pair) * unit for pair in heights]
            self._high = [max(pair) * unit for pair in heights]
            energies = accumulate(((a + b) * step for (a, b), step in zip(heights, steps, strict=True)), initial=0)
            self._curve = Curve(name=NODE, times=self.times, values=list(energies), unit=unit / (2 * NS_PER_S))
        else:
            rises = [later - earlier for earlier, later in pairwise(column.values)]
            self._low = [rise * unit * NS_PER_S / step for rise, step in zip(rises, steps, strict=True)]
            self._high = self._low
            self._curve = Curve(name=NODE, times=self.times, values=column.values, unit=unit)
        # How far from an instant the log may speak of it: the interval around it, and what the clocks leave open.
        self.u_clock_ns = statistics.square_root(calibration.clock_uncertainty_ns**2 + clock.drift_ns**2 * _THIRD)
        self.reach_ns = calibration.interval_ns - (-COVERAGE_FACTOR * self.u_clock_ns // 1)
        self.guard_ns = calibration.interval_ns + self.reach_ns
        self._drift_ns = clock.drift_ns

    def _heights(self, watts: Sequence[int]) -> list[tuple[int, int]]:
        """Return the power at the two ends of every interval."""
        return list(pairwise(watts)) if self.instant else [(value, value) for value in watts[1:]]

    def energy(self, start_ns: int, end_ns: int) -> WallEnergy:
        """Return the energy from one instant to another, both within the log, by rules 2 to 4."""
        calibration, duration = self.calibration, end_ns - start_ns
        seconds = Fraction(duration, NS_PER_S)
        raw = self._curve.energy(Window(name=NODE, open_ns=start_ns, close_ns=end_ns))
        joules = calibration.gain * (raw - calibration.offset_watts * seconds)
        (low_a, high_a), (low_b, high_b) = self.span(start_ns), self.span(end_ns)
        shift = max(high_b - low_a, high_a - low_b, Fraction(0))
        rate = max(CLOCK_RATE, Fraction(self._drift_ns, duration))
        half = self.quantum if self.counter else self.quantum * seconds / 2
        return WallEnergy(
            joules=joules,
            duration_ns=duration,
            uncertainty=WallUncertainty(
                u_gain=abs(joules) * calibration.gain_uncertainty,
                u_offset=calibration.gain * calibration.offset_uncertainty_watts * seconds,
                u_clock=calibration.gain * shift * self.u_clock_ns / NS_PER_S,
                u_rate=abs(joules) * rate * statistics.square_root(_THIRD),
                u_sampling=calibration.gain * self._sampling(start_ns, end_ns),
                u_resolution=calibration.gain * half * statistics.square_root(_THIRD),
            ),
        )

    def span(self, instant_ns: int) -> tuple[Fraction, Fraction]:
        """Return the lowest and the highest power that the log has within reach of an instant."""
        first = max(bisect_right(self.times, instant_ns - self.reach_ns) - 1, 0)
        last = max(bisect_left(self.times, instant_ns + self.reach_ns), first + 1)
        return min(self._low[first:last]), max(self._high[first:last])

    def _sampling(self, start_ns: int, end_ns: int) -> Fraction:
        edges = self._edge(start_ns, opening=True) + self._edge(end_ns, opening=False)
        inside = Fraction(0)
        if self.instant:
            for i in range(bisect_left(self.times, start_ns), bisect_right(self.times, end_ns) - 1):
                step = self._high[i] - self._low[i]
                inside += (step * (self.times[i + 1] - self.times[i]) / (2 * NS_PER_S)) ** 2
        return statistics.square_root((edges**2 + inside) * _THIRD)

    def _edge(self, instant_ns: int, *, opening: bool) -> Fraction:
        after = bisect_left(self.times, instant_ns)
        if self.times[after] == instant_ns:
            return Fraction(0)
        step = Fraction(self.times[after] - self.times[after - 1])
        before = (instant_ns - self.times[after - 1]) / step
        low, high = self.span(instant_ns)
        share = before * (1 - before)
        if self.instant:
            share = (1 - before**2) / 2 if opening else before * (2 - before) / 2
        return (high - low) * share * step / NS_PER_S


def require_rows(found: WallTrace, start_ns: int, end_ns: int) -> tuple[int, int]:
    """Return the rows from the last at or before `start_ns` to the first at or after `end_ns`, as a slice's bounds.

    Raises TraceGap WALL_NOT_COVERING where there are none.
    """
    first, last = bisect_right(found.times, start_ns) - 1, bisect_left(found.times, end_ns)
    if first < 0 or last >= len(found.times):
        missing = Fraction(max(found.times[0] - start_ns, end_ns - found.times[-1]), NS_PER_S)
        raise TraceGap(
            code="WALL_NOT_COVERING",
            observed=f"the wall meter's log lacks {float(missing):.3f} s of the measurement",
            expected="rows from before the first mark to after the last",
            hint="start the logger first and end it last; compare its clock and its offset from UTC with the host's",
        )
    return first, last + 1
