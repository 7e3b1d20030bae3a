"""Meter records made in virtual time: a world is a function of time per column, and nothing sleeps.

The rows are those that the sampler would write of such a world, in its order and with its chain, so that the pure code
meets the same bytes that it meets in service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from protocol.methodology import trace as record
from protocol.methodology.host_models import CPU_MODEL, DRAM_MODEL

MS = 1_000_000
S = 1_000_000_000
Signal = Callable[[int], int | None]


def source(kind, reason="", model="", counters=(), devices=()):
    return {"kind": kind, "reason": reason, "model": model, "counters": list(counters), "devices": list(devices)}


def cpu_sources():
    """What a host without accelerator and without RAPL stands on."""
    return {
        "gpu": source("none", "no accelerator leased"),
        "cpu": source("model", "no RAPL", CPU_MODEL),
        "dram": source("model", "no RAPL", DRAM_MODEL),
        "network": source("none", "the sealed sandbox has no network"),
        "storage": source("unread", "nothing reads it"),
    }


def steady_world():
    """A sandbox that uses half a CPU and 1 GB for ever."""
    return {
        record.CPU_TIME: lambda t: t // 2,
        record.MEMORY: lambda t: 10**9,
        record.MEMORY_PEAK: lambda t: 10**9,
        record.BLOCK_IO: lambda t: t // 1000,
        record.PIDS: lambda t: 3,
        record.HOST_BUSY: lambda t: t // (10 * MS) // 2,
    }


FAST = (record.CPU_TIME,)
SLOW = (record.MEMORY, record.MEMORY_PEAK, record.BLOCK_IO, record.PIDS, record.HOST_BUSY)


@dataclass(kw_only=True)
class Scene:
    """One record to be: the world, the windows in order as (name, open, close) in ns, and what goes wrong."""

    world: Mapping[str, Signal] = field(default_factory=steady_world)
    windows: Sequence[tuple[str, int, int]] = (("idle-0", S, 3 * S), ("run-1", 4 * S, 6 * S), ("idle-1", 7 * S, 9 * S))
    sources: Mapping[str, object] = field(default_factory=cpu_sources)
    host: Mapping[str, str] = field(default_factory=dict)
    fast: Sequence[str] = FAST
    slow: Sequence[str] = SLOW
    cpus: int = 2
    cpus_milli: int | None = 1000
    period: int = 100 * MS
    host_period: int = S
    origin: int = 5_000 * S
    status: str = "closed"
    misses: int = 0
    skip: Callable[[int], bool] = lambda t: False
    failures: Sequence[tuple[int, str, str, str]] = ()
    realtime_step: int = 0
    asleep: int = 0
    tail: int = S

    def data(self) -> bytes:
        """Write the whole record."""
        return _Writer(self).write()

    def trace(self) -> record.PowerTrace:
        return record.parse_trace(self.data())


class _Writer:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.chain = record.GENESIS
        self.out: list[bytes] = []
        self.samples = 0

    def line(self, row) -> None:
        line = record.encode_line(row)
        self.chain = record.advance(self.chain, line)
        self.out.append(line)

    def sample(self, t: int, *, host: bool) -> None:
        read = self.scene.world
        self.line(["s", t, 1000, *(read[name](t) for name in self.scene.fast)])
        self.samples += 1
        if host:
            self.line(["h", t, 2000, *(read[name](t) for name in self.scene.slow)])
            self.line(["k", self.chain.hex()])

    def anchor(self, t: int, *, end: bool = False) -> dict[str, str]:
        scene = self.scene
        now = scene.origin + t
        return {
            "realtime_ns": str(1_700_000_000 * S + now + (scene.realtime_step + scene.asleep if end else 0)),
            "monotonic_ns": str(now),
            "boottime_ns": str(now + 7 + (scene.asleep if end else 0)),
        }

    def write(self) -> bytes:
        scene = self.scene
        self.line(
            {
                "format": record.TRACE_FORMAT,
                "origin_ns": str(scene.origin),
                "period_ns": scene.period,
                "host_period_ns": scene.host_period,
                "host_cpus": scene.cpus,
                "clock_ticks": 100,
                "host": {"cpu": "virtual", **scene.host},
                "sources": scene.sources,
                "columns": list(scene.fast),
                "host_columns": list(scene.slow),
                **self.anchor(0),
            }
        )
        end = max((close for _, _, close in scene.windows), default=0) + scene.tail
        marks = {t: (edge, name) for name, a, b in scene.windows for t, edge in ((a, "open"), (b, "close"))}
        assert len(marks) == 2 * len(scene.windows), "give windows distinct marks"
        instants = sorted({*range(0, end + 1, scene.period), *marks})
        failures = sorted(scene.failures)
        for t in instants:
            if t in marks or not scene.skip(t):
                self.sample(t, host=t in marks or t % scene.host_period == 0)
            while failures and failures[0][0] <= t:
                self.line(["e", t, *failures.pop(0)[1:]])
            if t == 0 and scene.cpus_milli is not None:
                self.line(["a", t, {"container": "c0ffee", "cpus_milli": scene.cpus_milli, "clock": "cpuacct.usage"}])
            if t in marks:
                self.line(["m", t, *marks[t]])
                self.line(["k", self.chain.hex()])
        counts = {"samples": self.samples, "misses": scene.misses, "own_cpu_ns": 1}
        self.line(["z", end, scene.status, {**self.anchor(end, end=True), **counts}])
        self.line(["k", self.chain.hex()])
        return b"".join(self.out)
