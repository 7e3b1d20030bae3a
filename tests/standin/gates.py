"""Gated windows of an accelerator in virtual time: power is given, its energy exact, every reading follows from it.

The instants of the readings are those of the sampler: absolute deadlines, marks, and the hunts of
`orchestrator.meter.edges` at both edges, each late by as much as the world says.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from orchestrator.meter.edges import TickHunt
from protocol.methodology.gated import Gate, Series
from protocol.methodology.trace import Window

US = 1_000
MS = 1_000_000
S = 1_000_000_000


class Power:
    """Straight pieces between corners (ns, mW); steps are two corners of one instant. Energy is exact, in mW ns."""

    def __init__(self, corners: Sequence[tuple[int, int]]) -> None:
        self.corners = list(corners)
        self.areas = [Fraction(0)]
        for (s, a), (t, b) in zip(self.corners, self.corners[1:], strict=False):
            self.areas.append(self.areas[-1] + Fraction((a + b) * (t - s), 2))

    def energy(self, t: int) -> Fraction:
        first, power = self.corners[0]
        if t <= first:
            return Fraction((t - first) * power)
        for i in range(1, len(self.corners)):
            (s, a), (e, b) = self.corners[i - 1], self.corners[i]
            if t <= e and e > s:
                here = a + Fraction((b - a) * (t - s), e - s)
                return self.areas[i - 1] + (a + here) * (t - s) / 2
        last, power = self.corners[-1]
        return self.areas[-1] + (t - last) * power

    def joules(self, start: int, end: int) -> Fraction:
        return (self.energy(end) - self.energy(start)) / 10**12


def constant(mw: int) -> Power:
    return Power([(0, mw)])


def idle_work_idle(start: int, end: int, idle: int, work: int, tail: Sequence[tuple[int, int]] = ()) -> Power:
    return Power([(0, idle), (start, idle), (start, work), (end, work), (end, idle), *tail])


def square(start: int, end: int, idle: int, high: int, period: int) -> Power:
    corners = [(0, idle), (start, idle)]
    for begin in range(start, end, period):
        middle, close = min(begin + period // 2, end), min(begin + period, end)
        corners += [(begin, high), (middle, high), (middle, idle), (close, idle)]
    return Power(corners)


@dataclass(kw_only=True)
class World:
    """A device and a session: settling to `open_ns`, work, the mark at `close_ns`, a hold."""

    power: Power
    open_ns: int
    close_ns: int
    update: int = 100 * MS
    phase: int = 0
    origin: int = 0
    period: int = 100 * MS
    settle: int = 3 * S
    hold: int = 2_500 * MS
    mean_update: int = 1
    gain: Fraction = Fraction(1)
    counter: bool = True
    mean: bool = True
    dither: int = 0  # mW by which the mean's last digit flickers, as a sensor's does
    late: Callable[[], int] = lambda: 200 * US
    seen: Callable[[int, int], int] = lambda t, mj: mj
    rows: dict[int, tuple[int, int]] = field(default_factory=dict)

    def counted(self, t: int) -> int:
        tick = (t - self.phase) // self.update * self.update + self.phase
        return self.seen(t, int(self.gain * self.power.energy(tick) / 10**9) + 7_000_000)

    def averaged(self, t: int) -> int:
        at = (t - self.phase // 3) // self.mean_update * self.mean_update + self.phase // 3
        return int((self.power.energy(at) - self.power.energy(at - S)) / S) + t // (100 * MS) % 2 * self.dither

    def read(self, t: int) -> int:
        """Read at t: the counter a little after the reading began; returns when it ended."""
        span = 60 * US
        self.rows[t] = (self.counted(t + span // 2), self.averaged(t + span // 2))
        return t + span

    def hunt(self, start: int, periods: Sequence[int | None] = (None,)) -> TickHunt:
        found = TickHunt(start, periods)
        t = start
        while True:
            end = self.read(t)
            found.see(t, end, [self.rows[t][0]])
            if found.done:
                return found
            t = max(found.due_ns, end) + self.late()

    def series(self) -> Series:
        begin, end = self.open_ns - self.settle, self.close_ns + self.hold
        first = begin - (begin - self.origin) % self.period
        for t in range(first - self.period, end + 2 * self.period, self.period):
            self.read(t + self.late())
        for mark in (begin, self.open_ns, self.close_ns, end):
            self.read(mark)
        periods = self.hunt(self.open_ns - 1_600 * MS).periods
        for start in (self.open_ns - 300 * MS, self.close_ns, self.close_ns + 2 * S):
            self.hunt(start, periods)
        times = sorted(self.rows)
        return Series(
            name="gpu0",
            times=times,
            spans=[60 * US] * len(times),
            energy_mj=[self.rows[t][0] for t in times] if self.counter else None,
            mean_mw=[self.rows[t][1] for t in times] if self.mean else None,
        )

    def gate(self) -> Gate:
        window = Window(name="run-1", open_ns=self.open_ns, close_ns=self.close_ns)
        return Gate(window=window, from_ns=self.open_ns - self.settle, until_ns=self.close_ns + self.hold)

    def truth(self) -> Fraction:
        return self.power.joules(self.open_ns, self.close_ns)


def random_world(rng: random.Random, make: Callable[[int, int], Power], seconds: float, **facts) -> World:
    """A session at a random moment of the device's and of the sampler's time."""
    open_ns = 100 * S + rng.randrange(S)
    close_ns = open_ns + int(seconds * S) + rng.randrange(100 * MS)
    update = facts.setdefault("update", 100 * MS)
    facts.setdefault("late", lambda: rng.randrange(50 * US, 400 * US))
    return World(
        power=make(open_ns, close_ns),
        open_ns=open_ns,
        close_ns=close_ns,
        phase=rng.randrange(update),
        origin=rng.randrange(100 * MS),
        **facts,
    )
