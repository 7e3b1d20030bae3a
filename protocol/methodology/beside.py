"""What stands beside a session's meter record: a wall meter's log, calibrations and the site, each strict evidence.

Rules
1. Each is a byproduct of the session's outcome under its own name, so that the verifier reads the same bytes:
   `wall-log` with `wall-calibration`, `gain-calibration` of the leased accelerator, `site`.
2. A log and its calibration come together or not at all.
3. A gain calibration is of the accelerator of this record, and in force on the record's day. It replaces the
   uncalibrated 5 %/sqrt 3 in the doubt, and no figure is corrected by it.
4. What is malformed is false, not absent: VerificationError. What is well-formed and does not fit voids the session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from protocol.errors import InvalidMeasurement, VerificationError
from protocol.methodology.gain_document import GainCalibration, parse_gain
from protocol.methodology.site import SiteProfile, parse_site
from protocol.methodology.stages import around
from protocol.methodology.trace import PowerTrace
from protocol.methodology.wall import NodeReading, node
from protocol.methodology.wall_calibration import WallCalibration, day_of, parse_calibration
from protocol.methodology.wall_checks import check_log
from protocol.methodology.wall_csv import WallTrace, parse_wall

WALL_LOG: Final = "wall-log"
WALL_CALIBRATION: Final = "wall-calibration"
GAIN_CALIBRATION: Final = "gain-calibration"
SITE: Final = "site"
BESIDE: Final = (WALL_LOG, WALL_CALIBRATION, GAIN_CALIBRATION, SITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What was given, read; None for what was not."""

    wall: tuple[WallTrace, WallCalibration] | None = None
    gain: GainCalibration | None = None
    site: SiteProfile | None = None


NOTHING: Final = Beside()


def read_beside(files: Mapping[str, bytes]) -> Beside:
    """Read a session's byproducts by name; others than `BESIDE` are ignored. Raises VerificationError."""
    log, calibration = files.get(WALL_LOG), files.get(WALL_CALIBRATION)
    if (log is None) != (calibration is None):
        raise VerificationError(
            code="WALL_INCOMPLETE",
            observed=f"only one of {WALL_LOG} and {WALL_CALIBRATION}",
            expected="a wall meter's log with its calibration, or neither",
            hint="do not rely on this result; ask whoever published it for the original bundle",
        )
    gain, site = files.get(GAIN_CALIBRATION), files.get(SITE)
    return Beside(
        wall=None if log is None or calibration is None else (parse_wall(log), parse_calibration(calibration)),
        gain=None if gain is None else parse_gain(gain),
        site=None if site is None else parse_site(site),
    )


def gain_doubt(trace: PowerTrace, found: GainCalibration | None) -> Fraction | None:
    """Return the relative standard uncertainty that a calibration gives this record; None where there is none.

    Raises InvalidMeasurement OTHER_DEVICE or GAIN_CALIBRATION_EXPIRED.
    """
    if found is None:
        return None
    leased = [trace.host.get(f"{device}.uuid", "") for device in trace.sources["gpu"].devices]
    if leased != [found.device]:
        raise InvalidMeasurement(
            code="OTHER_DEVICE",
            observed=f"a gain calibration of {found.device}, and a record of {', '.join(leased) or 'no accelerator'}",
            expected="a calibration of the accelerator that was measured",
            hint="name the document of this accelerator, or none",
        )
    found.check_valid(day_of(trace.anchor_start.realtime_ns))
    return found.relative


def nodes(trace: PowerTrace, given: Beside, runs: int) -> tuple[NodeReading | None, ...]:
    """Return what the wall meter says of each run; raises as `wall_checks.check_log` and `wall.node` do."""
    if given.wall is None:
        return (None,) * runs
    log, calibration = given.wall
    check_log(trace, log, calibration)
    return tuple(
        node(
            trace,
            log,
            calibration,
            trace.window(f"run-{number}"),
            [idle for idle in around(trace, f"run-{number}") if idle is not None],
        )
        for number in range(1, runs + 1)
    )
