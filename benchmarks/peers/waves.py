"""What the stand-in device is scripted to do, and the exact energy of it: the truth that every tool is held to.

A wave is idle but for its pulses, or constant for ever. Instants are CLOCK_MONOTONIC nanoseconds, whole microseconds
after the wave's start, because the stand-in counts in those. Power is in milliwatts, as in the script; energy is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from protocol.units import NS_PER_MS

MW_NS_PER_J: Final = 10**12

Pulse = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """The power of a device.

    `inside` is what it does in a pulse: "constant" (high), "square" (high, then `mid_mw`, each half a period, counted
    from `start_ns`), "ramp" (from `mid_mw` at the pulse's begin to high at its end), or "always" (high, pulse or not).
    For `trickle_ns` after a pulse it takes `trickle_mw` more than idle.
    """

    start_ns: int = 0
    inside: str = "constant"
    low_mw: int = 70_000
    mid_mw: int = 100_000
    high_mw: int = 650_000
    period_ns: int = 1_000 * NS_PER_MS
    trickle_mw: int = 0
    trickle_ns: int = 0

    def facts(self) -> dict[str, object]:
        """Return the script's lines that describe the wave, without its pulses."""
        common: dict[str, object] = {"start_ns": self.start_ns, "high_mw": self.high_mw}
        if self.inside == "always":
            return {**common, "wave": "constant"}
        return {
            **common,
            "wave": "pulse",
            "inside": self.inside,
            "low_mw": self.low_mw,
            "mid_mw": self.mid_mw,
            "period_ms": self.period_ns // NS_PER_MS,
            "trickle_mw": self.trickle_mw,
            "trickle_ms": self.trickle_ns // NS_PER_MS,
        }

    def joules(self, pulses: Sequence[Pulse], start_ns: int, end_ns: int) -> Fraction:
        """Return the energy between two instants, given the pulses in order."""
        if self.inside == "always":
            return Fraction(self.high_mw * (end_ns - start_ns), MW_NS_PER_J)
        area = Fraction(self.low_mw * (end_ns - start_ns))
        for begin, end in pulses:
            since, until = _clip(start_ns, begin, end), _clip(end_ns, begin, end)
            area += self._worked(until, begin, end) - self._worked(since, begin, end) - self.low_mw * (until - since)
            trickled = _clip(end_ns, end, end + self.trickle_ns) - _clip(start_ns, end, end + self.trickle_ns)
            area += self.trickle_mw * trickled
        return area / MW_NS_PER_J

    def _worked(self, at: int, begin: int, end: int) -> Fraction:
        """Return what a pulse took from its begin until `at`, in mW ns."""
        since = at - begin
        if self.inside == "square":
            return Fraction(self._squared(at) - self._squared(begin))
        if self.inside == "ramp":
            return self.mid_mw * since + Fraction((self.high_mw - self.mid_mw) * since * since, 2 * (end - begin))
        return Fraction(self.high_mw * since)

    def _squared(self, at: int) -> int:
        whole, rest = divmod(at - self.start_ns, self.period_ns)
        half = self.period_ns // 2
        high = whole * half + min(rest, half)
        return high * self.high_mw + (at - self.start_ns - high) * self.mid_mw


def _clip(at: int, begin: int, end: int) -> int:
    return min(max(at, begin), end)
