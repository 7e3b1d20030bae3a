"""The meter's record, an append-only digest-chained text of samples and marks: its alphabet and its strict reader.

Rules
1. UTF-8 restricted to ASCII, one JSON value a line, no spaces, every line ended by one newline. A line that is not
   byte-equal to its own canonical re-encoding is refused.
2. Line 1 is the header, an object. Every other line is an array whose first element is its kind:
       ["a",t,{...}]                 the sandbox was attached (at most once)
       ["s",t,span,v,...]            fast samples, in the order of the header's `columns`
       ["h",t,span,v,...]            host samples (once a second and at every mark), in the order of `host_columns`
       ["m",t,"open"|"close",name]   a window's mark; an s and an h row with the same t stand before it
       ["e",t,instrument,code,text]  an instrument failed
       ["z",t,status,{...}]          the end: why, the second anchor, counts
       ["k",hex]                     the chain's digest over every line before this one
   `t` is nanoseconds of CLOCK_MONOTONIC since the header's origin; a row's values were read between t and t + span.
   A value is a whole number, or null where nothing was read. There are no fractions and no negative numbers.
3. Chain: d0 = SHA-256("jouleseal/trace/v1" 0x00), d(i) = SHA-256(d(i-1) || line i with its newline). A `k` line follows
   every mark and every host row, and the last line is a `k` line, after `z`. Its digest names the record.
4. Every h row has an s row of the same t before it.
5. Times never run backwards, and strictly forwards within a kind of row; windows do not overlap and are all closed.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn

from protocol.errors import Unverifiable, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TRACE_FORMAT: Final = "jouleseal-trace/1"
TRACE_MEDIA_TYPE: Final = "application/x-ndjson"
GENESIS: Final = hashlib.sha256(b"jouleseal/trace/v1\x00").digest()
MAX_TRACE_BYTES: Final = 256 << 20  # a day of samples takes under 100 MB; a larger claim is not a record of ours
MAX_DIGITS: Final = 20  # of a clock's nanoseconds: a 64-bit number
MAX_NAME: Final = 64  # characters of a window's name, a column or a code

CHANNELS: Final = ("gpu", "cpu", "dram", "network", "storage")

# Columns that the energy account knows. Accelerators are numbered: gpu0.energy_mj, gpu1.energy_mj, ...
CPU_TIME: Final = "sandbox.cpu_ns"
MEMORY: Final = "sandbox.memory_bytes"
MEMORY_PEAK: Final = "sandbox.memory_peak_bytes"
BLOCK_IO: Final = "sandbox.io_bytes"
PIDS: Final = "sandbox.pids"
HOST_BUSY: Final = "host.busy_ticks"
GPU_ENERGY: Final = "energy_mj"
GPU_POWER_AVERAGE: Final = "power_average_mw"
GPU_POWER_INSTANT: Final = "power_instant_mw"

_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode
_DECODE: Final = json.JSONDecoder().decode
_PLAIN: Final = re.compile(r'\["[sh]"(?:,(?:0|-?[1-9][0-9]*|null))+\]', re.ASCII)  # a sample, as _ENCODE spells it
_NUMBER_TYPES: Final = frozenset({int, type(None)})


def encode_line(row: Sequence[object] | Mapping[str, object]) -> bytes:
    """Write one line of a record, newline included."""
    return _ENCODE(row).encode("ascii") + b"\n"


def advance(digest: bytes, line: bytes) -> bytes:
    """Return the chain's digest after one more line (newline included)."""
    return hashlib.sha256(digest + line).digest()


class SourceKind(Enum):
    """Where a channel's energy comes from."""

    NVML = "nvml"  # the accelerator's own counter: measured
    SIMULATED = "simulated"  # a stand-in for an accelerator, read the same way: simulated
    RAPL = "rapl"  # the processor's own counter: measured
    MODEL = "model"  # a named model over the sandbox's use: estimated
    UNREAD = "unread"  # consumed something, and nothing here can read it: unmeasured
    NONE = "none"  # there is no such consumer: not applicable


ACCELERATORS: Final = frozenset({SourceKind.NVML, SourceKind.SIMULATED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A cumulative counter of the record: its column, the prefix of its device, and its modulus (0: never wraps)."""

    column: str
    range: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one channel stands on. `model` is set for models, `counters` for RAPL zones, `devices` for accelerators."""

    kind: SourceKind
    reason: str
    model: str
    counters: tuple[Counter, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One instant on three clocks, in nanoseconds: it ties the monotonic time of a record to the calendar."""

    realtime_ns: int
    monotonic_ns: int
    boottime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A named stretch of a record, [open_ns, close_ns] in absolute CLOCK_MONOTONIC nanoseconds."""

    name: str
    open_ns: int
    close_ns: int

    @property
    def duration_ns(self) -> int:
        """Nanoseconds between the marks."""
        return self.close_ns - self.open_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """The sandbox that the record is of: `cpus_milli` is its allotment in thousandths of a CPU."""

    at_ns: int
    container_id: str
    cpus_milli: int
    clock: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentFailure:
    """An instrument stopped answering at `at_ns`."""

    at_ns: int
    instrument: str
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of one kind, by column. `times` are absolute nanoseconds, strictly rising; `None` is: not read."""

    columns: tuple[str, ...]
    times: tuple[int, ...]
    spans: tuple[int, ...]
    values: tuple[tuple[int | None, ...], ...]

    def column(self, name: str) -> tuple[int | None, ...] | None:
        """Return a column's values, or None where the record has no such column."""
        return self.values[self.columns.index(name)] if name in self.columns else None

    def between(self, start_ns: int, end_ns: int) -> slice:
        """Return the rows whose time lies in [start_ns, end_ns]."""
        return slice(bisect_left(self.times, start_ns), bisect_left(self.times, end_ns + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerTrace:
    """A whole record, parsed. `digest` is the hex digest of the last chain line; `status` is why the record ended."""

    origin_ns: int
    period_ns: int
    host_period_ns: int
    host_cpus: int
    clock_ticks: int
    host: Mapping[str, str]
    sources: Mapping[str, Source]
    anchor_start: Anchor
    anchor_end: Anchor
    attachment: Attachment | None
    fast: Table
    slow: Table
    windows: tuple[Window, ...]
    failures: tuple[InstrumentFailure, ...]
    status: str
    misses: int
    own_cpu_ns: int
    digest: str

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels that the record speaks of, in their fixed order."""
        return tuple(name for name in CHANNELS if name in self.sources)

    def window(self, name: str) -> Window:
        """Return the window of that name; raises VerificationError where there is none."""
        for candidate in self.windows:
            if candidate.name == name:
                return candidate
        raise VerificationError(
            code="WINDOW_ABSENT",
            observed=f"the meter's record has no window {name!r}",
            expected="every run and idle stretch marked in the record",
            hint="the record does not belong to this session",
        )


def parse_trace(data: bytes) -> PowerTrace:
    """Read a record.

    Raises VerificationError TRACE_MALFORMED where a rule of this module's is broken, TRACE_CHAIN where the digests do
    not follow from the lines, and Unverifiable for a format that this version does not know.
    """
    return _Reader(_lines(data)).read()


def _lines(data: bytes) -> list[str]:
    if len(data) > MAX_TRACE_BYTES:
        _malformed(0, f"{len(data)} bytes", f"at most {MAX_TRACE_BYTES}")
    if not data.endswith(b"\n") or not data.isascii():
        _malformed(0, "a record that is cut off or not ASCII", "ASCII lines, each ended by a newline")
    return data[:-1].decode("ascii").split("\n")


class _Reader:
    """The state of one reading; each kind of row has a method that takes it in."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._number = 0
        self._chain = GENESIS
        self._checkpointed = False
        self._last_ns = 0
        self._origin = 0
        self._rows: dict[str, list[list[Any]]] = {"s": [], "h": []}
        self._widths: dict[str, int] = {}
        self._open: tuple[str, int] | None = None
        self._windows: list[Window] = []
        self._attachment: Attachment | None = None
        self._failures: list[InstrumentFailure] = []
        self._end: dict[str, Any] | None = None

    def read(self) -> PowerTrace:
        header = _Fields(self._bad, self._decode(self._lines[0]))
        self._check_format(header)
        self._take(self._lines[0])
        self._origin = header.digits("origin_ns")
        columns = header.names("columns")
        host_columns = header.names("host_columns")
        self._widths = {"s": 3 + len(columns), "h": 3 + len(host_columns)}
        self._body()
        if self._end is None or self._open is not None or not self._checkpointed:
            self._bad("a record without its end", "every window closed, then the z line, then its k line")
        return self._trace(header, columns, host_columns, _Fields(self._bad, self._end))

    def _check_format(self, header: _Fields) -> None:
        found = header.text("format")
        if found != TRACE_FORMAT:
            raise Unverifiable(
                code="UNKNOWN_FORMAT",
                observed=f"a meter record of format {found!r}",
                expected=TRACE_FORMAT,
                hint="use the verifier of the release that made this record",
            )

    def _body(self) -> None:
        takers: dict[str, Callable[[list[Any]], None]] = {
            "s": self._sample,
            "h": self._sample,
            "a": self._attach,
            "m": self._mark,
            "e": self._failure,
            "z": self._finish,
        }
        for number in range(1, len(self._lines)):
            self._number = number
            line = self._lines[number]
            row = self._decode(line)
            if type(row) is not list or len(row) < 2 or type(row[0]) is not str:  # noqa: PLR2004 - kind and one more
                self._bad("a line that is no row", "an array that begins with its kind")
            if row[0] == "k":
                self._checkpoint(row)
            elif self._end is not None or row[0] not in takers:
                self._bad("a row of an unknown kind, or a row after the end", "one of a s h m e z k")
            else:
                self._clock(row)
                takers[row[0]](row)
                self._checkpointed = False
            self._take(line)

    def _decode(self, line: str) -> Any:  # noqa: ANN401 - JSON
        try:
            value = _DECODE(line)
            canonical = line if _PLAIN.fullmatch(line) else _ENCODE(value)
        except (ValueError, RecursionError):
            self._bad("a line that is not JSON", "one JSON value a line")
        if canonical != line:
            self._bad("a line in another spelling than the canonical one", "compact JSON")
        return value

    def _take(self, line: str) -> None:
        self._chain = advance(self._chain, line.encode("ascii") + b"\n")

    def _checkpoint(self, row: list[Any]) -> None:
        if len(row) != 2 or row[1] != self._chain.hex():  # noqa: PLR2004 - kind and digest
            raise VerificationError(
                code="TRACE_CHAIN",
                observed=f"line {self._number + 1} of the meter's record does not follow from the lines before it",
                expected="an unbroken chain of digests",
                hint="the record was changed after the sampler wrote it",
            )
        self._checkpointed = True

    def _clock(self, row: list[Any]) -> None:
        at = row[1]
        if type(at) is not int or at < self._last_ns:
            self._bad("a time that runs backwards", "nanoseconds since the origin, never falling")
        self._last_ns = at

    def _sample(self, row: list[Any]) -> None:
        kind = row[0]
        if len(row) != self._widths[kind] or not _NUMBER_TYPES.issuperset(map(type, row[2:])) or row[2] is None:
            self._bad("a sample with missing, surplus or non-numeric values", "one whole number or null a column")
        if min(filter(None, row[2:]), default=0) < 0:
            self._bad("a negative reading", "no reading is negative")
        rows = self._rows[kind]
        if rows and rows[-1][1] >= row[1]:
            self._bad("two samples of one instant", "strictly rising times")
        if kind == "h" and (not self._rows["s"] or self._rows["s"][-1][1] != row[1]):
            self._bad("a host sample by itself", "an s row of the same time before it")
        rows.append(row)

    def _attach(self, row: list[Any]) -> None:
        if self._attachment is not None or len(row) != 3:  # noqa: PLR2004 - kind, time and facts
            self._bad("a second sandbox", "one sandbox a record")
        facts = _Fields(self._bad, row[2])
        self._attachment = Attachment(
            at_ns=self._origin + row[1],
            container_id=facts.text("container"),
            cpus_milli=facts.positive("cpus_milli"),
            clock=facts.text("clock"),
        )

    def _mark(self, row: list[Any]) -> None:
        if len(row) != 4 or type(row[3]) is not str or not 0 < len(row[3]) <= MAX_NAME:  # noqa: PLR2004
            self._bad("a mark without a name", "open or close, and the window's name")
        _, at, edge, name = row
        if any(not rows or rows[-1][1] != at for rows in self._rows.values()):
            self._bad("a mark without its readings", "an s and an h row of the mark's own time before it")
        if edge == "open" and self._open is None and all(w.name != name for w in self._windows):
            self._open = (name, at)
        elif edge == "close" and self._open is not None and self._open[0] == name and at > self._open[1]:
            window = Window(name=name, open_ns=self._origin + self._open[1], close_ns=self._origin + at)
            self._windows.append(window)
            self._open = None
        else:
            self._bad("a mark out of turn", "each window opened once and closed once, one at a time")

    def _failure(self, row: list[Any]) -> None:
        if len(row) != 5 or any(type(part) is not str for part in row[2:]):  # noqa: PLR2004 - as rule 2 says
            self._bad("a failure without its words", "instrument, code, text")
        failure = InstrumentFailure(at_ns=self._origin + row[1], instrument=row[2], code=row[3], text=row[4])
        self._failures.append(failure)

    def _finish(self, row: list[Any]) -> None:
        if len(row) != 4 or type(row[2]) is not str or type(row[3]) is not dict:  # noqa: PLR2004 - as rule 2 says
            self._bad("an end without its facts", "status and facts")
        self._end = {"status": row[2], **row[3]}

    def _trace(
        self, header: _Fields, columns: tuple[str, ...], host_columns: tuple[str, ...], end: _Fields
    ) -> PowerTrace:
        if end.whole("samples") != len(self._rows["s"]):
            self._bad("another number of samples than the end says", "every sample in the record")
        return PowerTrace(
            origin_ns=self._origin,
            period_ns=header.positive("period_ns"),
            host_period_ns=header.positive("host_period_ns"),
            host_cpus=header.positive("host_cpus"),
            clock_ticks=header.positive("clock_ticks"),
            host=header.words("host"),
            sources=_sources(self._bad, header.mapping("sources")),
            anchor_start=_anchor(header),
            anchor_end=_anchor(end),
            attachment=self._attachment,
            fast=self._table("s", columns),
            slow=self._table("h", host_columns),
            windows=tuple(self._windows),
            failures=tuple(self._failures),
            status=end.text("status"),
            misses=end.whole("misses"),
            own_cpu_ns=end.whole("own_cpu_ns"),
            digest=self._chain_before_last(),
        )

    def _chain_before_last(self) -> str:
        digest = _DECODE(self._lines[-1])[1]
        return str(digest)

    def _table(self, kind: str, columns: tuple[str, ...]) -> Table:
        rows = self._rows[kind]
        by_column = list(zip(*rows, strict=True)) if rows else [()] * (3 + len(columns))
        return Table(
            columns=columns,
            times=tuple(self._origin + at for at in by_column[1]),
            spans=by_column[2],
            values=tuple(by_column[3:]),
        )

    def _bad(self, observed: str, expected: str) -> NoReturn:
        _malformed(self._number + 1, observed, expected)


class _Fields:
    """One JSON object, read field by field; every surprise is a malformed record."""

    def __init__(self, bad: Callable[[str, str], NoReturn], value: object) -> None:
        self._bad = bad
        if not isinstance(value, dict):
            bad("something that is no object", "an object")
        self._value: dict[str, Any] = value

    def _get(self, key: str, kind: type) -> Any:  # noqa: ANN401 - JSON
        found = self._value.get(key)
        if type(found) is not kind:
            self._bad(f"no usable {key}", f"{key} as {kind.__name__}")
        return found

    def text(self, key: str) -> str:
        return str(self._get(key, str))

    def whole(self, key: str) -> int:
        found = int(self._get(key, int))
        if found < 0:
            self._bad(f"a negative {key}", f"{key} of at least 0")
        return found

    def positive(self, key: str) -> int:
        found = self.whole(key)
        if found == 0:
            self._bad(f"{key} of 0", f"{key} of at least 1")
        return found

    def digits(self, key: str) -> int:
        found = self.text(key)
        if len(found) > MAX_DIGITS or not found.isdigit() or str(int(found)) != found:
            self._bad(f"no usable {key}", f"{key} as decimal digits")
        return int(found)

    def names(self, key: str) -> tuple[str, ...]:
        found = self._get(key, list)
        if any(type(name) is not str or not 0 < len(name) <= MAX_NAME for name in found) or len(set(found)) < len(
            found
        ):
            self._bad(f"no usable {key}", f"{key} as distinct names")
        return tuple(found)

    def mapping(self, key: str) -> dict[str, Any]:
        return dict(self._get(key, dict))

    def words(self, key: str) -> dict[str, str]:
        found = self.mapping(key)
        if any(type(value) is not str for value in found.values()):
            self._bad(f"no usable {key}", f"{key} as an object of strings")
        return found

    def items(self, key: str) -> list[_Fields]:
        return [_Fields(self._bad, item) for item in self._get(key, list)]


def _anchor(fields: _Fields) -> Anchor:
    return Anchor(
        realtime_ns=fields.digits("realtime_ns"),
        monotonic_ns=fields.digits("monotonic_ns"),
        boottime_ns=fields.digits("boottime_ns"),
    )


def _sources(bad: Callable[[str, str], NoReturn], found: dict[str, Any]) -> dict[str, Source]:
    if set(found) != set(CHANNELS):
        bad("other channels than those of this format", ", ".join(CHANNELS))
    return {name: _source(bad, found[name]) for name in CHANNELS}


def _source(bad: Callable[[str, str], NoReturn], value: object) -> Source:
    fields = _Fields(bad, value)
    kind = fields.text("kind")
    if kind not in {known.value for known in SourceKind}:
        bad(f"a source of kind {kind!r}", "nvml, rapl, model, unread or none")
    counters = [Counter(column=c.text("column"), range=c.whole("range")) for c in fields.items("counters")]
    return Source(
        kind=SourceKind(kind),
        reason=fields.text("reason"),
        model=fields.text("model"),
        counters=tuple(counters),
        devices=fields.names("devices"),
    )


def _malformed(line: int, observed: str, expected: str) -> NoReturn:
    raise VerificationError(
        code="TRACE_MALFORMED",
        observed=f"line {line} of the meter's record: {observed}",
        expected=expected,
        hint="the record is damaged or was not written by a sampler of ours",
    )
