"""A wall meter in virtual time: power is given, its log and its calibration document follow from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from gates import Power, S
from records import Scene

from protocol.methodology.wall_calibration import WallCalibration, parse_calibration
from protocol.methodology.wall_csv import WallTrace, parse_wall
from protocol.units import decimal_string

ORIGIN = Scene().origin
REALTIME = 1_700_000_000 * S  # what a scene's CLOCK_REALTIME is ahead of its CLOCK_MONOTONIC; 14 November 2023


def document(**changes: object) -> dict[str, object]:
    """Return a calibration document of a meter that is as good as its certificate says."""
    whole: dict[str, object] = {
        "format": "jouleseal-wall-calibration/1",
        "meter": {"make": "Virtual", "model": "VM-1", "serial": "0001"},
        "certificate": {
            "id": "C-17",
            "issuer": "A laboratory",
            "calibratedOn": "2023-01-31",
            "validUntil": "2024-01-30",
        },
        "measures": "node-ac",
        "reading": "mean",
        "intervalSeconds": "1",
        "gain": "1.0000",
        "gainUncertainty": "0.0010",
        "offsetWatts": "0.0",
        "offsetUncertaintyWatts": "0.05",
        "clockUncertaintySeconds": "0.010",
    }
    return {**whole, **changes}


def calibration(**changes: object) -> WallCalibration:
    return parse_calibration(json.dumps(document(**changes)).encode())


@dataclass(kw_only=True)
class WallMeter:
    """A meter on a node: `power` over CLOCK_MONOTONIC in mW, read every `interval` ns, its clock `ahead`."""

    power: Power
    interval: int = S
    phase: int = 0
    ahead: int = 0
    reading: str = "mean"
    places: int = 2
    gain: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    columns: tuple[str, ...] = ("watts",)
    skip: Callable[[int], bool] = lambda _: False
    shown: Callable[[int, Fraction], Fraction] = lambda _, watts: watts

    def rows(self, start: int, end: int) -> list[str]:
        """Write the rows that fall between two instants of CLOCK_MONOTONIC."""
        first = start - (start - self.phase) % self.interval
        found = []
        for at in range(first, end + 1, self.interval):
            if not self.skip(at):
                stamp = at + REALTIME + self.ahead
                fields = [decimal_string(Fraction(stamp, S), 9), *(self.field(name, at) for name in self.columns)]
                found.append(",".join(fields))
        return found

    def field(self, name: str, at: int) -> str:
        joules = self.power.joules(ORIGIN - 100 * S, at)
        joules = joules * self.gain + self.offset * Fraction(at - ORIGIN + 100 * S, S)
        if name == "joules":
            return decimal_string(joules, self.places)
        if name == "wh":
            return decimal_string(joules / 3600, self.places)
        span = self.interval if self.reading == "mean" else 1
        watts = self.power.joules(at - span, at) * S / span * self.gain + self.offset
        values = {"watts": watts, "volts": Fraction(230), "amps": watts / 230 / Fraction(9, 10), "pf": Fraction(9, 10)}
        return decimal_string(self.shown(at, values[name]), self.places if name == "watts" else 6)

    def csv(self, start: int, end: int) -> bytes:
        return (
            "\n".join(["# a virtual meter", ",".join(("time", *self.columns)), *self.rows(start, end)]) + "\n"
        ).encode()

    def log(self, start: int, end: int) -> WallTrace:
        return parse_wall(self.csv(start, end))
