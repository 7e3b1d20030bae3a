"""A wall meter's calibration document: what its certificate and its set-up say, read strictly from JSON.

The document is one object; every field is required, another one is refused, numbers are decimal strings:
    format                   "jouleseal-wall-calibration/1"
    meter                    {make, model, serial}
    certificate              {id, issuer, calibratedOn, validUntil}: dates YYYY-MM-DD, both days included, in UTC
    measures                 "node-ac": all the supplies of the node and nothing else, at the wall;
                             "pdu-outlets": the outlets of a PDU that feed the node and nothing else
    reading                  what a row's `watts` is: "mean" of the time since the row before, or "instant"
    intervalSeconds          between rows, 0.01 to 5
    gain                     0.9 to 1.1; true power = gain x (reading - offsetWatts)
    gainUncertainty          standard uncertainty of the gain, relative; above 0 and at most 0.05
    offsetWatts              what the meter shows without a load, within -20 to 20
    offsetUncertaintyWatts   its standard uncertainty, above 0
    clockUncertaintySeconds  standard uncertainty of a row's time against the host's CLOCK_REALTIME, above 0, at most 5

A certificate states an expanded uncertainty U with its factor k; the standard one is U/k. An accuracy class or a limit
+-a without a distribution is rectangular: a/sqrt 3 (JCGM 100:2008, 4.3.3 and 4.3.7).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Final

from protocol.attestation.fields import Fields
from protocol.attestation.jcs import loads
from protocol.errors import InvalidMeasurement, VerificationError
from protocol.units import NS_PER_S, from_decimal

WALL_CALIBRATION_FORMAT: Final = "jouleseal-wall-calibration/1"
MAX_CALIBRATION_BYTES: Final = 65_536
MAX_INTERVAL_S: Final = Fraction(5)  # the longest gap that a window may have: `wall.MAX_WALL_GAP_NS`
READING_MEAN: Final = "mean"
READING_INSTANT: Final = "instant"

_EPOCH: Final = date(1970, 1, 1)
_NS_PER_DAY: Final = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class WallCalibration:
    """The document's values; see the module for each. Seconds and dates became nanoseconds and `date`."""

    make: str
    model: str
    serial: str
    certificate: str
    issuer: str
    calibrated_on: date
    valid_until: date
    measures: str
    reading: str
    interval_ns: int
    gain: Fraction
    gain_uncertainty: Fraction
    offset_watts: Fraction
    offset_uncertainty_watts: Fraction
    clock_uncertainty_ns: Fraction
    sha256: str


def parse_calibration(data: bytes) -> WallCalibration:
    """Read the document; raises VerificationError (BAD_FIELD, UNKNOWN_FIELD, MALFORMED_JSON, JSON_LIMIT)."""
    fields = Fields(loads(data, limit=MAX_CALIBRATION_BYTES), "calibration")
    fields.one_of("format", (WALL_CALIBRATION_FORMAT,))
    meter, certificate = fields.child("meter"), fields.child("certificate")
    found = WallCalibration(
        make=meter.text("make"),
        model=meter.text("model"),
        serial=meter.text("serial"),
        certificate=certificate.text("id"),
        issuer=certificate.text("issuer"),
        calibrated_on=day(certificate, "calibratedOn"),
        valid_until=day(certificate, "validUntil"),
        measures=fields.one_of("measures", ("node-ac", "pdu-outlets")),
        reading=fields.one_of("reading", (READING_MEAN, READING_INSTANT)),
        interval_ns=int(bounded(fields, "intervalSeconds", Fraction(1, 100), MAX_INTERVAL_S) * NS_PER_S),
        gain=bounded(fields, "gain", Fraction(9, 10), Fraction(11, 10)),
        gain_uncertainty=positive(fields, "gainUncertainty", Fraction(5, 100)),
        offset_watts=bounded(fields, "offsetWatts", Fraction(-20), Fraction(20)),
        offset_uncertainty_watts=positive(fields, "offsetUncertaintyWatts", Fraction(20)),
        clock_uncertainty_ns=positive(fields, "clockUncertaintySeconds", Fraction(5)) * NS_PER_S,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    for part in (meter, certificate, fields):
        part.done()
    if found.valid_until < found.calibrated_on:
        raise _refused(certificate.at("validUntil"), str(found.valid_until), f"not before {found.calibrated_on}")
    return found


def check_valid(found: WallCalibration, first_ns: int, last_ns: int) -> None:
    """Return if the certificate held from `first_ns` to `last_ns` (CLOCK_REALTIME); InvalidMeasurement otherwise."""
    if day_of(first_ns) < found.calibrated_on or day_of(last_ns) > found.valid_until:
        raise InvalidMeasurement(
            code="WALL_CALIBRATION_EXPIRED",
            observed=f"measured on {day_of(first_ns)} with certificate {found.certificate!r}",
            expected=f"a day from {found.calibrated_on} to {found.valid_until}",
            hint="have the wall meter calibrated, and give the new certificate's document",
        )


def day_of(realtime_ns: int) -> date:
    """Return the day, in UTC, of an instant of CLOCK_REALTIME."""
    return _EPOCH + timedelta(days=realtime_ns // _NS_PER_DAY)


def day(fields: Fields, name: str) -> date:
    """Read a date YYYY-MM-DD."""
    text = fields.text(name)
    try:
        found = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise _refused(fields.at(name), repr(text[:40]), "a date YYYY-MM-DD") from error
    if found.isoformat() != text:
        raise _refused(fields.at(name), repr(text[:40]), "a date YYYY-MM-DD")
    return found


def bounded(fields: Fields, name: str, least: Fraction, most: Fraction) -> Fraction:
    """Read a decimal string within two bounds, both included."""
    text = fields.decimal(name)
    value = from_decimal(text)
    if not least <= value <= most:
        raise _refused(fields.at(name), text[:40], f"{float(least):g} to {float(most):g}")
    return value


def positive(fields: Fields, name: str, most: Fraction) -> Fraction:
    """Read a decimal string above 0 (an instrument without doubt is one whose doubt nobody looked up)."""
    value = bounded(fields, name, Fraction(0), most)
    if value == 0:
        raise _refused(fields.at(name), "0", "more than 0")
    return value


def _refused(path: str, observed: str, expected: str) -> VerificationError:
    hint = "docs/wall-meter.md describes the document; copy its values from the certificate"
    return VerificationError(code="BAD_FIELD", observed=f"{path}: {observed}", expected=expected, hint=hint)
