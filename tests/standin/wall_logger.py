"""A wall meter's logger in real time: its node draws what the stand-in accelerator does and a rest, behind a supply."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from wall_meter import document

INTERVAL_NS = 100_000_000
REST_MW = 150_000
EFFICIENCY = 0.95


def today(**changes: object) -> dict[str, object]:
    """Return the calibration document of this logger, valid now."""
    now = datetime.now(tz=UTC).date()
    certificate = {
        "id": "C-17",
        "issuer": "A laboratory",
        "calibratedOn": (now - timedelta(days=30)).isoformat(),
        "validUntil": (now + timedelta(days=300)).isoformat(),
    }
    own = {"intervalSeconds": "0.1", "certificate": certificate, "clockUncertaintySeconds": "0.002"}
    return document(**{**own, **changes})


class WallLogger:
    """Writes a row every 100 ms, the mean of the time since the row before, until it is left.

    `factor` scales what it says, `held` keeps every row back until it is left, `ends_ns` is when it dies.
    """

    def __init__(self, path: Path, script: Path | None = None, factor: float = 1.0, *, held: bool = False) -> None:
        self.path, self.script, self.factor, self.held = path, script, factor, held
        self.ends_ns: int | None = None
        self.text = "time,watts\n"
        self._left = threading.Event()
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._write)
        path.write_text(self.text)

    def __enter__(self) -> Self:
        self._thread.start()
        self._first.wait()  # a logger is started first: its rows reach to before the first mark
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join()

    def flush(self) -> None:
        """Let go of what was held back."""
        self.held = False

    def energy_mw_ns(self, start: int, end: int) -> int:
        """Return what the node drew between two instants of CLOCK_MONOTONIC, in mW ns, before its supply."""
        facts: dict[str, str] = {}
        for line in self.script.read_text().splitlines() if self.script else ():
            name, value = line.rsplit(maxsplit=1)
            facts[name] = value
        low, high = int(facts.get("low_mw", "0")), int(facts.get("high_mw", "0"))
        begins, ends = int(facts.get("pulse_ns", "0")), int(facts.get("pulse_end_ns", "0"))
        inside = max(min(end, ends) - max(start, begins), 0)
        return (low + REST_MW) * (end - start) + (high - low) * inside

    def _write(self) -> None:
        ahead = time.time_ns() - time.monotonic_ns()
        at = time.monotonic_ns()
        with self.path.open("a", buffering=1) as file:
            while not self._left.is_set():
                after = at + INTERVAL_NS
                self._left.wait(max(after - time.monotonic_ns(), 0) / 1e9)
                watts = self.energy_mw_ns(at, after) / INTERVAL_NS / 1_000 / EFFICIENCY * self.factor
                # A reading that flickers in its last digits, as a meter's does.
                stamp, at = after + ahead, after
                self.text += f"{stamp // 10**9}.{stamp % 10**9:09d},{watts + stamp // INTERVAL_NS % 3 / 1000:.3f}\n"
                if not self.held and (self.ends_ns is None or after < self.ends_ns):
                    file.write(self.text.removeprefix("time,watts\n"))
                    self.text = ""
                self._first.set()
