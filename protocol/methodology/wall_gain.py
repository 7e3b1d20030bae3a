"""An accelerator's gain from a wall meter: the slope of what the node drew against what the device's counter said.

Rules
1. Every window of the records is a level, without the part of it that lies within the log's reach (an interval and
   2 u_c) of a neighbouring window. At each level, over the same instants: N mean power at the wall, G by the device's
   counter, C by the host's own instruments. There are at least one `idle-` and one `run-` level.
2. Power supplies turn N into e N with an efficiency e in the declared interval [low, high]; what feeds on it is the
   device, the host and a rest:  e N = g G + C + R. With R the same at all levels, g is the least-squares slope of
   y = e N - C against G, e being the interval's middle. g = sum of c(i) y(i), c(i) = (G(i) - mean G)/sum of squares;
   the c add up to 0, so that R and the meter's offset cancel.
3. Standard uncertainties of g (rectangular: half width/sqrt 3, JCGM 100:2008, 4.3.7):
   psu       (high - low)/2 of N, rectangular; alike for levels with c of one sign, independent between the two signs,
             because the efficiency is not the same at low and at high load. Source: the operator's declaration, from
             the supply's 80 PLUS report at the loads that occur
   wall      the meter's gain x e x |sum c N|. Source: its certificate
   log       the meter's clock, sampling and last digit at each level (`wall`, rule 4), independent
   host      C = the node's RAPL counters where the record has them, to 10 % of |sum c C| (half width); otherwise a
             model of its CPUs' busy time (`host_models`), to 100 % of it. RAPL states no doubt: the 10 % are ours
   rest      2 % of g (half width): fans, converters and links whose power moves with the device's and that nobody
             reads. There is no source for it, it is ours; keep the fans at one speed
   counter   U x G/(T sqrt 6) at each level: a plain difference of a counter that moves every U (`energy`, rule 6)
   fit       twice the largest residual over the span of G (half width), from three levels on
4. The correction is not applied to any figure: a gain outside 1 +- 5 % is a board out of its specification
   (GAIN_OUT_OF_SPEC; arXiv 2312.02741 has 5 %). A deviation that is known and left in is part of the doubt: U + |b|
   (JCGM 100:2008, F.2.4.5). So what replaces the uncalibrated 5 %/sqrt 3 is u(g)/g + |g - 1|/2, standard and
   relative, and is refused where it is no better (GAIN_TOO_COARSE).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from protocol.errors import InvalidMeasurement, TraceGap
from protocol.methodology import gated, statistics
from protocol.methodology.energy import GAIN_HALF_WIDTH, Curve, validate
from protocol.methodology.host_models import CPU_MAX_WATTS, CPU_MIN_WATTS
from protocol.methodology.trace import HOST_BUSY, PowerTrace, SourceKind, Table, Window
from protocol.methodology.wall_calibration import WallCalibration
from protocol.methodology.wall_checks import check_log
from protocol.methodology.wall_csv import WallTrace
from protocol.methodology.wall_log import Log, WallEnergy, clock
from protocol.units import NS_PER_S

RAPL_SHARE: Final = Fraction(10, 100)
REST_SHARE: Final = Fraction(2, 100)

_THIRD: Final = Fraction(1, 3)
_SIXTH: Final = Fraction(1, 6)
_MILLI: Final = Fraction(1, 1_000)
_MICRO: Final = Fraction(1, 10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """The interval in which the supplies' efficiency lies at every load that occurs, as the operator declares it."""

    low: Fraction
    high: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One stretch of one record: mean powers in watts, and the doubts that are this level's own."""

    name: str
    node: WallEnergy
    gpu_watts: Fraction
    u_gpu_watts: Fraction
    host_watts: Fraction
    host_by_rapl: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a device's counter must be multiplied with, its standard uncertainty, the terms of it, the levels used."""

    gain: Fraction
    uncertainty: Fraction
    terms: Mapping[str, Fraction]
    levels: tuple[Level, ...]

    @property
    def relative(self) -> Fraction:
        """Rule 4: the relative standard uncertainty of figures that the gain is not applied to."""
        return self.uncertainty / self.gain + abs(self.gain - 1) / 2


def levels(power: PowerTrace, found: WallTrace, calibration: WallCalibration, device: str) -> list[Level]:
    """Return a record's levels; `device` is its prefix in the record. Raises what voids the record or the log."""
    validate(power)
    check_log(power, found, calibration)
    line = clock(power)
    log = Log(found, calibration, line)
    series = gated.series(power, device)
    if series.energy_mj is None:
        raise TraceGap(
            code="CHANNEL_LOST",
            observed=f"{device} has no energy counter in the record",
            expected="a device that counts its energy",
            hint="only a counter has a gain that can be calibrated",
        )
    out = []
    for i, window in enumerate(power.windows):
        start = window.open_ns + (log.reach_ns if i else 0)
        end = window.close_ns - (log.reach_ns if i < len(power.windows) - 1 else 0)
        if end - start < calibration.interval_ns // 2:
            continue
        stretch = Window(name=window.name, open_ns=start, close_ns=end)
        watts, doubt = _counter(series, stretch)
        host, by_rapl = _host(power, stretch)
        out.append(
            Level(
                name=window.name,
                node=log.energy(line.realtime(start), line.realtime(end)),
                gpu_watts=watts,
                u_gpu_watts=doubt,
                host_watts=host,
                host_by_rapl=by_rapl,
            )
        )
    return out


def gain(found: Sequence[Level], calibration: WallCalibration, psu: Efficiency) -> Gain:
    """Return the gain from the levels of one or more records; raises InvalidMeasurement as the rules say.

    GAIN_NO_LEVELS where there is no idle or no work among them, GAIN_OUT_OF_SPEC, GAIN_TOO_COARSE.
    """
    g = [level.gpu_watts for level in found]
    kinds = {level.name.partition("-")[0] for level in found}
    if not {"idle", "run"} <= kinds or max(g) == min(g):
        raise InvalidMeasurement(
            code="GAIN_NO_LEVELS",
            observed=f"{len(found)} usable stretches: {', '.join(level.name for level in found) or 'none'}",
            expected="at least one of idle and one of work, each longer than the log's interval and its clock's doubt",
            hint="record a longer run, with a log of shorter intervals",
        )
    centre = statistics.mean(g)
    squares = sum(((x - centre) ** 2 for x in g), Fraction(0))
    weights = [(x - centre) / squares for x in g]
    middle = (psu.low + psu.high) / 2
    y = [middle * level.node.watts - level.host_watts for level in found]
    slope = _dot(weights, y)
    if abs(slope - 1) > GAIN_HALF_WIDTH:
        raise InvalidMeasurement(
            code="GAIN_OUT_OF_SPEC",
            observed=f"the wall meter says {float(slope):.4f} x the device's counter",
            expected="1 within 5 %",
            hint="another load on the node, a wrong efficiency or wall meter; or a board that must not be rated",
        )
    terms = _terms(found, weights, slope, calibration, psu)
    terms["fit"] = _fit(g, y, slope) * _rectangular()
    out = Gain(gain=slope, uncertainty=_root(terms.values()), terms=terms, levels=tuple(found))
    uncalibrated = GAIN_HALF_WIDTH * _rectangular()
    if out.relative >= uncalibrated:
        raise InvalidMeasurement(
            code="GAIN_TOO_COARSE",
            observed=f"a relative standard uncertainty of {float(out.relative):.4f}, of which {_largest(out)}",
            expected=f"less than the {float(uncalibrated):.4f} of a board without calibration",
            hint="reduce the largest term: a narrower efficiency, longer or stronger work, a better meter",
        )
    return out


def _terms(
    found: Sequence[Level], weights: Sequence[Fraction], slope: Fraction, calibration: WallCalibration, psu: Efficiency
) -> dict[str, Fraction]:
    middle = (psu.low + psu.high) / 2
    n = [level.node.watts for level in found]
    seconds = [Fraction(level.node.duration_ns, NS_PER_S) for level in found]
    own = [level.node.uncertainty.standard(calibrated=False) / s for level, s in zip(found, seconds, strict=True)]
    sides = [_dot([max(sign * c, Fraction(0)) for c in weights], n) for sign in (1, -1)]
    share = RAPL_SHARE if all(level.host_by_rapl for level in found) else Fraction(1)
    host = abs(_dot(weights, [level.host_watts for level in found]))
    return {
        "psu": (psu.high - psu.low) / 2 * _rectangular() * _root(sides),
        "wall": calibration.gain_uncertainty * middle * abs(_dot(weights, n)),
        "log": _root(c * middle * u for c, u in zip(weights, own, strict=True)),
        "host": share * host * _rectangular(),
        "rest": REST_SHARE * slope * _rectangular(),
        "counter": slope * _root(c * level.u_gpu_watts for c, level in zip(weights, found, strict=True)),
    }


def _fit(g: Sequence[Fraction], y: Sequence[Fraction], slope: Fraction) -> Fraction:
    """Return the half width that the residuals leave to the slope."""
    rest = statistics.mean(y) - slope * statistics.mean(g)
    return 2 * max(abs(b - slope * a - rest) for a, b in zip(g, y, strict=True)) / (max(g) - min(g))


def _counter(series: gated.Series, stretch: Window) -> tuple[Fraction, Fraction]:
    """Return a device's mean power over a stretch by a plain difference of its counter, and its doubt."""
    moves = gated.ticks(series, stretch.open_ns, stretch.close_ns)
    ends = [stretch.open_ns, *(tick.by_ns for tick in moves), stretch.close_ns]
    update = max(later - earlier for earlier, later in pairwise(ends))
    known = [(at, value) for at, value in zip(series.times, series.energy_mj or (), strict=False) if value is not None]
    curve = Curve(name=series.name, times=[at for at, _ in known], values=[value for _, value in known], unit=_MILLI)
    watts = curve.energy(stretch) * NS_PER_S / stretch.duration_ns
    return watts, watts * Fraction(update, stretch.duration_ns) * statistics.square_root(_SIXTH)


def _host(power: PowerTrace, stretch: Window) -> tuple[Fraction, bool]:
    """Return the host's mean power over a stretch, and whether its own counters said it."""
    zones = [
        counter
        for name in ("cpu", "dram")
        if power.sources[name].kind is SourceKind.RAPL
        for counter in power.sources[name].counters
    ]
    rows = _around(power.slow, stretch)
    times = power.slow.times[rows]
    elapsed = Fraction(times[-1] - times[0], NS_PER_S)
    if zones:
        joules = sum(_rise(power.slow, zone.column, rows, zone.range) for zone in zones) * _MICRO
        return joules / elapsed, True
    busy = Fraction(_rise(power.slow, HOST_BUSY, rows, 0), power.clock_ticks)
    return busy / elapsed * (CPU_MAX_WATTS - CPU_MIN_WATTS), False


def _around(table: Table, stretch: Window) -> slice:
    inside = table.between(stretch.open_ns, stretch.close_ns)
    return slice(max(inside.start - 1, 0), inside.stop + 1)


def _rise(table: Table, column: str, rows: slice, modulus: int) -> int:
    """Return by how much a counter rose over rows, its wraps counted; raises TraceGap CHANNEL_LOST."""
    found = (table.column(column) or ())[rows]
    values = [value for value in found if value is not None]
    if len(values) < len(found) or len(values) < 2:  # noqa: PLR2004 - a rise needs two readings
        raise TraceGap(
            code="CHANNEL_LOST",
            observed=f"{column} was not read throughout",
            expected="host samples around every stretch",
            hint="the instrument failed; the record's failure rows say when",
        )
    return sum(later - earlier + (modulus if later < earlier else 0) for earlier, later in pairwise(values))


def _dot(weights: Sequence[Fraction], values: Sequence[Fraction]) -> Fraction:
    return sum((c * value for c, value in zip(weights, values, strict=True)), Fraction(0))


def _root(parts: Iterable[Fraction]) -> Fraction:
    return statistics.square_root(sum((part**2 for part in parts), Fraction(0)))


def _rectangular() -> Fraction:
    return statistics.square_root(_THIRD)


def _largest(found: Gain) -> str:
    terms = {**found.terms, "deviation of the gain": abs(found.gain - 1) / 2}
    name = max(terms, key=lambda key: terms[key])
    return f"{name} {float(terms[name]):.4f}"
