"""Jouleseal: the sampler, the gate and the account of `jouleseal meter`, a sampler of its own for each window.

The idle before a window is settled and armed some time ahead, because here the window opens when the plan says so and
not when the meter is ready. A window that breaks a rule has no joules, but the rule's code.
"""

import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

from common import Tool, serve, sleep_until

from orchestrator.meter import gating
from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig
from protocol.errors import JoulesealError
from protocol.methodology import gated
from protocol.methodology.gated_session import account_device
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.methodology.validity import validate

UUID = "GPU-57a2d111-0000-4000-8000-000000000001"
ARM_NS = 1_500_000_000  # before the opening: two hunts, a second apart, and what they may take
US, MS = 1e3, 1e6


class Ours(Tool):
    """A session per window: idle-0 (settle, arm), run-1, idle-1 (hold)."""

    prepare_ns = 5_000_000_000

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.sampler: Sampler | None = None
        self.trace: PowerTrace | None = None

    def prepare(self, open_ns: int) -> None:
        """Start the sampler, settle and arm."""
        if self.sampler is not None:
            self.sampler.kill()
        self.trace = None
        self.record = Path(self.folder.name) / str(open_ns)
        self.sampler = Sampler.start(self.record, SamplerConfig(devices=(UUID,)))
        started = time.monotonic_ns()
        self.sampler.open_window("idle-0")
        gating.settle(self.sampler)
        self.quiet_ns = time.monotonic_ns() - started
        sleep_until(open_ns - ARM_NS)
        started = time.monotonic_ns()
        gating.arm(self.sampler)
        self.quiet_ns += time.monotonic_ns() - started

    def begin(self, _name: str) -> None:
        """Open the window."""
        self.sampler.close_window()
        self.open_ns = self.sampler.open_window("run-1")

    def end(self, _name: str) -> dict[str, Any]:
        """Close the window, hold, and account for it."""
        started = time.monotonic_ns()
        closed = self.sampler.close_window()
        close_call = time.monotonic_ns() - started
        self.sampler.open_window("idle-1")
        gating.hold(self.sampler, closed)
        self.sampler.close_window()
        self.sampler.stop()
        marks = {"open_ns": self.open_ns, "close_ns": closed, "quiet_ns": self.quiet_ns, "close_call_ns": close_call}
        self.trace = parse_trace(self.record.read_bytes())
        self.record.unlink()
        try:
            return marks | judged(self.trace)
        except JoulesealError as error:
            return marks | {"joules": None, "void": error.code, "words": str(error.observed)[:300]}

    def late_ms(self) -> list[float] | None:
        """Return how late each sample of the default cadence was; marks and hunts lie off it."""
        if self.trace is None:
            return None
        origin, period = self.trace.origin_ns, self.trace.period_ns
        window = self.trace.window("run-1")
        first = -(-(window.open_ns - origin) // period)
        late, times = [], self.trace.fast.times
        for tick in range(first, (window.close_ns - origin) // period):
            due = origin + tick * period
            late.append(min((at - due for at in times if at >= due), default=period) / MS)
        return late


def judged(trace: PowerTrace) -> dict[str, Any]:
    """Return the joules of a valid record with its doubt, or the first broken rule's code."""
    validate(trace)
    gate = gated.gate(trace, *(trace.window(name) for name in ("run-1", "idle-0", "idle-1")))
    readings = []
    for device in trace.sources["gpu"].devices:
        reading, broken = account_device(trace, device, gate)
        if broken or reading is None:
            return {"joules": None, "void": broken[0].code, "words": broken[0].observed}
        readings.append(reading)
    doubt = sum((reading.uncertainty.expanded(gain=False) for reading in readings), Fraction(0))
    return {
        "joules": float(sum(reading.joules for reading in readings)),
        "uncertainty": float(doubt),
        "method": readings[0].method,
        "edges_us": [
            edge for reading in readings if reading.counter is not None for edge in _edges(reading.counter, gate)
        ],
        "flags": [flag for reading in readings for flag in reading.flags],
    }


def _edges(found: gated.Bracket, gate: gated.Gate) -> list[float]:
    """Return what the figure stands on: each tick's half width and distance, and the idle slope's bound over both."""
    before, after = gate.window.open_ns - found.start.at, found.end.at - gate.window.close_ns
    bound = (before + after) * found.idle.bound / found.idle.watts if found.idle.watts else Fraction(0)
    return [round(float(ns) / US, 1) for ns in (found.start.half, before, found.end.half, after, bound)]


if __name__ == "__main__":
    serve(Ours)
