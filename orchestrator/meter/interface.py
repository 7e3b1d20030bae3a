"""What a meter is to the rest of the house, and what an instrument is to the sampler.

Meter: one record a session. `start` it before the sandbox exists, `attach` the sandbox once it runs, mark windows one
after another, `stop` it after the sandbox is gone. Marks are CLOCK_MONOTONIC nanoseconds of the host. Whoever holds the
meter never touches a sample: it hands over a record and the digest of its chain. Two kinds: `client.Sampler` (a process
that reads the instruments) and `replay.Replay` (plays a record back).

Instrument: something that the sampler reads. It declares its columns once and for all, reads them quickly, answers None
for what this device does not have, and raises MeterUnavailable when it is lost. It is then never read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from protocol.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction

    from protocol.methodology.energy import NotApplicable, Unmeasured

DEFAULT_PERIOD_NS = 100 * NS_PER_MS  # ten times faster costs ten times the CPU and gains no accuracy
DEFAULT_HOST_PERIOD_NS = NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxTarget:
    """The sandbox to meter. `cgroup_dirs`: cpuacct, memory, blkio, pids (v1) and unified (v2), whichever exist.

    `cpus_milli` is its allotment in thousandths of a CPU; None means the whole node.
    """

    container_id: str
    init_pid: int
    cgroup_dirs: Mapping[str, Path]
    cpus_milli: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """How a sampler samples. `devices` are the leased accelerators' UUIDs; none means that none is leased."""

    devices: tuple[str, ...] = ()
    period_ns: int = DEFAULT_PERIOD_NS
    host_period_ns: int = DEFAULT_HOST_PERIOD_NS
    powercap: Path = field(default=Path("/sys/class/powercap"))
    proc: Path = field(default=Path("/proc"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """A channel's power now, in watts; `kind` is measured or estimated."""

    watts: Fraction
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveReading:
    """What a screen may show while a session runs: never evidence. `window` is the one that is open, if one is."""

    at_ns: int
    channels: Mapping[str, Power | Unmeasured | NotApplicable]
    window: str | None
    misses: int

    @property
    def watts(self) -> Fraction | None:
        """The sum over the channels that have a power; None where none has."""
        known = [power.watts for power in self.channels.values() if isinstance(power, Power)]
        return sum(known[1:], known[0]) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceDigest:
    """A finished record: where it lies, and the hex digest of its chain."""

    path: Path
    digest: str


class Meter(Protocol):
    """One session's meter; see the module for the order of its calls. All raise MeterUnavailable when it is gone."""

    def attach(self, target: SandboxTarget) -> None:
        """Begin to read the sandbox's own cgroup."""

    def open_window(self, name: str) -> int:
        """Mark a window's start and return the mark; every cumulative counter is read at the mark."""

    def close_window(self) -> int:
        """Mark the open window's end and return the mark; every cumulative counter is read at the mark."""

    def latest(self) -> LiveReading:
        """Return the power of the last second."""

    def stop(self) -> TraceDigest:
        """End the record, flush it to the disk, and return its digest."""


class Instrument(Protocol):
    """Something the sampler reads: `columns` at every sample, `host_columns` once a second and at every mark."""

    @property
    def name(self) -> str:
        """The instrument's name in failure rows."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of every sample."""

    @property
    def host_columns(self) -> tuple[str, ...]:
        """The columns of host samples."""

    def read(self) -> Sequence[int | None]:
        """Read `columns`; raises MeterUnavailable when the instrument is lost."""

    def read_host(self) -> Sequence[int | None]:
        """Read `host_columns`; raises MeterUnavailable when the instrument is lost."""

    def close(self) -> None:
        """Let go of what is held open."""
