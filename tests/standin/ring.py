"""The file through which activity becomes the power of the stand-in device, and by which its truth is known.

Entries of 16 bytes, appended: an instant of CLOCK_MONOTONIC in nanoseconds and the energy until then in microjoules,
two native 64-bit integers. Between two entries the power is level; that is a definition, so the file is the truth.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

ENTRY = struct.Struct("=qq")
MICRO = 1_000_000


def read(ring: Path) -> list[tuple[int, int]]:
    """Return every whole entry."""
    data = ring.read_bytes()
    return list(ENTRY.iter_unpack(data[: len(data) // ENTRY.size * ENTRY.size]))


def energy(entries: Sequence[tuple[int, int]], t_ns: int) -> Fraction:
    """Return the microjoules until an instant; raises ValueError for one outside the file."""
    if not entries or not entries[0][0] <= t_ns <= entries[-1][0]:
        raise ValueError(f"the ring says nothing of the instant {t_ns}")
    after = min(bisect_right(entries, t_ns, key=lambda entry: entry[0]), len(entries) - 1)
    (begin, low), (end, high) = entries[after - 1], entries[after]
    return low + Fraction((high - low) * (t_ns - begin), end - begin)


def truth_joules(ring: Path, open_ns: int, close_ns: int) -> Fraction:
    """Return what the device truly took between two instants of CLOCK_MONOTONIC."""
    entries = read(ring)
    return (energy(entries, close_ns) - energy(entries, open_ns)) / MICRO


def truth_bounds(ring: Path, open_ns: int, close_ns: int, idle_mw: int, slack_ns: int = 0) -> tuple[Fraction, Fraction]:
    """Return the least and the most joules that may be charged to two instants: idle throughout, and the work above it.

    The file does not say when between two entries the work was done: the entries just inside the instants and those
    just outside bound it. With slack, what is above idle up to so long before and after may be charged too, or not.
    """
    entries = read(ring)
    energy(entries, open_ns - slack_ns), energy(entries, close_ns + slack_ns)
    work = [Fraction(microjoules, MICRO) - Fraction(idle_mw * t, 10**12) for t, microjoules in entries]
    times = [t for t, _ in entries]
    before = work[bisect_right(times, open_ns - slack_ns) - 1 : bisect_left(times, open_ns) + 1]
    after = work[bisect_right(times, close_ns) - 1 : bisect_left(times, close_ns + slack_ns) + 1]
    idle = Fraction(idle_mw * (close_ns - open_ns), 10**12)
    return idle + min(after) - max(before), idle + max(after) - min(before)
