"""A wall meter's energy over a window of a record: channel `node`, exact, with its doubt, or void with a reason.

Rules
1. A window's marks (CLOCK_MONOTONIC) become CLOCK_REALTIME along the straight line between the record's two anchors.
2. The log becomes one piecewise linear energy: through the cumulative readings where the log has them (method
   wall-meter-counter/1); otherwise (wall-meter/1) a row's `mean` watts over the time since the row before, or
   trapezoids between `instant` watts. A window's energy is the difference at its marks, so adjoining windows add up.
   With both in a log they must agree within max(2 %, k u), else CHANNELS_DISAGREE.
   Such a difference is biased low for idle-work-idle, by up to dP dt/4 an edge. Where idle was metered on both sides,
   the run is bracketed instead (wall-meter-gated/1, wall-meter-counter-gated/1): the energy from the idle before to the
   idle after, less each side's idle power over the slack on its side. Marks then lie in idle, where neither sampling
   nor the clock matters; what the node draws above idle just after the run is charged to the run.
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
   u_idle        bracketed: |P after - P before| over half the slack, rectangular; the terms of the idle over the slack
                 are added to u_clock, u_sampling and u_resolution
5. Idle-net takes the mean power of the idle around out of it. Of the idle windows the 2 s or two intervals nearest to
   the run are used, two intervals and 2 u_c away from it, so that no row of the run is in reach. The offset cancels;
   the gain's doubt is of the net energy.
6. Checked from the first mark to the last: WALL_CALIBRATION_EXPIRED, WALL_NOT_COVERING, WALL_GAP (over three intervals
   or 5 s without a row), WALL_INTERVAL (the median interval is not the document's within 10 %), WALL_NO_POWER (zero or
   less: a node that runs draws power), COUNTER_RESET, WALL_STUCK (rows alike to the last digit, while an accelerator's
   mean power moved by more than 10 W and twice the last digit, or half of the CPUs' capacity came or went, an interval
   and 2 u_c inside those rows), WALL_INCONSISTENT (volts x amps x pf on the whole over 5 % from watts; without pf,
   watts over 5 % above volts x amps). The 2, 5 and 10 % and the 10 W are this method's own choices.
7. Node energy is at least what its measured parts cost, within their doubts added, else WALL_DISAGREES.
8. The node is Simulated where the record's accelerators are: nothing beside a stand-in device is of a real node.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from protocol.errors import InvalidMeasurement
from protocol.methodology import statistics
from protocol.methodology.energy import COVERAGE_FACTOR, Measured, Simulated
from protocol.methodology.trace import PowerTrace, SourceKind, Window
from protocol.methodology.wall_calibration import WallCalibration
from protocol.methodology.wall_csv import WALL_WATTS, WallTrace
from protocol.methodology.wall_log import Log, WallEnergy, WallUncertainty, clock, require_rows
from protocol.units import NS_PER_S

METHOD_WALL: Final = "wall-meter/1"
METHOD_WALL_COUNTER: Final = "wall-meter-counter/1"
METHOD_WALL_GATED: Final = "wall-meter-gated/1"
METHOD_WALL_COUNTER_GATED: Final = "wall-meter-counter-gated/1"
WALL_DISAGREES: Final = "WALL_DISAGREES"
FLAG_RANGE: Final = "WALL_RANGE_CHANGED"
PARTS: Final = ("gpu", "cpu", "dram")

IDLE_NS: Final = 2 * NS_PER_S
IDLE_INTERVALS: Final = 2
CHANNELS_SHARE: Final = Fraction(2, 100)
_THIRD: Final = Fraction(1, 3)  # a rectangular distribution's variance over its half width squared


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReading:
    """Channel `node` of one run: gross; net of idle with its expanded doubt where idle was seen; what was noticed."""

    gross: Measured | Simulated
    energy: WallEnergy
    idle_net: Fraction | None
    idle_net_uncertainty: Fraction | None
    flags: tuple[str, ...]


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
    plain = log.energy(window.open_ns, window.close_ns)
    if log.counter is not None and WALL_WATTS in found.columns:
        _agree(plain, Log(found, calibration, lines, counted=False).energy(window.open_ns, window.close_ns))
    before, after = resting(log, window, [lines.window(other) for other in around])
    energy = plain if before is None or after is None else _bracket(log, window, before, after)
    if energy.joules <= 0:
        raise InvalidMeasurement(
            code="ZERO_ENERGY",
            observed=f"the node cost {float(energy.joules):.6f} J at the wall",
            expected="more than nothing",
            hint="look at the wall meter's wiring and at its log",
        )
    net = _net(energy, [log.energy(*quiet) for quiet in (before, after) if quiet is not None], calibration)
    rows = slice(*require_rows(found, window.open_ns, window.close_ns))
    kind = Simulated if power.sources["gpu"].kind is SourceKind.SIMULATED else Measured
    return NodeReading(
        gross=kind(
            joules=energy.joules,
            uncertainty=COVERAGE_FACTOR * energy.uncertainty.standard(),
            method=_METHODS[log.counter is not None, energy is not plain],
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


_METHODS: Final = {
    (False, False): METHOD_WALL,
    (False, True): METHOD_WALL_GATED,
    (True, False): METHOD_WALL_COUNTER,
    (True, True): METHOD_WALL_COUNTER_GATED,
}


def resting(log: Log, run: Window, around: Sequence[Window]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the idle before and after a run, by rule 5, each as (start, end); None where it was too brief."""
    longest = max(IDLE_NS, IDLE_INTERVALS * log.calibration.interval_ns)
    sides: list[tuple[int, int] | None] = [None, None]
    for other in around:
        late = other.open_ns >= run.close_ns
        if late:
            start = max(other.open_ns, run.close_ns + log.guard_ns)
            end = min(other.close_ns, start + longest)
        else:
            end = min(other.close_ns, run.open_ns - log.guard_ns)
            start = max(other.open_ns, end - longest)
        if end - start >= log.calibration.interval_ns // 2:
            require_rows(log.found, start, end)
            sides[late] = (start, end)
    return sides[0], sides[1]


def _bracket(log: Log, run: Window, before: tuple[int, int], after: tuple[int, int]) -> WallEnergy:
    """Return a run's energy from the idle before it to the idle after it, less idle over the slack."""
    whole = log.energy(before[1], after[0])
    slacks = (run.open_ns - before[1], after[0] - run.close_ns)
    idle = [log.energy(*before), log.energy(*after)]
    shares = [Fraction(slack, part.duration_ns) for slack, part in zip(slacks, idle, strict=True)]
    joules = whole.joules - sum((share * part.joules for share, part in zip(shares, idle, strict=True)), Fraction(0))
    doubt, calibration = whole.uncertainty, log.calibration
    parts = [(share, part.uncertainty) for share, part in zip(shares, idle, strict=True)]
    drift = abs(idle[1].watts - idle[0].watts) * sum(slacks) / (2 * NS_PER_S)
    return WallEnergy(
        joules=joules,
        duration_ns=run.duration_ns,
        uncertainty=WallUncertainty(
            u_gain=abs(joules) * calibration.gain_uncertainty,
            u_offset=calibration.gain * calibration.offset_uncertainty_watts * Fraction(run.duration_ns, NS_PER_S),
            u_clock=doubt.u_clock + sum(share * part.u_clock for share, part in parts),
            u_rate=doubt.u_rate,
            u_sampling=doubt.u_sampling + sum(share * part.u_sampling for share, part in parts),
            u_resolution=doubt.u_resolution + sum(share * part.u_resolution for share, part in parts),
            u_idle=drift * statistics.square_root(_THIRD),
        ),
    )


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
