"""`jouleseal calibrate RECORD...`: find an accelerator's gain from records, a wall meter's log and its calibration.

Nothing is measured here: the records are those that `jouleseal meter --record` kept while the wall meter's logger ran,
so that whoever has the same files gets the same document.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from orchestrator.commands import wall_inputs
from orchestrator.disk import make_folder, write_atomic
from orchestrator.meter.wall import read_log
from protocol.errors import UsageError, VerificationError
from protocol.methodology.gain_document import GainCalibration, conclude, efficiency
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.methodology.wall_calibration import day_of
from protocol.methodology.wall_csv import parse_wall
from protocol.methodology.wall_gain import Efficiency, gain, levels
from protocol.methodology.wall_log import clock

_INTERVAL = re.compile(r"(\d\.\d{1,6})-(\d(?:\.\d{1,6})?)", re.ASCII)


def run(arguments: argparse.Namespace) -> int:
    """Write the gain calibration document; 0 where there is one.

    Raises UsageError (RECORD_UNREADABLE, RECORD_TWICE, NO_ONE_DEVICE, PSU_EFFICIENCY and what `wall_inputs` raises) and
    InvalidMeasurement with what voids a record or the log, GAIN_NO_LEVELS, GAIN_OUT_OF_SPEC or GAIN_TOO_COARSE.
    """
    found = _found(arguments)
    make_folder(arguments.out.parent)
    write_atomic(arguments.out, found.to_json())
    if arguments.json:
        print(found.to_json().decode(), end="")
    else:
        _print(found, arguments.out)
    return 0


def _found(arguments: argparse.Namespace) -> GainCalibration:
    psu = _efficiency(arguments.psu_efficiency)
    calibration = wall_inputs.read_calibration(arguments.wall_calibration)
    log = wall_inputs.refused_as_usage(arguments.wall, lambda: parse_wall(read_log(arguments.wall)))
    records = [_record(path) for path in arguments.records]
    chains = tuple(record.digest for record in records)
    if len(set(chains)) < len(chains):
        raise UsageError(
            code="RECORD_TWICE",
            observed="the same record twice",
            expected="every record once",
            hint="repeating a record adds no knowledge",
        )
    uuid = _one_device(records)
    stretches = [level for record in records for level in levels(record, log, calibration, "gpu0")]
    last = max(clock(record).realtime(record.windows[-1].close_ns) for record in records)
    return conclude(
        gain(stretches, calibration, psu),
        device=uuid,
        measured_on=day_of(last),
        wall=calibration,
        log=log.sha256,
        chains=chains,
        psu=psu,
    )


def _record(path: Path) -> PowerTrace:
    try:
        return parse_trace(path.read_bytes())
    except OSError as error:
        seen = f"{path}: {error.strerror}"
    except VerificationError as error:
        seen = f"{path}: {error.code}: {error.observed}"
    raise UsageError(
        code="RECORD_UNREADABLE",
        observed=seen,
        expected="a record that jouleseal meter --record kept",
        hint="record again, with --device and --wall",
    )


def _one_device(records: list[PowerTrace]) -> str:
    found = {record.host.get("gpu0.uuid", "no device") for record in records}
    if len(found) > 1 or any(len(record.sources["gpu"].devices) != 1 for record in records):
        raise UsageError(
            code="NO_ONE_DEVICE",
            observed=f"records of {', '.join(sorted(found))}, of one device or of several",
            expected="records of one and the same accelerator, alone",
            hint="calibrate board by board, the others idle: jouleseal meter --device UUID --record FILE",
        )
    return found.pop()


def _efficiency(text: str) -> Efficiency:
    match = _INTERVAL.fullmatch(text)
    try:
        if match is not None:
            return efficiency(match[1], match[2])
    except VerificationError:
        match = None
    raise UsageError(
        code="PSU_EFFICIENCY",
        observed=f"--psu-efficiency {text[:40]!r}",
        expected="LOW-HIGH with 0.5 <= LOW < HIGH <= 1, as in 0.94-0.96",
        hint="take it from the power supply's 80 PLUS report, for every load between idle and work",
    )


def _print(found: GainCalibration, out: Path) -> None:
    print(f"device    {found.device}")
    print(
        f"gain      {float(found.gain):.6f} +/- {float(2 * found.gain_uncertainty):.6f} (k = 2), not applied to figures"
    )
    for name, term in sorted(found.terms.items(), key=lambda pair: -pair[1]):
        print(f"  {name:<8}{float(term):.6f}")
    print(f"doubt     {float(found.relative):.6f} relative standard uncertainty, deviation included")
    print(f"valid     {found.measured_on} to {found.valid_until}")
    print(f"written   {json.dumps(str(out))[1:-1]}")
