"""The sampler: a process of its own that reads the instruments on absolute deadlines and writes the record.

    python -m orchestrator.meter.sampler RECORD CONFIG        (CONFIG is the JSON of `client.py`)

Rules
1. Commands come as JSON lines on standard input: ["attach",{...}] ["open",name] ["close"] ["latest"] ["hunt"] ["stop"].
   Every one is answered by one line on standard output: ["ok",...] or ["error",code,observed]. Unasked, a line
   ["beat",t] says once a second that the sampler is alive; beats are dropped when nobody reads them.
2. Deadlines are absolute (start + k periods on CLOCK_MONOTONIC): a late sample does not make the next ones late. A
   deadline that has passed by a whole period is not made up for, but counted.
3. A mark is answered only after every counter was read at the mark and the record was flushed to the kernel.
4. An instrument that fails gets a failure row and is never read again; its columns are null from then on.
5. When standard input ends (the orchestrator is gone), or on SIGTERM, the record is ended with that as its status,
   flushed to the disk, and the process exits. Ctrl-C at the terminal is the orchestrator's business, not ours.
6. A hunt reads every few milliseconds until each accelerator's counter was seen to tick (`edges`), and is answered when
   it ends. It adds rows; the deadlines are kept.
7. Nothing heavy is imported; the accelerator's library only where an accelerator is leased.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from orchestrator.meter.cgroup import COLUMNS as CGROUP_COLUMNS
from orchestrator.meter.cgroup import HOST_COLUMNS as CGROUP_HOST_COLUMNS
from orchestrator.meter.cgroup import CgroupInstrument
from orchestrator.meter.edges import TickHunt
from orchestrator.meter.host import HostInstrument, host_facts
from orchestrator.meter.patience import Patient
from orchestrator.meter.rapl import RaplInstrument, discover
from protocol.errors import JoulesealError
from protocol.methodology import trace as record
from protocol.methodology.hardware import CLASS_SIMULATED, device_facts, hardware_class
from protocol.methodology.host_models import CPU_MODEL, DRAM_MODEL
from protocol.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from orchestrator.meter.interface import Instrument
    from orchestrator.meter.rapl import Discovery

GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
REALTIME_PRIORITY: Final = 1  # the lowest that still goes before every ordinary process
NICE: Final = -10  # where real-time scheduling is refused
MAX_TEXT: Final = 200  # characters of a failure's words
EXIT_OPENING_FAILED: Final = 3
EXIT_WRITING_FAILED: Final = 4


class Slot:
    """An instrument's place in the rows: its columns stay when it is not there, or no longer."""

    def __init__(self, instrument: Instrument | None, columns: Sequence[str], host_columns: Sequence[str]) -> None:
        self.instrument = instrument
        self.columns = columns
        self.host_columns = host_columns


class Sampler:
    """One record from its header to its end."""

    def __init__(self, out: BinaryIO, config: dict[str, Any]) -> None:
        self._out = out
        self._period = int(config["period_ns"])
        self._ticks_per_host = max(1, int(config["host_period_ns"]) // self._period)
        self._chain = record.GENESIS
        self._samples = 0
        self._misses = 0
        self._window: str | None = None
        self._status: str | None = None
        self._attached = False
        self._pending = b""
        self._rows: dict[str, list[tuple[int, list[int | None]]]] = {"s": [], "h": []}
        self._hunt: TickHunt | None = None
        self._slots, sources, facts = _open_instruments(config)
        columns = [column for slot in self._slots for column in slot.columns]
        self._counters = [i for i, name in enumerate(columns) if name.endswith(f".{record.GPU_ENERGY}")]
        self._periods: list[int | None] = [None] * len(self._counters)
        self._origin = time.monotonic_ns()
        self.header = self._header(config, sources, facts)
        self._write(self.header)

    def run(self) -> int:
        """Sample until told to stop; returns the exit status."""
        _say(["ready", self.header])
        tick = 0
        while self._status is None:
            due = self._origin + tick * self._period
            now = time.monotonic_ns()
            if now >= due:
                late = (now - due) // self._period
                self._misses += late
                tick += late + 1
                self._sample(host=(tick - 1) % self._ticks_per_host < late + 1)
            elif self._hunt is not None and now >= self._hunt.due_ns:
                self._sample(host=False)
            elif select.select([0], [], [], (self._next(due) - now) / NS_PER_S)[0]:
                self._listen()
        return 0

    def _next(self, due: int) -> int:
        return due if self._hunt is None else min(due, self._hunt.due_ns)

    def terminate(self, _signal: int, _frame: FrameType | None) -> None:
        """Take SIGTERM: end at the next turn."""
        self._status = "terminated"

    def finish(self) -> None:
        """Write the end, and see it to the disk."""
        if self._window is not None:
            self._close_window()
        counts = {"samples": self._samples, "misses": self._misses, "own_cpu_ns": time.process_time_ns()}
        self._write(["z", self._since(time.monotonic_ns()), self._status or "failed", {**_anchor(), **counts}])
        digest = self._checkpoint()
        self._out.flush()
        os.fsync(self._out.fileno())
        for slot in self._slots:
            if slot.instrument is not None:
                slot.instrument.close()
        _say(["ok", digest])

    def _header(self, config: dict[str, Any], sources: dict[str, object], facts: dict[str, str]) -> dict[str, object]:
        proc = Path(config["proc"])
        return {
            "format": record.TRACE_FORMAT,
            "origin_ns": str(self._origin),
            "period_ns": self._period,
            "host_period_ns": self._period * self._ticks_per_host,
            "host_cpus": os.cpu_count() or 1,
            "clock_ticks": os.sysconf("SC_CLK_TCK"),
            "host": {**host_facts(proc, GOVERNOR), "scheduling": _hurry(), **facts},
            "sources": sources,
            "columns": [column for slot in self._slots for column in slot.columns],
            "host_columns": [column for slot in self._slots for column in slot.host_columns],
            **_anchor(),
        }

    # The record

    def _since(self, instant: int) -> int:
        return instant - self._origin

    def _write(self, row: Sequence[object] | dict[str, object]) -> None:
        line = record.encode_line(row)
        self._chain = record.advance(self._chain, line)
        self._out.write(line)

    def _checkpoint(self) -> str:
        digest = self._chain.hex()
        self._write(["k", digest])
        self._out.flush()
        return digest

    def _sample(self, *, host: bool) -> int:
        """Read the instruments now; returns the instant, on which a mark may be put."""
        at = time.monotonic_ns()
        failures: list[list[object]] = []
        fast = self._read(lambda slot: slot.columns, lambda instrument: instrument.read(), failures, at)
        self._row("s", at, fast)
        self._samples += 1
        if self._hunt is not None:
            self._follow(self._hunt, at, fast)
        if host:
            slow = self._read(lambda slot: slot.host_columns, lambda instrument: instrument.read_host(), failures, at)
            self._row("h", at, slow)
        for failure in failures:
            self._write(failure)
        if host:
            self._checkpoint()
            _beat(self._since(at))
        return at

    def _follow(self, hunt: TickHunt, at: int, fast: list[int | None]) -> None:
        """Tell the hunt what was read, and its asker when it has ended."""
        hunt.see(at, time.monotonic_ns(), [fast[place] for place in self._counters])
        if hunt.done:
            self._hunt, self._periods = None, hunt.periods
            _say(["ok", {"ticks": hunt.ticks, "periods_ns": hunt.periods}])

    def _row(self, kind: str, at: int, values: list[int | None]) -> None:
        since = self._since(at)
        self._write([kind, since, time.monotonic_ns() - at, *values])
        kept = self._rows[kind]
        kept.append((since, values))
        if len(kept) > (self._ticks_per_host if kind == "s" else 1) + 1:
            del kept[0]

    def _read(
        self,
        columns: Callable[[Slot], Sequence[str]],
        read: Callable[[Instrument], Sequence[int | None]],
        failures: list[list[object]],
        at: int,
    ) -> list[int | None]:
        values: list[int | None] = []
        for slot in self._slots:
            wanted = columns(slot)
            found: Sequence[int | None] | None = None
            if wanted and slot.instrument is not None:
                try:
                    found = read(slot.instrument)
                except JoulesealError as error:
                    failures.append(["e", self._since(at), slot.instrument.name, error.code, _ascii(error.observed)])
                    slot.instrument = None
            values.extend([None] * len(wanted) if found is None else found)
        return values

    # Commands

    def _listen(self) -> None:
        chunk = os.read(0, 65_536)
        if not chunk:
            self._status = self._status or "orphaned"
            return
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            command, *arguments = json.loads(line)
            self._obey(command, arguments)

    def _obey(self, command: str, arguments: list[Any]) -> None:
        if command == "open" and self._window is None:
            self._window = str(arguments[0])
            _say(["ok", self._mark("open", self._window)])
        elif command == "close" and self._window is not None:
            _say(["ok", self._close_window()])
        elif command == "attach" and not self._attached:
            self._attach(arguments[0])
        elif command == "latest":
            rows = {kind: [kept[0], kept[-1]] if kept else [] for kind, kept in self._rows.items()}
            _say(["ok", {"rows": rows, "window": self._window, "misses": self._misses}])
        elif command == "hunt" and self._hunt is None:
            self._begin_hunt()
        elif command == "stop":
            self._status = "closed"
        else:
            _say(["error", "OUT_OF_TURN", f"{command} while window={self._window!r}, attached={self._attached}"])

    def _begin_hunt(self) -> None:
        if self._counters:
            self._hunt = TickHunt(time.monotonic_ns(), self._periods)
        else:
            _say(["ok", {"ticks": [], "periods_ns": []}])

    def _mark(self, edge: str, name: str) -> int:
        at = self._sample(host=True)
        self._write(["m", self._since(at), edge, name])
        self._checkpoint()
        return at

    def _close_window(self) -> int:
        name, self._window = self._window or "", None
        return self._mark("close", name)

    def _attach(self, target: dict[str, Any]) -> None:
        try:
            instrument = CgroupInstrument({key: Path(found) for key, found in target["cgroup_dirs"].items()})
        except JoulesealError as error:
            _say(["error", error.code, error.observed])
            return
        container = str(target["container_id"])
        cpus = int(target["cpus_milli"] or 1_000 * (os.cpu_count() or 1))
        for slot in self._slots:
            if slot.columns is CGROUP_COLUMNS:
                slot.instrument = instrument
            watch = getattr(slot.instrument, "watch", None)
            if watch is not None:
                watch(container)
        self._attached = True
        facts = {"container": container, "cpus_milli": cpus, "clock": instrument.clock}
        self._write(["a", self._since(time.monotonic_ns()), facts])
        _say(["ok", cpus])


def _open_instruments(config: dict[str, Any]) -> tuple[list[Slot], dict[str, object], dict[str, str]]:
    """Open what this machine has; returns the slots, the channels' sources, and facts for the header."""
    host = HostInstrument(Path(config["proc"]))
    slots = [Slot(None, CGROUP_COLUMNS, CGROUP_HOST_COLUMNS), Slot(host, host.columns, host.host_columns)]
    found = discover(Path(config["powercap"]))
    if found.packages or found.drams:
        rapl = RaplInstrument(found)
        slots.append(Slot(rapl, rapl.columns, rapl.host_columns))
    sources = {"gpu": _source("none", "no accelerator leased"), **_host_sources(found)}
    facts: dict[str, str] = {}
    if config["devices"]:
        # Imported here because pynvml is large, and most hosts of this process have no use for it.
        from orchestrator.meter.nvml import NvmlInstrument  # noqa: PLC0415

        nvml = NvmlInstrument(config["devices"], Path(config["proc"]))
        slots.append(Slot(Patient(nvml), nvml.columns, nvml.host_columns))
        facts = nvml.facts()
        simulated = hardware_class(device_facts(facts, nvml.prefixes)) == CLASS_SIMULATED
        kind = record.SourceKind.SIMULATED if simulated else record.SourceKind.NVML
        sources["gpu"] = _source(kind.value, "", devices=nvml.prefixes)
    return slots, sources, facts


def _host_sources(found: Discovery) -> dict[str, object]:
    package = [{"column": zone.column, "range": zone.range_uj} for zone in found.packages]
    dram = [{"column": zone.column, "range": zone.range_uj} for zone in found.drams]
    return {
        "cpu": _source("rapl", "", counters=package) if package else _source("model", found.package_reason, CPU_MODEL),
        "dram": _source("rapl", "", counters=dram) if dram else _source("model", found.dram_reason, DRAM_MODEL),
        "network": _source("none", "the sealed sandbox has no network"),
        "storage": _source(
            "unread", "no instrument reads storage energy; the sandbox's block I/O is on record in bytes"
        ),
    }


def _source(
    kind: str,
    reason: str,
    model: str = "",
    counters: Sequence[dict[str, object]] = (),
    devices: Sequence[str] = (),
) -> dict[str, object]:
    return {"kind": kind, "reason": reason, "model": model, "counters": list(counters), "devices": list(devices)}


def _anchor() -> dict[str, str]:
    """Read three clocks as one instant: the monotonic clock before and after the others, and its middle."""
    before = time.monotonic_ns()
    realtime = time.time_ns()
    boottime = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after = time.monotonic_ns()
    middle = before + (after - before) // 2
    return {"realtime_ns": str(realtime), "monotonic_ns": str(middle), "boottime_ns": str(boottime)}


def _hurry() -> str:
    """Go before ordinary processes where we may, so that a busy sandbox does not make samples late."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    except OSError:
        try:
            return f"nice {os.nice(NICE)}"
        except OSError:
            return "ordinary"
    return "SCHED_RR"


def _say(reply: Sequence[object]) -> None:
    """Answer; when nobody listens any more, standard input has ended too, and the loop will see it."""
    line = record.encode_line(reply)
    while line:
        try:
            line = line[os.write(1, line) :]
        except BlockingIOError:
            select.select([], [1], [], 1)
        except BrokenPipeError:
            return


def _beat(at: int) -> None:
    try:
        os.write(1, record.encode_line(["beat", at]))  # shorter than PIPE_BUF: whole or not at all
    except OSError:
        return


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")[:MAX_TEXT]


def main() -> int:
    """Run the process; returns its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.set_blocking(1, False)
    target, config = Path(sys.argv[1]), json.loads(sys.argv[2])
    try:
        with target.open("xb") as out:
            sampler = Sampler(out, config)
            signal.signal(signal.SIGTERM, sampler.terminate)
            sampler.run()
            sampler.finish()
    except JoulesealError as error:
        _say(["error", error.code, error.observed])
        return EXIT_OPENING_FAILED
    except OSError as error:
        _say(["error", "WRITING_FAILED", f"{target.name}: {error.strerror}"])
        return EXIT_WRITING_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
