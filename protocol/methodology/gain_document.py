"""The gain calibration document: what a wall meter said of one accelerator, and how it was found, as strict JSON.

    format                       "jouleseal-gain-calibration/1"
    device                       the accelerator's UUID
    gain, gainUncertainty        g and its standard uncertainty (`wall_gain`), decimal strings
    relativeStandardUncertainty  gainUncertainty/gain + |gain - 1|/2: what replaces the uncalibrated 5 %/sqrt 3
    terms                        the terms of gainUncertainty, by name
    measuredOn, validUntil       dates in UTC, both included; a year, or the wall certificate's end if that is sooner
    wallMeter                    {make, model, serial, certificate}
    psuEfficiency                {low, high}: the operator's declaration
    evidence                     {wallLogSha256, wallCalibrationSha256, recordChains: [hex, ...]}

Uncertainties are rounded up. The document is refused where its own figures do not follow from one another, where the
gain is outside 1 +- 5 %, and where it makes no doubt smaller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Final

from protocol.attestation.fields import Fields
from protocol.attestation.jcs import loads
from protocol.errors import InvalidMeasurement, VerificationError
from protocol.methodology import statistics
from protocol.methodology.energy import GAIN_HALF_WIDTH
from protocol.methodology.wall_calibration import MAX_CALIBRATION_BYTES, WallCalibration, bounded, day, positive
from protocol.methodology.wall_gain import Efficiency, Gain
from protocol.units import decimal_string, from_decimal

GAIN_FORMAT: Final = "jouleseal-gain-calibration/1"
MAX_RECORDS: Final = 100
LIFETIME: Final = timedelta(days=365)  # a year, as calibration laboratories recommend for wall meters
TERMS: Final = ("psu", "wall", "log", "host", "rest", "counter", "fit")

_PLACES: Final = 6
_LAST: Final = Fraction(1, 10**_PLACES)
_UNCALIBRATED: Final = GAIN_HALF_WIDTH * statistics.square_root(Fraction(1, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class GainCalibration:
    """The document's values; `relative` is what `gated.measure` takes as its calibration."""

    device: str
    gain: Fraction
    gain_uncertainty: Fraction
    relative: Fraction
    terms: Mapping[str, Fraction]
    measured_on: date
    valid_until: date
    wall_meter: Mapping[str, str]
    psu: Efficiency
    wall_log_sha256: str
    wall_calibration_sha256: str
    record_chains: tuple[str, ...]

    def to_json(self) -> bytes:
        """Return the document's bytes, for people: indented."""
        value = {
            "format": GAIN_FORMAT,
            "device": self.device,
            "gain": decimal_string(self.gain, _PLACES),
            "gainUncertainty": decimal_string(self.gain_uncertainty, _PLACES),
            "relativeStandardUncertainty": decimal_string(self.relative, _PLACES),
            "terms": {name: decimal_string(self.terms[name], _PLACES) for name in TERMS},
            "measuredOn": self.measured_on.isoformat(),
            "validUntil": self.valid_until.isoformat(),
            "wallMeter": dict(self.wall_meter),
            "psuEfficiency": {
                "low": decimal_string(self.psu.low, _PLACES),
                "high": decimal_string(self.psu.high, _PLACES),
            },
            "evidence": {
                "wallLogSha256": self.wall_log_sha256,
                "wallCalibrationSha256": self.wall_calibration_sha256,
                "recordChains": list(self.record_chains),
            },
        }
        return json.dumps(value, indent=2).encode() + b"\n"

    def check_valid(self, today: date) -> None:
        """Return if the calibration holds on a day; raises InvalidMeasurement GAIN_CALIBRATION_EXPIRED otherwise."""
        if not self.measured_on <= today <= self.valid_until:
            raise InvalidMeasurement(
                code="GAIN_CALIBRATION_EXPIRED",
                observed=f"measured on {today} with a calibration of {self.measured_on}",
                expected=f"a day up to {self.valid_until}",
                hint="calibrate the accelerator anew: jouleseal calibrate",
            )


def conclude(
    found: Gain,
    *,
    device: str,
    measured_on: date,
    wall: WallCalibration,
    log: str,
    chains: tuple[str, ...],
    psu: Efficiency,
) -> GainCalibration:
    """Return the document of a gain; `log` is the SHA-256 of the wall meter's log, `chains` the records' digests."""
    rounded = Fraction(decimal_string(found.gain, _PLACES))
    doubt = _up(found.uncertainty)
    return GainCalibration(
        device=device,
        gain=rounded,
        gain_uncertainty=doubt,
        relative=_relative(rounded, doubt),
        terms={name: _up(found.terms[name]) for name in TERMS},
        measured_on=measured_on,
        valid_until=min(measured_on + LIFETIME, wall.valid_until),
        wall_meter={
            "make": wall.make,
            "model": wall.model,
            "serial": wall.serial,
            "certificate": wall.certificate,
        },
        psu=psu,
        wall_log_sha256=log,
        wall_calibration_sha256=wall.sha256,
        record_chains=chains,
    )


def parse_gain(data: bytes) -> GainCalibration:
    """Read the document; raises VerificationError (BAD_FIELD, UNKNOWN_FIELD, MALFORMED_JSON, JSON_LIMIT)."""
    fields = Fields(loads(data, limit=MAX_CALIBRATION_BYTES), "gain")
    fields.one_of("format", (GAIN_FORMAT,))
    terms, psu, evidence = fields.child("terms"), fields.child("psuEfficiency"), fields.child("evidence")
    meter = fields.child("wallMeter")
    found = GainCalibration(
        device=fields.text("device"),
        gain=bounded(fields, "gain", 1 - GAIN_HALF_WIDTH, 1 + GAIN_HALF_WIDTH),
        gain_uncertainty=positive(fields, "gainUncertainty", _UNCALIBRATED),
        relative=positive(fields, "relativeStandardUncertainty", _UNCALIBRATED),
        terms={name: bounded(terms, name, Fraction(0), Fraction(1)) for name in TERMS},
        measured_on=day(fields, "measuredOn"),
        valid_until=day(fields, "validUntil"),
        wall_meter={name: meter.text(name) for name in ("make", "model", "serial", "certificate")},
        psu=efficiency(psu.decimal("low"), psu.decimal("high")),
        wall_log_sha256=evidence.sha256("wallLogSha256"),
        wall_calibration_sha256=evidence.sha256("wallCalibrationSha256"),
        record_chains=tuple(evidence.texts("recordChains", limit=MAX_RECORDS)),
    )
    for part in (terms, psu, evidence, meter, fields):
        part.done()
    expected = _relative(found.gain, found.gain_uncertainty)
    squares = sum((term**2 for term in found.terms.values()), Fraction(0))
    short = statistics.square_root(squares) < found.gain_uncertainty - _LAST
    if found.relative != expected or short:
        raise _refused("relativeStandardUncertainty", decimal_string(found.relative, _PLACES), f"{float(expected):.6f}")
    return found


def efficiency(low: str, high: str) -> Efficiency:
    """Read the declared interval; raises VerificationError BAD_FIELD unless 0.5 <= low < high <= 1."""
    found = Efficiency(low=from_decimal(low), high=from_decimal(high))
    if not Fraction(1, 2) <= found.low < found.high <= 1:
        raise _refused("psuEfficiency", f"{low} to {high}", "0.5 <= low < high <= 1")
    return found


def _relative(gain: Fraction, uncertainty: Fraction) -> Fraction:
    return _up(uncertainty / gain + abs(gain - 1) / 2)


def _up(value: Fraction) -> Fraction:
    """Round up to the document's last place."""
    return -(-value // _LAST) * _LAST


def _refused(name: str, observed: str, expected: str) -> VerificationError:
    hint = "write the document anew: jouleseal calibrate"
    return VerificationError(code="BAD_FIELD", observed=f"gain.{name}: {observed}", expected=expected, hint=hint)
