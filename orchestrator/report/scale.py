"""Axes and pixels: round numbers for ticks, coordinates as short text, and curves thinned without losing a peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from math import ceil, floor

from protocol.units import decimal_string

_STEPS = (1, 2, 5, 10)

Place = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A straight scale from values in [low, high] to pixels; `step` is between its labelled ticks."""

    low: Fraction
    high: Fraction
    start: float
    end: float
    step: Fraction

    def at(self, value: float | Fraction) -> float:
        """Return the pixel of a value."""
        share = (float(value) - float(self.low)) / float(self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[Fraction]:
        """The labelled values, all within the axis."""
        first, last = ceil(self.low / self.step), floor(self.high / self.step)
        return [number * self.step for number in range(first, last + 1)]

    def label(self, value: Fraction) -> str:
        """Return a tick's text, with as many places as the step needs."""
        places = 0
        while (self.step * 10**places).denominator != 1:
            places += 1
        return decimal_string(value, places)


def round_step(span: Fraction, count: int) -> Fraction:
    """Return the smallest of 1, 2, 5 times a power of ten that divides a span into at most `count` parts."""
    wanted = span / count
    unit = Fraction(1)
    while unit > wanted:
        unit /= 10
    while unit * 10 <= wanted:
        unit *= 10
    return next(unit * step for step in _STEPS if unit * step >= wanted)


def power_axis(top: float, start: float, end: float, count: int) -> Axis:
    """Return an axis from zero to a round number above `top`."""
    highest = Fraction(top) if top > 0 else Fraction(1)
    step = round_step(highest, count)
    return Axis(low=Fraction(0), high=step * ceil(highest / step), start=start, end=end, step=step)


def thin(places: Sequence[Place], width: float) -> list[Place]:
    """Return a curve with at most four places a column of `width` pixels: its first, lowest, highest and last."""
    kept: list[Place] = []
    for _, column in groupby(places, key=lambda place: int(place[0] // width)):
        inside = list(column)
        if len(inside) > 4:  # noqa: PLR2004 - the four that are kept
            numbers = {
                0,
                min(range(len(inside)), key=lambda i: inside[i][1]),
                max(range(len(inside)), key=lambda i: inside[i][1]),
                len(inside) - 1,
            }
            inside = [inside[number] for number in sorted(numbers)]
        kept += inside
    return kept


def pixels(value: float) -> str:
    """Return a coordinate as text: tenths of a pixel, no trailing zeros."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def path(places: Sequence[Place]) -> str:
    """Return the path data of straight lines between places; repeated and in-between ones on a level are left out."""
    out: list[tuple[str, str]] = []
    for x, y in places:
        here = (pixels(x), pixels(y))
        if out and out[-1] == here:
            continue
        if len(out) > 1 and out[-1][1] == here[1] == out[-2][1]:
            out[-1] = here
            continue
        out.append(here)
    if len(out) == 1:
        return f"M{out[0][0]} {out[0][1]}h0"
    return "".join(f"{'L' if number else 'M'}{x} {y}" for number, (x, y) in enumerate(out))


def dots(places: Sequence[Place]) -> str:
    """Return the path data of dots: lines of no length, which round caps make visible."""
    texts = dict.fromkeys(f"M{pixels(x)} {pixels(y)}h0" for x, y in places)
    return "".join(texts)
