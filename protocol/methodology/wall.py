"""A wall meter's energy over a window of a record: channel `node`, exact, with its doubt, or void with a reason.

Rules
1. A window's marks (CLOCK_MONOTONIC) become CLOCK_REALTIME along the straight line between the record's two anchors.
2. The log becomes one piecewise linear energy: through the cumulative readings where the log has them (method
   wall-meter-counter/1); otherwise (wall-meter/1) a row's `mean` watts over the time since the row before, or
   trapezoids between `instant` watts. A window's energy is the difference at its marks, so adjoining windows add up.
   With both in a log they must agree within max(2 %, k u), else CHANNELS_DISAGREE.
3. Energy = gain x (reading - offset x T), with the calibration document's gain and offset.
4. Standard uncertainties, in joules; the stated one is k = 2 times their root sum of squares, u_clock and u_sampling
   added before, because both move the energy of a gated window in one direction. L and H are the lowest and the
   highest power in the log within an interval and 2 u_c of an edge, dP = H - L, dt the interval that the edge lies in
   and x the part of it that lies before the edge:
   u_gain        gain's relative uncertainty x E, from the certificate
   u_offset      offset's uncertainty x gain x T, from the certificate
   u_clock       u_c x max(H(close) - L(open), H(open) - L(close)): a clock that is off by d moves both marks by d, and
                 changes the energy by d x (P(close) - P(open)) (mean value theorem). u_c is the document's, combined
                 with r/sqrt 3, r being what REALTIME and MONOTONIC drifted apart between the anchors
   u_rate        E x max(500e-6, r/T)/sqrt 3: two clocks that differ in rate. 500 ppm is the most by which the kernel
                 slews a clock, adjtimex(2)
   u_sampling    a step of dP anywhere in an interval, rectangular (half width/sqrt 3: JCGM 100:2008, 4.3.7). A straight
                 line between readings is off by at most dP dt x(1 - x) at an edge. Trapezoids are off by at most
                 dP dt (1 - x^2)/2 at OPEN and dP dt x(2 - x)/2 at CLOSE, and by dP dt/2 in every interval inside; those
                 are independent, the two edges are added, because a gated window biases both in one direction
   u_resolution  the last digit of watts as if it was cut off at every reading alike, q T/2; of a counter q. Rectangular
5. Idle-net takes the mean power of the idle around out of it. Of the idle windows what lies at least an interval and
   2 u_c away from the run is used. The offset cancels; the gain's doubt is of the net energy.
6. Checked from the first mark to the last: WALL_CALIBRATION_EXPIRED, WALL_NOT_COVERING, WALL_GAP (over three intervals
   or 5 s without a row), WALL_INTERVAL (the median interval is not the document's within 10 %), WALL_NO_POWER (zero or
   less: a node that runs draws power), COUNTER_RESET, WALL_STUCK (five rows or more, alike to the last digit, while an
   accelerator's mean power moved by more than 10 W and twice the last digit, or half of the CPUs' capacity came or
   went), WALL_INCONSISTENT (volts x amps x pf on the whole over 5 % from watts; without pf, watts over 5 % above volts
   x amps). The 2, 5 and 10 % and the 10 W are this method's own choices.
7. Node energy is at least what its measured parts cost, within their doubts added, else WALL_DISAGREES.
8. The node is Simulated where the record's accelerators are: nothing beside a stand-in device is of a real node.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Final

from protocol.errors import InvalidMeasurement, TraceGap
from protocol.methodology import statistics
from protocol.methodology.energy import COVERAGE_FACTOR, Curve, Measured, Simulated
from protocol.methodology.trace import PowerTrace, SourceKind, Window
from protocol.methodology.wall_calibration import READING_MEAN, WallCalibration
from protocol.methodology.wall_csv import COUNTERS, NANO, WALL_WATTS, WallTrace
from protocol.units import NS_PER_S

NODE: Final = "node"
METHOD_WALL: Final = "wall-meter/1"
METHOD_WALL_COUNTER: Final = "wall-meter-counter/1"
WALL_DISAGREES: Final = "WALL_DISAGREES"
FLAG_RANGE: Final = "WALL_RANGE_CHANGED"
PARTS: Final = ("gpu", "cpu", "dram")

CHANNELS_SHARE: Final = Fraction(2, 100)
CLOCK_RATE: Final = Fraction(500, 10**6)
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

    def standard(self, *, calibrated: bool = True) -> Fraction:
        """Return the root sum of squares, with or without the certificate's two terms."""
        found = [self.u_clock + self.u_sampling, self.u_rate, self.u_resolution]
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
class NodeReading:
    """Channel `node` of one run: gross; net of idle with its expanded doubt where idle was seen; what was noticed."""

    gross: Measured | Simulated
    energy: WallEnergy
    idle_net: Fraction | None
    idle_net_uncertainty: Fraction | None
    flags: tuple[str, ...]


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


def node(
    power: PowerTrace,
    found: WallTrace,
    calibration: WallCalibration,
    run: Window,
    around: Sequence[Window] = (),
) -> NodeReading:
    """Return channel `node` of one run; `around` are its idle windows (before, after).

    The log must already have passed `wall_checks.check_log`. Raises InvalidMeasurement: CHANNELS_DISAGREE, ZERO_ENERGY,
    CLOCK_STEPPED; TraceGap WALL_NOT_COVERING where the log does not reach around the run.
    """
    lines = clock(power)
    window = lines.window(run)
    found = _around(found, [window, *map(lines.window, around)], calibration)
    log = Log(found, calibration, lines)
    require_rows(found, window.open_ns, window.close_ns)
    energy = log.energy(window.open_ns, window.close_ns)
    if energy.joules <= 0:
        raise InvalidMeasurement(
            code="ZERO_ENERGY",
            observed=f"the node cost {float(energy.joules):.6f} J at the wall",
            expected="more than nothing",
            hint="look at the wall meter's wiring and at its log",
        )
    if log.counter is not None and WALL_WATTS in found.columns:
        _agree(energy, Log(found, calibration, lines, counted=False).energy(window.open_ns, window.close_ns))
    idle = [log.energy(*quiet) for quiet in resting(log, window, [lines.window(other) for other in around])]
    net = _net(energy, idle, calibration)
    rows = slice(*require_rows(found, window.open_ns, window.close_ns))
    kind = Simulated if power.sources["gpu"].kind is SourceKind.SIMULATED else Measured
    return NodeReading(
        gross=kind(
            joules=energy.joules,
            uncertainty=COVERAGE_FACTOR * energy.uncertainty.standard(),
            method=METHOD_WALL if log.counter is None else METHOD_WALL_COUNTER,
        ),
        energy=energy,
        idle_net=net[0] if net else None,
        idle_net_uncertainty=net[1] if net else None,
        flags=(FLAG_RANGE,) if found.ranges and len(set(found.ranges[rows])) > 1 else (),
    )


def _around(found: WallTrace, windows: Sequence[Window], calibration: WallCalibration) -> WallTrace:
    """Return the part of a log that windows (in CLOCK_REALTIME) can depend on, and a little more."""
    margin = 4 * (calibration.interval_ns + int(calibration.clock_uncertainty_ns)) + NS_PER_S
    first = bisect_left(found.times, min(window.open_ns for window in windows) - margin)
    return found.part(max(first - 1, 0), bisect_right(found.times, max(w.close_ns for w in windows) + margin) + 1)


def resting(log: Log, run: Window, around: Sequence[Window]) -> list[tuple[int, int]]:
    """Return what of the idle windows lies far enough from the run that the log's rows are of idle alone."""
    found = []
    for other in around:
        start = max(other.open_ns, run.close_ns + log.reach_ns) if other.open_ns >= run.close_ns else other.open_ns
        end = other.close_ns if other.open_ns >= run.close_ns else min(other.close_ns, run.open_ns - log.reach_ns)
        if end - start >= log.calibration.interval_ns // 2:
            require_rows(log.found, start, end)
            found.append((start, end))
    return found


def disagreement(gross: Measured | Simulated, channels: Mapping[str, object]) -> str | None:
    """Return what is wrong where the node costs less than its measured parts, doubts added; None where it does not."""
    found = [channels.get(name) for name in PARTS]
    parts = [part for part in found if isinstance(part, Measured | Simulated)]
    joules = sum((part.joules for part in parts), Fraction(0))
    doubt = sum((part.uncertainty or Fraction(0) for part in parts), gross.uncertainty or Fraction(0))
    if gross.joules + doubt >= joules:
        return None
    return (
        f"the node cost {float(gross.joules):.3f} J at the wall, its measured parts {float(joules):.3f} J "
        f"(doubts together {float(doubt):.3f} J)"
    )


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


def _agree(counted: WallEnergy, summed: WallEnergy) -> None:
    doubt = statistics.square_root(
        counted.uncertainty.standard(calibrated=False) ** 2 + summed.uncertainty.standard(calibrated=False) ** 2
    )
    allowed = max(CHANNELS_SHARE * counted.joules, COVERAGE_FACTOR * doubt)
    if abs(counted.joules - summed.joules) > allowed:
        raise InvalidMeasurement(
            code="CHANNELS_DISAGREE",
            observed=f"node: {float(counted.joules):.3f} J by its counter, {float(summed.joules):.3f} J by its watts",
            expected=f"a difference of at most {float(allowed):.3f} J",
            hint="one of the wall meter's two columns is wrong; neither is counted",
        )


def _net(
    gross: WallEnergy, idle: Sequence[WallEnergy], calibration: WallCalibration
) -> tuple[Fraction, Fraction] | None:
    """Return the energy net of idle and its expanded doubt, where there is idle."""
    if not idle:
        return None
    stretch = Fraction(gross.duration_ns, sum(part.duration_ns for part in idle))
    net = gross.joules - sum((part.joules for part in idle), Fraction(0)) * stretch
    around = sum((part.uncertainty.standard(calibrated=False) for part in idle), Fraction(0)) * stretch
    square = (net * calibration.gain_uncertainty) ** 2 + around**2
    return net, COVERAGE_FACTOR * statistics.square_root(square + gross.uncertainty.standard(calibrated=False) ** 2)
