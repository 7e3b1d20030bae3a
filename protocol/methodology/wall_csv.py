"""A wall meter's log as CSV: its alphabet, its strict reader, and the value that it becomes.

Rules
1. UTF-8 without a byte order mark, lines ended by one newline, the last one too; at most 32 MiB, 512 characters a line.
   Empty lines and lines that begin with `#` are comments.
2. The first line that is no comment names the columns, separated by commas, none twice, in any order:
       time                    RFC 3339 with `Z` or an offset, or Unix seconds with at most nine decimals
       watts                   active power
       wh | joules             cumulative energy, one of the two
       volts, amps, pf         optional: checked against watts
       range                   optional: the meter's range, a word
   `time` is there, and `watts` or a cumulative energy. Another column is refused: drop it before.
3. Numbers are plain decimals with a point and at most nine decimals: no exponent, no sign but `-`, no quotes, no
   thousands separator, no decimal comma, no empty field, nothing that is not a number.
4. Times are all spelled in one way and rise strictly. A local time without its offset names two instants on the night
   when clocks go back, and is refused.
5. Every refusal says the line, what was seen and what belongs there (VerificationError WALL_MALFORMED).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final, NoReturn

from protocol.errors import VerificationError
from protocol.units import J_PER_WH, MIB, NS_PER_S

MAX_WALL_BYTES: Final = 32 * MIB  # a day at ten rows a second, time and watts, is 17 MB
MAX_WALL_LINE: Final = 512
WALL_TIME: Final = "time"
WALL_WATTS: Final = "watts"
WALL_RANGE: Final = "range"
COUNTERS: Final = {"wh": Fraction(J_PER_WH), "joules": Fraction(1)}  # joules per unit of each
NUMBERS: Final = (WALL_WATTS, *COUNTERS, "volts", "amps", "pf")

_PLACES: Final = 9
NANO: Final = Fraction(1, 10**_PLACES)
_NUMBER: Final = re.compile(r"(-?)(\d{1,15})(?:\.(\d{1,9}))?", re.ASCII)
_UNIX: Final = re.compile(r"(\d{1,11})(?:\.(\d{1,9}))?", re.ASCII)
_RFC3339: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_LOCAL: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9._+-]{1,32}", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: `values` in billionths of its unit, `quantum` the last digit that the log writes, in its unit."""

    values: tuple[int, ...]
    quantum: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class WallTrace:
    """A whole log. `times` are nanoseconds of CLOCK_REALTIME, strictly rising; `sha256` is of its bytes."""

    times: tuple[int, ...]
    columns: Mapping[str, Column]
    ranges: tuple[str, ...] | None
    sha256: str

    @property
    def counter(self) -> str | None:
        """The name of the cumulative energy, if the log has one."""
        return next((name for name in COUNTERS if name in self.columns), None)

    def part(self, first: int, last: int) -> WallTrace:
        """Return the rows from `first` up to `last`; the digest stays that of the whole log."""
        cut = slice(first, last)
        return replace(
            self,
            times=self.times[cut],
            columns={name: replace(column, values=column.values[cut]) for name, column in self.columns.items()},
            ranges=None if self.ranges is None else self.ranges[cut],
        )


def parse_wall(data: bytes) -> WallTrace:
    """Read a log; raises VerificationError WALL_MALFORMED where a rule of this module's is broken."""
    names: list[str] = []
    texts: list[list[str]] = []
    places: list[int] = []
    for number, line in _lines(data):
        fields = line.split(",")
        if not names:
            names = _header(number, fields)
            texts = [[] for _ in names]
            continue
        if len(fields) != len(names):
            hint = "a decimal comma makes one field into two: write a decimal point" if len(fields) > len(names) else ""
            _malformed(number, f"{len(fields)} fields", f"{len(names)}: {','.join(names)}", hint)
        for column, field in zip(texts, fields, strict=True):
            column.append(field)
        places.append(number)
    if not places:
        _malformed(0, "no row of readings", "a header and at least one row")
    by_name = dict(zip(names, texts, strict=True))
    ranges = by_name.pop(WALL_RANGE, None)
    for number, word in zip(places, ranges or (), strict=False):
        if _WORD.fullmatch(word) is None:
            _malformed(number, f"range {word[:40]!r}", "a word of letters, digits and ._+-")
    return WallTrace(
        times=_times(places, by_name.pop(WALL_TIME)),
        columns={name: _column(name, places, texts) for name, texts in by_name.items()},
        ranges=None if ranges is None else tuple(ranges),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def moment_ns(text: str) -> int | None:
    """Return a time of rule 2 as nanoseconds since 1970, or None where it is none."""
    unix = _UNIX.fullmatch(text)
    if unix is not None:
        return int(unix[1]) * NS_PER_S + _billionths(unix[2])
    written = _RFC3339.fullmatch(text)
    if written is None:
        return None
    try:
        seconds = datetime.fromisoformat(written[1] + written[3].replace("Z", "+00:00")) - _EPOCH
    except ValueError:
        return None  # a date, time or offset that does not exist
    return seconds // timedelta(seconds=1) * NS_PER_S + _billionths(written[2])


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    if len(data) > MAX_WALL_BYTES:
        _malformed(0, f"{len(data)} bytes", f"at most {MAX_WALL_BYTES}", "cut the log to the day of the measurement")
    if data.startswith(b"\xef\xbb\xbf"):
        _malformed(
            1, "a byte order mark", "UTF-8 without one", "save it as plain UTF-8: sed -i '1s/^\\xef\\xbb\\xbf//'"
        )
    if b"\r" in data:
        number = data[: data.index(b"\r")].count(b"\n") + 1
        _malformed(number, "a carriage return", "lines ended by one newline", "convert it: sed -i 's/\\r$//'")
    if not data.endswith(b"\n"):
        _malformed(data.count(b"\n") + 1, "a line that is cut off", "a newline at the end of every line")
    try:
        lines = data[:-1].decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        _malformed(data[: error.start].count(b"\n") + 1, "bytes that are not UTF-8", "UTF-8")
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_WALL_LINE:
            _malformed(number, f"{len(line)} characters", f"at most {MAX_WALL_LINE} a line")
        if line and not line.startswith("#"):
            yield number, line


def _header(number: int, fields: list[str]) -> list[str]:
    known = (WALL_TIME, *NUMBERS, WALL_RANGE)
    for name in fields:
        if name not in known:
            hint = "separate fields with commas, and write decimals with a point" if ";" in name or "\t" in name else ""
            _malformed(number, f"column {name[:40]!r}", f"of {', '.join(known)}", hint or "rename or drop that column")
    if len(set(fields)) < len(fields):
        _malformed(number, "a column twice", "every column once")
    if WALL_TIME not in fields or not {WALL_WATTS, *COUNTERS} & set(fields):
        _malformed(number, f"columns {','.join(fields)}", "time, and watts, wh or joules")
    if set(COUNTERS) <= set(fields):
        _malformed(number, "wh and joules", "one cumulative energy")
    return fields


def _times(places: Sequence[int], texts: Sequence[str]) -> tuple[int, ...]:
    unix = _UNIX.fullmatch(texts[0]) is not None
    found: list[int] = []
    for number, text in zip(places, texts, strict=True):
        at = moment_ns(text)
        if at is None:
            hint = "a time without Z or an offset is not one instant" if _LOCAL.fullmatch(text) else ""
            _malformed(number, f"time {text[:40]!r}", "RFC 3339 with Z or an offset, or Unix seconds", hint)
        if (_UNIX.fullmatch(text) is not None) is not unix:
            _malformed(number, f"time {text[:40]!r}", "times spelled as in the first row")
        if found and at <= found[-1]:
            _malformed(number, f"time {text[:40]!r}, not after the row before", "times that rise strictly")
        found.append(at)
    return tuple(found)


def _column(name: str, places: Sequence[int], texts: Sequence[str]) -> Column:
    found: list[int] = []
    decimals = 0
    for number, text in zip(places, texts, strict=True):
        match = _NUMBER.fullmatch(text)
        if match is None:
            _malformed(number, f"{name} {text[:40]!r}", "a plain decimal number with at most nine decimals")
        size = int(match[2]) * 10**_PLACES + _billionths(match[3])
        found.append(-size if match[1] else size)
        decimals = max(decimals, len(match[3] or ""))
    return Column(values=tuple(found), quantum=Fraction(1, 10**decimals))


def _billionths(digits: str | None) -> int:
    return int((digits or "").ljust(_PLACES, "0"))


def _malformed(line: int, observed: str, expected: str, hint: str = "") -> NoReturn:
    raise VerificationError(
        code="WALL_MALFORMED",
        observed=f"{f'line {line} of ' if line else ''}the wall meter's log: {observed}",
        expected=expected,
        hint=hint or "docs/wall-meter.md has the format; set the logger to write it, or convert its file",
    )
