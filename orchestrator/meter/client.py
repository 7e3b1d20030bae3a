"""The orchestrator's hand on the sampler: starts the process, gives it commands, and never touches a sample.

The process runs in a session of its own (Ctrl-C does not reach it) and ends when its standard input does, so that it
ends its record even when the orchestrator is killed. Every answer has a deadline; a sampler that does not answer, or
whose beats have stopped, is killed and the session is void. One question is asked at a time, from whichever thread.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Final, Self

from orchestrator.meter.interface import LiveReading, SamplerConfig, SandboxTarget, TraceDigest
from orchestrator.meter.models import Rows, live_reading
from protocol.errors import AcceleratorUnavailable, JoulesealError, MeterUnavailable, StorageFull
from protocol.methodology.hardware import DeviceFacts, device_facts
from protocol.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

START_TIMEOUT_S: Final = 20.0  # an NVML driver without persistence mode takes seconds to wake
ANSWER_TIMEOUT_S: Final = 5.0
EXIT_TIMEOUT_S: Final = 5.0
BEAT_TIMEOUT_NS: Final = 3 * NS_PER_S  # beats come once a second
_READ_BYTES: Final = 65_536

_ACCELERATOR_CODES: Final = frozenset({"ACCELERATOR_UNAVAILABLE", "MIG_ENABLED", "VGPU"})


class Sampler:
    """A running sampler; see `interface.Meter` for the order of its calls. As a context manager it always ends."""

    def __init__(self, process: subprocess.Popen[bytes], record_path: Path, complaints: IO[bytes]) -> None:
        self._process = process
        self._said = process.stdout.fileno() if process.stdout else -1
        self._path = record_path
        self._complaints = complaints
        self._pending = b""
        self._asked = 1  # the start is the first question
        self._answered = 0
        self._last: list[Any] = []
        self._failure: list[Any] | None = None
        self._talking = threading.Lock()  # a live view asks from a thread of its own
        self._last_beat_ns = time.monotonic_ns()
        self._cpus_milli: int | None = None
        self._update_ns = 0
        self._header: dict[str, Any] = {}
        self._closed = False

    @classmethod
    def start(cls, record_path: Path, config: SamplerConfig | None = None) -> Self:
        """Start the process and wait until it samples; `record_path` must not exist yet.

        Raises AcceleratorUnavailable or MeterUnavailable with the instrument's own words, StorageFull where the record
        cannot be created.
        """
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _end, with the process
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "orchestrator.meter.sampler",
                str(record_path),
                _config(config or SamplerConfig()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        )
        sampler = cls(process, record_path, complaints)
        try:
            sampler._header = sampler._answer("start", START_TIMEOUT_S)[1]
        except JoulesealError:
            sampler.kill()
            raise
        return sampler

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def devices(self) -> int:
        """How many accelerators are leased to the sampler."""
        return len(self._header["sources"]["gpu"]["devices"])

    def attach(self, target: SandboxTarget) -> None:
        """Begin to read the sandbox's own cgroup; raises MeterUnavailable NO_CGROUP where it cannot be read."""
        dirs = {name: str(path) for name, path in target.cgroup_dirs.items()}
        facts = {"container_id": target.container_id, "cgroup_dirs": dirs, "cpus_milli": target.cpus_milli}
        self._cpus_milli = int(self._ask("attach", facts))

    def open_window(self, name: str) -> int:
        """Mark a window's start; returns the mark in CLOCK_MONOTONIC nanoseconds."""
        return int(self._ask("open", name))

    def close_window(self) -> int:
        """Mark the open window's end; returns the mark in CLOCK_MONOTONIC nanoseconds."""
        return int(self._ask("close"))

    def hunt(self) -> list[int]:
        """Read densely until each accelerator's counter was seen to tick; returns how often each did, within 1 s."""
        found = self._ask("hunt")
        self._update_ns = max((int(period) for period in found["periods_ns"] if period), default=self._update_ns)
        return [int(ticks) for ticks in found["ticks"]]

    @property
    def update_ns(self) -> int:
        """The longest time between two updates of a leased accelerator's counter in the last hunt; 0 before one."""
        return self._update_ns

    @property
    def facts(self) -> tuple[DeviceFacts, ...]:
        """What the driver said of the leased accelerators when the record began."""
        return device_facts(self._header["host"], self._header["sources"]["gpu"]["devices"])

    def latest(self) -> LiveReading:
        """Return the power over the last second."""
        found = self._ask("latest")
        fast = self._rows(found["rows"]["s"], "columns")
        slow = self._rows(found["rows"]["h"], "host_columns")
        return replace(
            live_reading(self._header, self._cpus_milli, (fast, slow), found["misses"]),
            window=found["window"],
        )

    def check(self) -> None:
        """Raise MeterUnavailable if the sampler has ended or its beats have stopped; costs no question."""
        with self._talking:
            while not self._closed and select.select([self._said], [], [], 0)[0]:
                self._read()
        if time.monotonic_ns() - self._last_beat_ns > BEAT_TIMEOUT_NS:
            raise self._gone("SAMPLER_SILENT", "the sampler's beats have stopped")

    def stop(self) -> TraceDigest:
        """End the record and the process; returns where the record lies and its digest."""
        digest = str(self._ask("stop"))
        self._end()
        return TraceDigest(path=self._path, digest=digest)

    def kill(self) -> None:
        """End the process whatever its state; its record is void. Does nothing to a sampler that was stopped."""
        if self._process.poll() is None:
            self._process.kill()
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _rows(self, found: list[list[Any]], columns: str) -> Rows:
        start, end = found or [[0, [None] * len(self._header[columns])]] * 2
        origin = int(self._header["origin_ns"])
        return Rows(
            columns=self._header[columns],
            start_ns=origin + start[0],
            end_ns=origin + end[0],
            start=start[1],
            end=end[1],
        )

    def _ask(self, *command: object) -> Any:  # noqa: ANN401 - JSON
        with self._talking:
            stdin = self._process.stdin
            if self._closed or stdin is None:
                raise self._gone("SAMPLER_ENDED", "the sampler was already stopped")
            try:
                stdin.write(json.dumps(command).encode() + b"\n")
                stdin.flush()
            except BrokenPipeError:
                pass  # it has ended; what it said last is read below, and says why
            self._asked += 1
            return self._answer(str(command[0]), ANSWER_TIMEOUT_S)[1]

    def _answer(self, question: str, timeout_s: float) -> list[Any]:
        """Wait for the answer to the last question; those to questions that were given up (Ctrl-C) are let go."""
        deadline = time.monotonic() + timeout_s
        while self._answered < self._asked and self._failure is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._said], [], [], left)[0]:
                raise self._gone("SAMPLER_SILENT", f"no answer to {question!r} within {timeout_s:g} s")
            self._read()
        answer = self._failure or self._last
        if answer[0] == "error":
            raise _refused(answer[1], answer[2])
        return answer

    def _read(self) -> None:
        """Take in what the process has said; raises MeterUnavailable when it has ended."""
        chunk = os.read(self._said, _READ_BYTES)
        if not chunk:
            raise self._gone("SAMPLER_ENDED", "the sampler has ended")
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self._last_beat_ns = time.monotonic_ns()
            if said[0] == "error" and self._answered == self._asked:
                self._failure = said  # unasked: the record cannot be written any more
            elif said[0] != "beat":
                self._answered += 1
                self._last = said

    def _gone(self, code: str, observed: str) -> MeterUnavailable:
        words = ""
        if not self._closed:
            self._complaints.seek(0)
            words = self._complaints.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        self.kill()
        return MeterUnavailable(
            code=code,
            observed=f"{observed}: {words}" if words else observed,
            expected="a sampler that answers until it is stopped",
            hint="run `jouleseal doctor`; the session is void",
        )

    def _end(self) -> None:
        if self._closed:
            return
        self._closed = True
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # the process ended with a command of ours unread
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()


def _config(config: SamplerConfig) -> str:
    return json.dumps(
        {
            "devices": list(config.devices),
            "period_ns": config.period_ns,
            "host_period_ns": config.host_period_ns,
            "powercap": str(config.powercap),
            "proc": str(config.proc),
        }
    )


def _refused(code: str, observed: str) -> JoulesealError:
    """Turn the process's words into the error of who must act."""
    if code in _ACCELERATOR_CODES:
        kind: type[JoulesealError] = AcceleratorUnavailable
        expected, hint = (
            "the leased accelerator, whole and with its driver",
            "run `nvidia-smi -L` and compare the UUIDs",
        )
    elif code == "WRITING_FAILED":
        kind, expected, hint = StorageFull, "a record that can be written", "free space where evidence is kept"
    else:
        kind, expected, hint = MeterUnavailable, "instruments that can be read", "run `jouleseal doctor`"
    return kind(code=code, observed=observed, expected=expected, hint=hint)
