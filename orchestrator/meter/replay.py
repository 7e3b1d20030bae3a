"""A meter that plays a record back: the stand-in for hosts and tests without the instruments that made it.

Its clock is the record's own. Windows must be asked for in the order and by the names of the record; their marks are
the recorded ones, and stopping hands over a byte-exact copy. So whatever is computed from a replayed session is what
was computed from the session that was recorded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from orchestrator.meter.interface import LiveReading, Power, SandboxTarget, TraceDigest
from protocol.errors import MeterUnavailable
from protocol.methodology.energy import Carried, NotApplicable, Unmeasured, read_channel
from protocol.methodology.trace import parse_trace
from protocol.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.methodology.trace import PowerTrace


class Replay:
    """Plays `trace` back; see `interface.Meter`."""

    def __init__(self, data: bytes, trace: PowerTrace, record_path: Path) -> None:
        self._data = data
        self._trace = trace
        self._path = record_path
        self._next = 0
        self._open = False

    @classmethod
    def start(cls, recorded: Path, record_path: Path) -> Self:
        """Take a record up; raises VerificationError where it is damaged."""
        data = recorded.read_bytes()
        return cls(data, parse_trace(data), record_path)

    @property
    def now_ns(self) -> int:
        """The record's time: that of the last mark that was played, or of its start."""
        if self._open:
            return self._trace.windows[self._next].open_ns
        return self._trace.windows[self._next - 1].close_ns if self._next else self._trace.origin_ns

    def attach(self, target: SandboxTarget) -> None:
        """Check that the record has a sandbox; which one, is the recorded session's matter."""
        if self._trace.attachment is None:
            raise _out_of_turn(f"attach {target.container_id}", "a record of a sandbox")

    def open_window(self, name: str) -> int:
        """Play the next window's opening mark; raises MeterUnavailable OUT_OF_TURN where it has another name."""
        left = self._trace.windows[self._next :]
        if self._open or not left or left[0].name != name:
            raise _out_of_turn(f"open {name}", left[0].name if left else "no further window")
        self._open = True
        return self.now_ns

    def close_window(self) -> int:
        """Play the open window's closing mark."""
        if not self._open:
            raise _out_of_turn("close", "an open window")
        self._open = False
        self._next += 1
        return self.now_ns

    def latest(self) -> LiveReading:
        """Return the mean power of the window that is open, or of the one that was closed last."""
        place = self._next if self._open else self._next - 1
        windows = self._trace.windows[max(place, 0) : max(place, 0) + 1]
        channels: dict[str, Power | Unmeasured | NotApplicable] = {}
        for name in self._trace.channels if windows else ():
            reading = read_channel(self._trace, name, windows[0])
            if isinstance(reading, Carried):
                watts = reading.joules * NS_PER_S / windows[0].duration_ns
                channels[name] = Power(watts=watts, kind=reading.kind)
            else:
                channels[name] = reading
        return LiveReading(
            at_ns=self.now_ns,
            channels=channels,
            window=windows[0].name if self._open else None,
            misses=self._trace.misses,
        )

    def stop(self) -> TraceDigest:
        """Write the copy, flush it to the disk, and return its digest."""
        with self._path.open("xb") as out:
            out.write(self._data)
            out.flush()
            os.fsync(out.fileno())
        return TraceDigest(path=self._path, digest=self._trace.digest)


def _out_of_turn(asked: str, recorded: str) -> MeterUnavailable:
    return MeterUnavailable(
        code="OUT_OF_TURN",
        observed=asked,
        expected=recorded,
        hint="replay the session with the plan that it was recorded with",
    )
