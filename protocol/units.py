"""Units as types, and the only place where one unit becomes another.

Energies are integer millijoules wherever they are signed; times inside a session are integer nanoseconds of one
monotonic clock; derived figures are exact fractions until they become decimal strings, so that two machines that hold
the same samples write the same bytes.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import NewType

Millijoules = NewType("Millijoules", int)

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000
MJ_PER_J = 1_000
J_PER_WH = 3_600
MIB = 1 << 20

MAX_SAFE_INTEGER = (1 << 53) - 1  # RFC 8259 section 6: the integers on which every JSON reader agrees

_DECIMAL_DIGITS = 60  # enough for any quotient of two signed 64-bit integers at our longest precision


def watt_hours(joules: Fraction) -> Fraction:
    """Return an energy in watt-hours, exactly."""
    return joules / J_PER_WH


def millijoules(energy: Fraction) -> Millijoules:
    """Round an energy in joules to whole millijoules, half to even."""
    return Millijoules(round(energy * MJ_PER_J))


def decimal_string(value: Fraction, places: int) -> str:
    """Write a fraction as a plain decimal with a fixed number of places, half to even."""
    scaled = round(value * 10**places)
    with localcontext() as context:
        context.prec = _DECIMAL_DIGITS
        context.rounding = ROUND_HALF_EVEN
        return f"{Decimal(scaled).scaleb(-places):f}"


def from_decimal(text: str) -> Fraction:
    """Read a plain decimal string exactly; raises ValueError on anything else (exponents, spaces, underscores)."""
    body = text.removeprefix("-")
    whole, dot, rest = body.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (dot and not (rest.isascii() and rest.isdigit())):
        raise ValueError(f"not a plain decimal: {text!r}")
    return Fraction(text)
