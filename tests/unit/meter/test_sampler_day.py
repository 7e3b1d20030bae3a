"""A day of samples in virtual time: the real sampler, its clock driven by the test, its record counted and not kept."""

from __future__ import annotations

import hashlib
import tracemalloc
from types import SimpleNamespace

import pytest

from orchestrator.meter import sampler as module
from orchestrator.meter.sampler import Sampler, Slot
from protocol.methodology.trace import CPU_TIME, GENESIS
from protocol.units import NS_PER_S

DAY_S = 86_400
FAST = ("gpu0.energy_mj", "gpu0.power_average_mw", "gpu0.power_instant_mw")
SLOW = tuple(
    f"gpu0.{name}" for name in ("sm_clock_mhz", "clock_reasons", "temperature_c", "memory_used_bytes", "utilization")
)


class Clock(SimpleNamespace):
    """Time as the sampler's module sees it; it passes only while somebody sleeps."""

    now = 10**15
    CLOCK_BOOTTIME = 7

    def monotonic_ns(self) -> int:
        self.now += 20_000
        return self.now

    time_ns = monotonic_ns

    def process_time_ns(self) -> int:
        return 1

    def clock_gettime_ns(self, _which: int) -> int:
        return self.now

    def select(self, _readers, _writers, _errors, timeout: float):
        self.now += int(timeout * NS_PER_S) + 1
        return [], [], []


class Sink:
    """A file that counts: the record's bytes, and the chain that anybody would compute of them."""

    def __init__(self) -> None:
        self.size = 0
        self.chain = GENESIS
        self.last = b""

    def write(self, line: bytes) -> int:
        self.size += len(line)
        self.chain, self.last = hashlib.sha256(self.chain + line).digest(), line
        return len(line)

    def flush(self) -> None:
        """Nothing waits."""


class Busy:
    """An accelerator and a sandbox with large figures, so that the record is as long as it gets."""

    def __init__(self, clock: Clock, columns: tuple[str, ...], host_columns: tuple[str, ...]) -> None:
        self.clock, self.name, self.columns, self.host_columns = clock, "busy", columns, host_columns

    def read(self) -> list[int]:
        return [self.clock.now // 1_000 for _ in self.columns]

    def read_host(self) -> list[int]:
        return [self.clock.now // 10**6 for _ in self.host_columns]


def run(monkeypatch: pytest.MonkeyPatch, seconds: int) -> tuple[Sink, int]:
    """Sample for so long; returns the record, and by how much the sampler grew over the second half."""
    clock, sink = Clock(), Sink()
    parts = [Busy(clock, (CPU_TIME,), ("sandbox.memory_bytes", "host.busy_ticks")), Busy(clock, FAST, SLOW)]
    slots = [Slot(part, part.columns, part.host_columns) for part in parts]
    monkeypatch.setattr(module, "_open_instruments", lambda _config: (slots, {}, {}))
    monkeypatch.setattr(module, "_hurry", lambda: "ordinary")
    monkeypatch.setattr(module, "_say", lambda _reply: None)
    monkeypatch.setattr(module, "_beat", lambda _at: None)
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "select", clock)
    found = Sampler(sink, {"period_ns": NS_PER_S // 10, "host_period_ns": NS_PER_S, "proc": "/proc"})
    half, end, held = clock.now + seconds * NS_PER_S // 2, clock.now + seconds * NS_PER_S, []

    def select(readers, writers, errors, timeout: float):
        if clock.now >= half and not held:
            held.append(tracemalloc.get_traced_memory()[0])
        if clock.now >= end:
            found._status = "closed"
        return Clock.select(clock, readers, writers, errors, timeout)

    clock.__dict__["select"] = select
    tracemalloc.start()
    found.run()
    held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert found._chain == sink.chain
    assert found._misses == 0
    return sink, held[1] - held[0]


def test_ten_minutes_of_samples_promise_a_day_within_its_bounds(monkeypatch) -> None:
    sink, grown = run(monkeypatch, 600)
    assert sink.size * DAY_S / 600 <= 200e6
    assert grown < 20_000


@pytest.mark.slow
def test_a_day_of_samples_is_within_200_megabytes_and_takes_no_more_memory_than_half_a_day(monkeypatch) -> None:
    sink, grown = run(monkeypatch, DAY_S)
    assert 50e6 < sink.size <= 200e6
    assert grown < 20_000
