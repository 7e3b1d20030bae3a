"""The part of a wall meter's growing log that belongs to one session: its rows around the record, and no other day's.

Rows from `MARGIN_NS` before the record's first mark to as much after its last are kept, with the comments and the
header before them, byte for byte. What cannot be read as a row is kept as well, so that the reader refuses it by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.meter.wall import WAIT_S, await_log
from protocol.errors import InvalidMeasurement, UsageError
from protocol.methodology.wall_csv import WALL_TIME, moment_ns
from protocol.methodology.wall_log import clock
from protocol.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.methodology.trace import PowerTrace

MARGIN_NS: Final = 60 * NS_PER_S  # several intervals of the slowest logger that the method takes, and its clock's doubt


def log_of(path: Path, trace: PowerTrace, wait_s: float = WAIT_S) -> bytes:
    """Return the session's part of the log, once the logger has caught up with the record or `wait_s` are over.

    Raises InvalidMeasurement WALL_UNREADABLE where the file has gone, and CLOCK_STEPPED of the record's own clock.
    """
    line = clock(trace)
    first, last = line.realtime(trace.windows[0].open_ns), line.realtime(trace.windows[-1].close_ns)
    try:
        data = await_log(path, last, wait_s)
    except UsageError as error:
        raise InvalidMeasurement(
            code=error.code,
            observed=error.observed,
            expected="the wall meter's log, throughout the campaign",
            hint="keep the logger running and its file in place",
        ) from error
    return rows_between(data, first - MARGIN_NS, last + MARGIN_NS)


def rows_between(data: bytes, start_ns: int, end_ns: int) -> bytes:
    """Return a log's whole lines without the rows that lie outside of [start, end] of CLOCK_REALTIME."""
    kept: list[bytes] = []
    index: int | None = None
    for line in data.splitlines(keepends=True):
        names = line.decode("utf-8", errors="replace").strip().split(",")
        if line.startswith(b"#") or not line.strip():
            kept.append(line)
        elif index is None:
            index = names.index(WALL_TIME) if WALL_TIME in names else -1
            kept.append(line)
        else:
            at = moment_ns(names[index]) if 0 <= index < len(names) else None
            if at is None or start_ns <= at <= end_ns:
                kept.append(line)
    return b"".join(kept)
