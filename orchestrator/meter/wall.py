"""The wall meter beside a measurement: wait until its logger has caught up, and add channel `node`.

Rules
1. The log is read after the record has ended, because loggers buffer: up to `WAIT_S` pass until a row comes that lies
   after the record's last mark. Where none comes, what there is is judged, and its lack has a name (WALL_NOT_COVERING).
2. A last line without its newline is still being written, and is left out. The digest is of the bytes that were used.
3. What voids the log voids channel `node` alone. A node that costs less than its measured parts voids the measurement
   too, because one of the instruments is wrong and nobody can say which.
4. Where the record is void, so is the node: its window is the record's.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from orchestrator.meter.measuring import Channel, Measurement, Reason, Void
from protocol.errors import InvalidMeasurement, UsageError, VerificationError
from protocol.methodology import wall
from protocol.methodology.energy import COVERAGE_FACTOR
from protocol.methodology.trace import PowerTrace
from protocol.methodology.wall_calibration import WallCalibration
from protocol.methodology.wall_checks import check_log
from protocol.methodology.wall_csv import MAX_WALL_BYTES, MAX_WALL_LINE, WALL_TIME, moment_ns, parse_wall
from protocol.methodology.wall_log import NODE, clock
from protocol.units import NS_PER_S

WAIT_S: Final = 60.0  # a 4 KiB buffer fills in 40 s with a row of 100 characters a second
LOOK_S: Final = 0.2
REST_INTERVALS: Final = 4  # of idle on both sides: two near the run that its edge may spoil, and two whole ones


@dataclass(frozen=True, slots=True, kw_only=True)
class WallInput:
    """A wall meter's growing log, and what its calibration document says."""

    path: Path
    calibration: WallCalibration

    @property
    def rest_s(self) -> float:
        """How long idle must be metered on both sides, in seconds, for an idle-net figure of the node."""
        known = self.calibration
        return float((REST_INTERVALS * known.interval_ns + COVERAGE_FACTOR * known.clock_uncertainty_ns) / NS_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRead:
    """What was read of a log: its first `size` bytes, and their digest."""

    size: int
    sha256: str


def read_log(path: Path) -> bytes:
    """Return the whole lines of a log; raises UsageError WALL_UNREADABLE."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_WALL_BYTES + 1)
    except OSError as error:
        raise UsageError(
            code="WALL_UNREADABLE",
            observed=f"{path}: {error.strerror}",
            expected="the CSV that the wall meter's logger writes",
            hint="start the logger before the measurement",
        ) from error
    return data[: data.rfind(b"\n") + 1]


def await_log(path: Path, until_ns: int, wait_s: float) -> bytes:
    """Return the log's whole lines once its last row is at or after `until_ns` (CLOCK_REALTIME), or when time is up."""
    deadline = time.monotonic() + wait_s
    index = _time_column(read_log(path))
    while index is not None:
        last = _last_moment(path, index)
        if last is None or last >= until_ns or time.monotonic() >= deadline:
            break
        time.sleep(LOOK_S)
    return read_log(path)


def add_node(found: Measurement, power: PowerTrace, given: WallInput) -> tuple[Measurement, LogRead]:
    """Return the measurement with its channel `node`, and what was read of the log."""
    end_ns = clock(power).realtime(power.windows[-1].close_ns)
    try:
        data = await_log(given.path, end_ns, WAIT_S)
    except UsageError as error:
        gone = Reason(code=error.code, observed=error.observed)
        return _void(found, gone), LogRead(size=0, sha256=hashlib.sha256().hexdigest())
    said = LogRead(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    if all(isinstance(channel.gross, Void) for channel in found.channels.values()):
        channel = Channel(gross=Void(reason=found.reasons[-1]), idle_net=None)
        return replace(found, channels={**found.channels, NODE: channel}), said
    return _judged(found, power, data, given.calibration), said


def _judged(found: Measurement, power: PowerTrace, data: bytes, calibration: WallCalibration) -> Measurement:
    flags: tuple[str, ...] = ()
    try:
        log = parse_wall(data)
        check_log(power, log, calibration)
        idle = [power.window(name) for name in ("idle-0", "idle-1")]
        node = wall.node(power, log, calibration, power.window("run-1"), idle)
    except (InvalidMeasurement, VerificationError) as error:
        reason = Reason(code=error.code, observed=error.observed)
    else:
        flags = node.flags
        parts = {name: channel.gross for name, channel in found.channels.items()}
        words = wall.disagreement(node.gross, parts)
        if words is None:
            channel = Channel(gross=node.gross, idle_net=node.idle_net)
            return replace(found, channels={**found.channels, NODE: channel}, flags=(*found.flags, *flags))
        reason = Reason(code=wall.WALL_DISAGREES, observed=words)
    return _void(replace(found, flags=(*found.flags, *flags)), reason)


def _void(found: Measurement, reason: Reason) -> Measurement:
    channel = Channel(gross=Void(reason=reason), idle_net=None)
    return replace(found, channels={**found.channels, NODE: channel}, reasons=(*found.reasons, reason))


def _time_column(data: bytes) -> int | None:
    """Return where the header has its time, or None where there is no header to wait with."""
    for line in data.split(b"\n", maxsplit=1_000):
        if line and not line.startswith(b"#"):
            names = line.decode("utf-8", errors="replace").split(",")
            return names.index(WALL_TIME) if WALL_TIME in names else None
    return None


def _last_moment(path: Path, index: int) -> int | None:
    """Return the time of the last whole row; None where it is no row of readings, which the reader will then refuse."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 8 * MAX_WALL_LINE, 0))
            lines = file.read().rpartition(b"\n")[0].split(b"\n")
    except OSError:
        return None
    rows = [line for line in lines if line and not line.startswith(b"#")]
    fields = rows[-1].decode("utf-8", errors="replace").split(",") if rows else []
    if fields[index : index + 1] == [WALL_TIME]:
        return 0  # the header, and no row yet
    return moment_ns(fields[index]) if len(fields) > index else None
