"""A stand-in device that lives while something is measured on it: library, script, and the daemon that feels work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from tests.standin.accelerator import CONTROL, UUIDS, Device, build
from tests.standin.ring import truth_joules

REPOSITORY = Path(__file__).resolve().parents[2]
# Round numbers of a large accelerator: at rest in the tens of watts, some hundreds at work. They are nobody's device.
IDLE_W = 70
WATTS_PER_CPU = 280
TICK_MS = 100
PERIOD_MS = 10
END_S = 5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The device: ticks of its counter in ms, watts at rest and for each busy CPU, how often it feels activity."""

    devices: int = 1
    tick_ms: int = TICK_MS
    idle_w: int = IDLE_W
    watts_per_cpu: int = WATTS_PER_CPU
    period_ms: int = PERIOD_MS
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The running device: what a command needs in its environment, and the truth about what the device took."""

    device: Device
    ring: Path
    library: Path
    uuids: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.library), CONTROL: str(self.device.script)}

    def truth(self, open_ns: int, close_ns: int) -> Fraction:
        """The joules between two instants of CLOCK_MONOTONIC."""
        return truth_joules(self.ring, open_ns, close_ns)


@contextlib.contextmanager
def simulation(folder: Path, settings: Settings) -> Iterator[Simulation]:
    """Build the library in a folder, start the daemon, and end it whatever happens; what it wrote is left there."""
    library = folder / "library"
    library.mkdir()
    build(library)
    ring = folder / "ring"
    with _daemon(ring, settings) as start_ns:
        device = Device(
            folder / "device.txt",
            **{
                "start_ns": start_ns,
                "devices": settings.devices,
                "wave": "activity",
                "ring": ring,
                "pids": f"{ring}.pids",
                "tick_ms": settings.tick_ms,
                "low_mw": settings.idle_w * 1_000,
                "high_mw": (settings.idle_w + settings.watts_per_cpu) * 1_000,
                "dither_mw": 1,  # the last digit of a sensor is never still
                **settings.more,
            },
        )
        yield Simulation(device=device, ring=ring, library=library, uuids=UUIDS[: settings.devices])


@contextlib.contextmanager
def _daemon(ring: Path, settings: Settings) -> Iterator[int]:
    """Yield the instant at which it began. It ends with its standard input, and so with us however we end."""
    numbers = (settings.idle_w * 1_000, settings.watts_per_cpu * 1_000, settings.period_ms)
    command = [sys.executable, "-m", "tests.standin.activity", str(ring), *map(str, numbers)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        if not said:
            raise SystemExit("the stand-in's activity daemon did not start")
        yield int(said)
    finally:
        process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def run(command: list[str], simulated: Simulation) -> int:
    """Run a command on the device; returns its status as a shell has it. SIGTERM is handed on, Ctrl-C is its own."""
    child = subprocess.Popen(command, env={**os.environ, **simulated.environment})
    signal.signal(signal.SIGTERM, lambda _number, _frame: child.terminate())
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    status = child.wait()
    return status if status >= 0 else 128 - status
