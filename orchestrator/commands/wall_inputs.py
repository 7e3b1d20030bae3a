"""The documents that `meter` and `calibrate` are given: read strictly, and refused before anything runs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from orchestrator.meter.wall import WallInput, read_log
from protocol.errors import UsageError, VerificationError
from protocol.methodology.gain_document import GainCalibration, parse_gain
from protocol.methodology.site import SiteProfile, parse_site
from protocol.methodology.wall_calibration import WallCalibration, check_valid, day_of, parse_calibration
from protocol.methodology.wall_csv import parse_wall

_Read = TypeVar("_Read")
_READ_LIMIT = 1 << 20  # every document's own limit is smaller
_HEADER_ROWS = 50


def wall_input(arguments: argparse.Namespace) -> WallInput | None:
    """Return the wall meter of `--wall` and `--wall-calibration`, or None; half of it is refused, as is another log.

    Raises UsageError WALL_NEEDS_CALIBRATION, WALL_UNREADABLE, DOCUMENT_REFUSED, and InvalidMeasurement
    WALL_CALIBRATION_EXPIRED.
    """
    if arguments.wall is None and arguments.wall_calibration is None:
        return None
    if arguments.wall is None or arguments.wall_calibration is None:
        raise UsageError(
            code="WALL_NEEDS_CALIBRATION",
            observed="one of --wall and --wall-calibration",
            expected="both: a log says nothing without its meter's certificate",
            hint="docs/wall-meter.md describes the two files",
        )
    calibration = read_calibration(arguments.wall_calibration)
    check_valid(calibration, time.time_ns(), time.time_ns())
    head = read_log(arguments.wall).split(b"\n", _HEADER_ROWS)[:_HEADER_ROWS]
    if sum(1 for line in head if line and not line.startswith(b"#")) > 1:  # a header and a row
        refused_as_usage(arguments.wall, lambda: parse_wall(b"\n".join(head).rstrip(b"\n") + b"\n"))
    return WallInput(path=arguments.wall, calibration=calibration)


def read_calibration(path: Path) -> WallCalibration:
    """Return a wall meter's calibration document; raises UsageError DOCUMENT_UNREADABLE or DOCUMENT_REFUSED."""
    return _document(path, parse_calibration)


def site(path: Path | None) -> SiteProfile | None:
    """Return the site profile, if one is given; raises UsageError DOCUMENT_UNREADABLE or DOCUMENT_REFUSED."""
    return None if path is None else _document(path, parse_site)


def gains(paths: Sequence[Path], devices: Sequence[str]) -> dict[str, Fraction]:
    """Return the calibrated relative standard uncertainty of each device that has a document.

    Raises UsageError (DOCUMENT_UNREADABLE, DOCUMENT_REFUSED, GAIN_OTHER_DEVICE) and InvalidMeasurement
    GAIN_CALIBRATION_EXPIRED.
    """
    found: dict[str, Fraction] = {}
    for path in paths:
        read: GainCalibration = _document(path, parse_gain)
        if read.device not in devices or read.device in found:
            raise UsageError(
                code="GAIN_OTHER_DEVICE",
                observed=f"{path} is a calibration of {read.device}",
                expected=f"one document for each of {', '.join(devices) or 'the devices named by --device'}",
                hint="a gain is one board's; give the document of this one",
            )
        read.check_valid(day_of(time.time_ns()))
        found[read.device] = read.relative
    return found


def refused_as_usage(path: Path, read: Callable[[], _Read]) -> _Read:
    """Return what `read` returns; what it refuses is the caller's to mend: UsageError DOCUMENT_REFUSED."""
    try:
        return read()
    except VerificationError as error:
        raise UsageError(
            code="DOCUMENT_REFUSED",
            observed=f"{path}: {error.code}: {error.observed}",
            expected=error.expected,
            hint="docs/wall-meter.md describes every file; mend this one",
        ) from error


def _document(path: Path, parse: Callable[[bytes], _Read]) -> _Read:
    try:
        with path.open("rb") as file:
            data = file.read(_READ_LIMIT)
    except OSError as error:
        raise UsageError(
            code="DOCUMENT_UNREADABLE",
            observed=f"{path}: {error.strerror}",
            expected="a JSON document",
            hint="docs/wall-meter.md describes every file",
        ) from error
    return refused_as_usage(path, lambda: parse(data))
