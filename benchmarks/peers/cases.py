"""What is measured: each wave with each update of the counter is a lane, a series of windows of three lengths.

Work lies inside the windows with idle around it, as in a gated run; constant power has no idle. The phase of everything
(counter, mean, square, sampling) is random against the windows, and their length is so by up to a tenth of a second.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.peers.waves import Pulse, Wave
from protocol.units import NS_PER_MS, NS_PER_S

TICKS_MS: Final = (100, 20)
PERIODS_MS: Final = (10, 20, 50, 100, 200, 500, 1000, 2000)
LENGTHS_S: Final = (2, 5, 20)
WINDOWS: Final = {2: 10, 5: 4, 20: 3}
QUICK: Final = {2: 2, 5: 1}
CONSTANT_MW: Final = 300_000
SQUARE_MW: Final = 600_000
START_AHEAD_NS: Final = 60 * NS_PER_S  # the wave begins before anybody looks, so that counter and mean are under way
FIRST_NS: Final = 6 * NS_PER_S
APART_NS: Final = 8 * NS_PER_S
SPREAD_NS: Final = NS_PER_S // 2
LENGTH_SPREAD_NS: Final = 100 * NS_PER_MS

SHAPES: Final = ("constant", "pulse", "ramp", *(f"square {period}" for period in PERIODS_MS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Lines of the script that change so long after the first window has opened."""

    after_ns: int
    facts: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One scripted device and the windows in which every tool measures it at once.

    `windows` are names and lengths in ns, `facts` more lines of the script, `beyond_ns` how long after a window the
    device still works; `charged_ns` how long what it takes above idle still belongs to the window's work.
    """

    name: str
    shape: str
    tick_ms: int
    wave: Wave
    windows: tuple[tuple[str, int], ...]
    facts: dict[str, object] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    beyond_ns: int = 0
    charged_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A lane with its instants: the script's start and each window's opening and close."""

    lane: Lane
    wave: Wave
    windows: tuple[tuple[str, int, int], ...]

    @property
    def pulses(self) -> list[Pulse]:
        """When the device works: in each window, and as far beyond it as the lane says."""
        return [(opens, closes + self.lane.beyond_ns) for _, opens, closes in self.windows]

    def truth(self, window: Pulse, start_ns: int, end_ns: int) -> float:
        """Return the joules between two instants around a window, and what of its work came after it."""
        joules = self.wave.joules(self.pulses, start_ns, end_ns)
        until = window[1] + self.lane.charged_ns
        if until > end_ns:
            idle = Wave(inside="always", high_mw=self.wave.low_mw).joules((), end_ns, until)
            joules += self.wave.joules(self.pulses, end_ns, until) - idle
        return float(joules)


def wave_of(shape: str) -> Wave:
    """Return the wave of a shape's name."""
    kind, _, period = shape.partition(" ")
    if kind == "constant":
        return Wave(inside="always", high_mw=CONSTANT_MW)
    if kind == "square":
        return Wave(inside="square", high_mw=SQUARE_MW, period_ns=int(period) * NS_PER_MS)
    return Wave(inside="ramp" if kind == "ramp" else "constant")


def lanes(counts: dict[int, int], seed: int, shapes: Sequence[str] = SHAPES) -> list[Lane]:
    """Return every lane, 100 ms counters first."""
    chance = random.Random(seed)
    return [_lane(shape, tick, counts, chance) for tick in TICKS_MS for shape in shapes]


def _lane(shape: str, tick_ms: int, counts: dict[int, int], chance: random.Random) -> Lane:
    seconds = [length for length, count in counts.items() for _ in range(count)]
    chance.shuffle(seconds)
    windows = [
        (f"{length} s, {number}", length * NS_PER_S + _micro(chance, LENGTH_SPREAD_NS))
        for number, length in enumerate(seconds)
    ]
    return Lane(
        name=f"{shape}, {tick_ms} ms", shape=shape, tick_ms=tick_ms, wave=wave_of(shape), windows=tuple(windows)
    )


def timed(lane: Lane, now_ns: int, chance: random.Random) -> Timed:
    """Lay a lane's windows out from now on."""
    start = (now_ns - START_AHEAD_NS) // 1_000 * 1_000 - _micro(chance, NS_PER_S)
    at = now_ns // 1_000 * 1_000 + FIRST_NS
    windows = []
    for name, length in lane.windows:
        opens = at + _micro(chance, SPREAD_NS)
        windows.append((name, opens, opens + length))
        at = opens + length + APART_NS
    described = {name: getattr(lane.wave, name) for name in Wave.__dataclass_fields__} | {"start_ns": start}
    return Timed(lane=lane, wave=Wave(**described), windows=tuple(windows))


def _micro(chance: random.Random, below_ns: int) -> int:
    return chance.randrange(below_ns // 1_000) * 1_000
