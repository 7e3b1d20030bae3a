"""What an accelerator counted between two sessions, and how much of it idling explains: unlogged work shows here.

Rules
1. The counter counts on between records. Between the last reading of one record and the first reading of the next one
   of the same device in the same boot, only idling is expected: every run that counts has a record of its own.
2. Idling explains the session's own measured idle power times the time between: the median over the idle windows of
   both records, each from its counter's first tick to its last one, so that no window's edge is charged.
3. The doubt of that is 10 % of it (idle power follows temperature and clocks; this house's choice) and one update of
   the counter at each end, at idle power. The stated budget is 100 J more: opening and closing the driver wakes a
   device for about a second. A rehearsal of one run, at least 30 s of work, is far above both.
4. What is left is unexplained. A counter that stands lower than before restarted, and nothing explains that either.
5. A session without a readable record explains nothing: the gap then reaches from the record before to the one after.
6. Across a boot, or another load of the driver that resets the counter to a higher value, nothing can be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Final

from protocol.methodology.hardware import device_facts
from protocol.methodology.trace import GPU_ENERGY, PowerTrace, Table, Window
from protocol.units import decimal_string

UNEXPLAINED_ENERGY: Final = "unexplained-energy"
DRIFT: Final = Fraction(10, 100)
BUDGET_MJ: Final = 100_000
IDLE_PREFIX: Final = "idle-"
_MJ_PER_WH: Final = 3_600_000
_DECIMALS: Final = 3
_FEWEST_TICKS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSession:
    """A session as the log has it: the entries of intent and outcome, the boot, its record where one can be read."""

    intent: int
    outcome: int
    boot_id: str
    trace: PowerTrace | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """What device `uuid` counted between two log entries, in millijoules, and what idling explains of it.

    `allowance_mj` is the doubt of `explained_mj` and the stated budget.
    """

    uuid: str
    before: int
    after: int
    counted_mj: int
    explained_mj: Fraction
    allowance_mj: Fraction

    @property
    def unexplained_mj(self) -> Fraction:
        """What is left over; 0 where idling explains it."""
        left = self.counted_mj - self.explained_mj
        return left if left > self.allowance_mj else Fraction(0)

    @property
    def open(self) -> bool:
        """Whether something is left unexplained: energy, or a counter that restarted."""
        return self.counted_mj < 0 or self.unexplained_mj > 0

    def to_text(self) -> str:
        """Return one line for people."""
        if self.counted_mj < 0:
            return f"the counter of {self.uuid} restarted between entries {self.before} and {self.after}"
        watt_hours = decimal_string(self.unexplained_mj / _MJ_PER_WH, _DECIMALS)
        return f"{watt_hours} Wh unexplained between entries {self.before} and {self.after}, on {self.uuid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """Where a record leaves a device: its outcome's entry, the boot, the last reading, and how it idled."""

    entry: int
    boot_id: str
    at_ns: int
    counted_mj: int
    idle: tuple[Fraction, ...]
    update_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counter:
    """What one counter showed in a record: its first and last (time, millijoules), and how its device idled."""

    first: tuple[int, int]
    last: tuple[int, int]
    idle: tuple[Fraction, ...]
    update_ns: int


def gaps(sessions: Sequence[RecordedSession]) -> tuple[Gap, ...]:
    """Return one gap for every two neighbouring records of a device in one boot; `sessions` are in log order."""
    ends: dict[str, _End] = {}
    found: list[Gap] = []
    for session in sessions:
        for uuid, counter in _counters(session.trace):
            (first_ns, first_mj), (last_ns, last_mj) = counter.first, counter.last
            before = ends.get(uuid)
            if before is not None and before.boot_id == session.boot_id and first_ns >= before.at_ns:
                found.append(_gap(uuid, before, (session.intent, first_ns, first_mj), counter.idle, counter.update_ns))
            ends[uuid] = _End(
                entry=session.outcome,
                boot_id=session.boot_id,
                at_ns=last_ns,
                counted_mj=last_mj,
                idle=counter.idle,
                update_ns=counter.update_ns,
            )
    return tuple(found)


def _gap(uuid: str, before: _End, start: tuple[int, int, int], idle: tuple[Fraction, ...], update_ns: int) -> Gap:
    entry, at_ns, counted_mj = start
    powers = (*before.idle, *idle)
    power = median(powers) if powers else Fraction(0)  # mJ a nanosecond; without an idle window nothing is explained
    explained = power * (at_ns - before.at_ns)
    edges = power * (before.update_ns + update_ns)
    return Gap(
        uuid=uuid,
        before=before.entry,
        after=entry,
        counted_mj=counted_mj - before.counted_mj,
        explained_mj=explained,
        allowance_mj=DRIFT * explained + edges + BUDGET_MJ,
    )


def _counters(trace: PowerTrace | None) -> Iterator[tuple[str, _Counter]]:
    """Yield every device of a record by its UUID, with what its counter showed."""
    if trace is None or "gpu" not in trace.sources:
        return
    prefixes = trace.sources["gpu"].devices
    for prefix, device in zip(prefixes, device_facts(trace.host, prefixes), strict=True):
        column = trace.fast.column(f"{prefix}.{GPU_ENERGY}") or ()
        first = _reading(trace.fast.times, column, range(len(column)))
        last = _reading(trace.fast.times, column, range(len(column) - 1, -1, -1))
        if first is not None and last is not None:
            idle, update_ns = _idling(trace, column)
            yield device.uuid, _Counter(first=first, last=last, idle=idle, update_ns=update_ns)


def _reading(times: Sequence[int], column: Sequence[int | None], order: Iterable[int]) -> tuple[int, int] | None:
    """Return the first (time, millijoules) in this order at which something was read."""
    return next(((times[row], value) for row in order if (value := column[row]) is not None), None)


def _idling(trace: PowerTrace, column: Sequence[int | None]) -> tuple[tuple[Fraction, ...], int]:
    """Return the mean power of every idle window, in millijoules a nanosecond, and the longest time between ticks."""
    powers: list[Fraction] = []
    longest = 0
    for window in trace.windows:
        if not window.name.startswith(IDLE_PREFIX):
            continue
        ticks = _ticks(trace.fast, column, window)
        longest = max([longest, *(after[0] - before[0] for before, after in pairwise(ticks))])
        if len(ticks) >= _FEWEST_TICKS:
            (start, low), (end, high) = ticks[0], ticks[-1]
            powers.append(Fraction(max(high - low, 0), end - start))
    return tuple(powers), longest


def _ticks(table: Table, column: Sequence[int | None], window: Window) -> list[tuple[int, int]]:
    """Return the readings inside a window at which the counter had moved."""
    rows = table.between(window.open_ns, window.close_ns)
    inside = [(at, value) for at, value in zip(table.times[rows], column[rows], strict=True) if value is not None]
    return [now for before, now in pairwise(inside) if now[1] != before[1]]
