"""What voids a wall meter's log over a measurement: rule 6 of `wall`, each with its code."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Final

from protocol.errors import CounterReset, InvalidMeasurement, TraceGap
from protocol.methodology.trace import GPU_POWER_AVERAGE, HOST_BUSY, PowerTrace, Table
from protocol.methodology.wall_calibration import WallCalibration, check_valid
from protocol.methodology.wall_csv import COUNTERS, NANO, WALL_WATTS, Column, WallTrace
from protocol.methodology.wall_log import clock, require_rows
from protocol.units import NS_PER_MS, NS_PER_S

MAX_GAP_INTERVALS: Final = 3
MAX_WALL_GAP_NS: Final = 5 * NS_PER_S
INTERVAL_SHARE: Final = Fraction(10, 100)
STUCK_GPU_MW: Final = 10_000
STUCK_QUANTA: Final = 2
STUCK_CPU_SHARE: Final = Fraction(1, 2)
PRODUCT_SHARE: Final = Fraction(5, 100)

_MEAN_SPAN_NS: Final = 1_100 * NS_PER_MS  # an accelerator's 1 s mean, and the 100 ms between its readings


def check_log(power: PowerTrace, found: WallTrace, calibration: WallCalibration) -> None:
    """Return if the log may be counted from the record's first mark to its last; InvalidMeasurement otherwise.

    Raises WALL_CALIBRATION_EXPIRED, WALL_NOT_COVERING, WALL_GAP, WALL_INTERVAL, WALL_NO_POWER, COUNTER_RESET,
    WALL_STUCK, WALL_INCONSISTENT, and CLOCK_STEPPED of the record's own clock.
    """
    line = clock(power)
    start, end = line.realtime(power.windows[0].open_ns), line.realtime(power.windows[-1].close_ns)
    check_valid(calibration, start, end)
    first, last = require_rows(found, start, end)
    times = found.times[first:last]
    _gaps(times, calibration)
    for name, column in found.columns.items():
        if name == WALL_WATTS:
            _positive(column, first, last)
        elif name in COUNTERS:
            _rising(column, first, last)
    _consistent({name: column.values[first:last] for name, column in found.columns.items()})
    if WALL_WATTS in found.columns:
        column = found.columns[WALL_WATTS]
        margin = calibration.interval_ns + int(2 * calibration.clock_uncertainty_ns)
        rows = [(line.monotonic(at), value) for at, value in zip(times, column.values[first:last], strict=True)]
        _moving(power, rows, margin, max(Fraction(STUCK_GPU_MW), STUCK_QUANTA * column.quantum * 1_000))


def _gaps(times: tuple[int, ...], calibration: WallCalibration) -> None:
    steps = sorted(later - earlier for earlier, later in pairwise(times))
    median = steps[len(steps) // 2]
    if abs(median - calibration.interval_ns) > INTERVAL_SHARE * calibration.interval_ns:
        raise InvalidMeasurement(
            code="WALL_INTERVAL",
            observed=f"rows {Fraction(median, NS_PER_S)!s} s apart, as a rule",
            expected=f"{float(Fraction(calibration.interval_ns, NS_PER_S)):g} s, as the calibration document says",
            hint="set the logger to the interval that was calibrated, or correct the document",
        )
    limit = min(MAX_GAP_INTERVALS * calibration.interval_ns, MAX_WALL_GAP_NS)
    if steps[-1] > limit:
        raise TraceGap(
            code="WALL_GAP",
            observed=f"{steps[-1]} ns without a row of the wall meter's",
            expected=f"at most {limit} ns",
            hint="look at the logger and at its cable; rows must come throughout",
        )


def _positive(column: Column, first: int, last: int) -> None:
    least = min(column.values[first:last])
    if least <= 0:
        raise InvalidMeasurement(
            code="WALL_NO_POWER",
            observed=f"a reading of {float(least * NANO):g} W at the wall",
            expected="more than 0 W of a node that runs",
            hint="look at the wiring: a clamp that is reversed, or a meter on another outlet",
        )


def _rising(column: Column, first: int, last: int) -> None:
    for earlier, later in pairwise(column.values[first:last]):
        if later < earlier:
            raise CounterReset(
                observed=f"the wall meter's counter fell from {float(earlier * NANO):g} to {float(later * NANO):g}",
                expected="a cumulative energy that never falls",
                hint="the meter was reset or its counter rolled over while it measured; clear it and measure again",
            )


def _consistent(values: dict[str, tuple[int, ...]]) -> None:
    if not {WALL_WATTS, "volts", "amps"} <= set(values):
        return
    ones = (NANO.denominator,) * len(values[WALL_WATTS])
    rows = zip(values["volts"], values["amps"], values.get("pf", ones), strict=True)
    product = sum(volts * amps * factor for volts, amps, factor in rows) * NANO**3
    watts = sum(values[WALL_WATTS]) * NANO
    above, below = watts > product * (1 + PRODUCT_SHARE), watts < product * (1 - PRODUCT_SHARE)
    if above or (below and "pf" in values):
        raise InvalidMeasurement(
            code="WALL_INCONSISTENT",
            observed=f"{float(watts / len(ones)):.1f} W, {float(product / len(ones)):.1f} W by volts and amps",
            expected=f"volts x amps{' x pf' if 'pf' in values else ' at least'}, within {PRODUCT_SHARE * 100} %",
            hint="a column is of something else, or the meter's set-up is wrong",
        )


def _moving(power: PowerTrace, rows: list[tuple[int, int]], margin: int, least_mw: Fraction) -> None:
    """Raise WALL_STUCK where rows stay alike while the node's own instruments saw its power move."""
    since = 0
    for i in range(1, len(rows) + 1):
        if i < len(rows) and rows[i][1] == rows[since][1]:
            continue
        moved = _moved(power, rows[since][0] + margin, rows[i - 1][0] - margin, least_mw)
        if moved:
            raise InvalidMeasurement(
                code="WALL_STUCK",
                observed=f"{i - since} rows of {float(rows[since][1] * NANO):g} W to the last digit, while {moved}",
                expected="a wall meter that follows the node",
                hint="the logger repeats its last reading; look at the meter's link",
            )
        since = i


def _moved(power: PowerTrace, start: int, end: int, least_mw: Fraction) -> str:
    """Say what of the node's own instruments moved between two instants, or nothing."""
    for device in power.sources["gpu"].devices:
        means = _known(power.fast, f"{device}.{GPU_POWER_AVERAGE}", start + _MEAN_SPAN_NS, end)
        if means and max(means) - min(means) > least_mw:
            return f"{device} went from {min(means)} to {max(means)} mW"
    part = power.slow.between(start, end)
    times, busy = power.slow.times[part], (power.slow.column(HOST_BUSY) or ())[part]
    shares = [
        Fraction((later - earlier) * NS_PER_S, power.clock_ticks * power.host_cpus * (end_ns - start_ns))
        for (start_ns, end_ns), (earlier, later) in zip(pairwise(times), pairwise(busy), strict=True)
        if earlier is not None and later is not None and end_ns - start_ns >= power.host_period_ns // 2
    ]
    if shares and max(shares) - min(shares) > STUCK_CPU_SHARE:
        return f"the CPUs went from {float(min(shares)):.0%} to {float(max(shares)):.0%} busy"
    return ""


def _known(table: Table, column: str, start: int, end: int) -> list[int]:
    values = table.column(column) or ()
    return [value for value in values[table.between(start, end)] if value is not None]
