"""When to read around a window's edges, so that a counter's ticks are located: pure, it says instants and never waits.

Rules
1. A device is read every 4.5 ms until a tick was seen and its period is known (from the last two ticks, or from an
   earlier hunt). From then on the next tick is foreseen, and is read for every 0.4 ms from 6 ms before to 6 ms after.
   So a tick is known to 0.3 ms at the cost of some thirty reads.
2. A hunt ends when each device has shown the wanted ticks, one of them known to 0.75 ms, or has had its tries, or at
   its limit of 1 s. What was not found then is not made up: the account finds no ticks, and voids the window.
3. Polling is kept to the edges: ten times the reads throughout cost ten times the CPU and gain no accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.units import NS_PER_MS, NS_PER_S

COARSE_NS: Final = 4_500_000
FINE_NS: Final = 400_000
ZONE_NS: Final = 6 * NS_PER_MS
LIMIT_NS: Final = NS_PER_S
GOOD_NS: Final = 1_500_000  # the width below which a tick counts as well located: two fine steps and a late turn
WANTED: Final = 2  # the second tick can be foreseen where the period is known
WANTED_UNKNOWN: Final = 3
TRIES: Final = 5  # ticks after which a device has had its chances


class _Trail:
    """What one device's counter has shown in this hunt."""

    def __init__(self, period_ns: int | None) -> None:
        self.period_ns = period_ns
        self.ticks = 0
        self.sharp = False
        self._value: int | None = None
        self._read_ns = 0
        self._tick_ns: int | None = None

    def see(self, begun_ns: int, ended_ns: int, value: int | None) -> None:
        if self._value is not None and value is not None and value != self._value:
            at = (self._read_ns + ended_ns) // 2
            if self._tick_ns is not None:
                self.period_ns = at - self._tick_ns
            self._tick_ns = at
            self.ticks += 1
            self.sharp = self.sharp or ended_ns - self._read_ns <= GOOD_NS
        self._value, self._read_ns = value, begun_ns

    def done(self, wanted: int) -> bool:
        return (self.ticks >= wanted and self.sharp) or self.ticks >= TRIES

    def next_ns(self, now_ns: int) -> int:
        if self._tick_ns is None or self.period_ns is None:
            return now_ns + COARSE_NS
        foreseen = self._tick_ns + self.period_ns
        if now_ns < foreseen - ZONE_NS:
            return min(now_ns + COARSE_NS, foreseen - ZONE_NS)
        return now_ns + (FINE_NS if now_ns < foreseen + ZONE_NS else COARSE_NS)


class TickHunt:
    """One edge's burst over all leased devices; `periods` are their updates in ns as seen earlier, or None."""

    def __init__(self, started_ns: int, periods: Sequence[int | None]) -> None:
        self._until_ns = started_ns + LIMIT_NS
        self._wanted = WANTED_UNKNOWN if None in periods else WANTED
        self._trails = [_Trail(period) for period in periods]
        self._now_ns = started_ns

    def see(self, begun_ns: int, ended_ns: int, counters: Sequence[int | None]) -> None:
        """Take in one reading of every device's counter."""
        self._now_ns = begun_ns
        for trail, value in zip(self._trails, counters, strict=True):
            trail.see(begun_ns, ended_ns, value)

    @property
    def done(self) -> bool:
        """Whether nothing more is to be read."""
        return self._now_ns >= self._until_ns or all(trail.done(self._wanted) for trail in self._trails)

    @property
    def due_ns(self) -> int:
        """When to read next."""
        return min(trail.next_ns(self._now_ns) for trail in self._trails if not trail.done(self._wanted))

    @property
    def periods(self) -> list[int | None]:
        """Each device's update period, in nanoseconds, as far as it is known now."""
        return [trail.period_ns for trail in self._trails]

    @property
    def ticks(self) -> list[int]:
        """How many ticks each device has shown."""
        return [trail.ticks for trail in self._trails]
