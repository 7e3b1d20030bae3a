"""Qualifies a rig: a handful of short records by the real sampler, the figures and findings that they give, a document.

Three records with accelerators, one without:
    first   slow-1: the sampler's own cadence, with a hunt for ticks at either end; its CPU time between the hunts
    dense   dense: every 5 ms, as a hunt reads, throughout
    last    slow-2: as slow-1, so that what the device drifts by is known; busy: beside one busy process for each CPU
What follows from the records is pure (`qualification`, `device_fitness`, `sampler_fitness` of `protocol.methodology`).
An accelerator that cannot be opened is a finding, and the rest of the rig is qualified without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig
from protocol.errors import MeterUnavailable, RigError
from protocol.methodology.device_fitness import device_findings, setting_findings
from protocol.methodology.findings import Finding, find, fit
from protocol.methodology.qualification import Spent, Stretch, settings
from protocol.methodology.sampler_fitness import sampler_findings
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.units import NS_PER_MS

SCHEMA: Final = "jouleseal-qualification/1"
FILE: Final = "qualification.json"
LOOK_S: Final = 1.2  # long enough for two host samples
MAX_BYTES: Final = 1 << 20

_CLOCK_SOURCE: Final = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_REMEDIES: Final = {
    "MIG_ENABLED": "disable MIG on the device (`nvidia-smi -mig 0`) and reset it: a slice has no energy of its own",
    "DEVICE_LOST": "look at the kernel's log for the device; it may need a reset",
    "NO_POWER_READING": "use a device and a driver that report energy (Volta or later)",
    "VGPU": "take the device out of vGPU mode, or pass it through whole: a share has no energy of its own",
}
# Busy until it is ended, or until who started it (its argument) is no more.
_BUSY: Final = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000): pass
"""
_START_S: Final = 0.3  # for busy processes to be busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long each stretch lasts in seconds; `busy` is the number of busy processes (None: one for each CPU)."""

    slow_s: float = 6.0
    again_s: float = 4.0
    dense_s: float = 4.0
    busy_s: float = 4.0
    dense_period_ns: int = 5 * NS_PER_MS  # as a hunt reads
    busy: int | None = None
    config: SamplerConfig = field(default_factory=SamplerConfig)


SHORT: Final = Plan(slow_s=3.0, busy_s=3.0)  # where there is no accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualification:
    """What is known of a rig: of which devices, when, its findings and figures, and the digests of its records."""

    devices: tuple[str, ...]
    realtime_ns: int
    host: Mapping[str, str]
    findings: tuple[Finding, ...]
    figures: Mapping[str, object]
    records: Mapping[str, str]

    @property
    def fit(self) -> bool:
        """Whether runs may be measured here."""
        return fit(self.findings)

    def to_json(self) -> dict[str, object]:
        """Return the document: whole numbers of ns, mW and bytes, decimal strings for everything that has a point."""
        return {
            "schema": SCHEMA,
            "fit": self.fit,
            "devices": list(self.devices),
            "realtimeNs": str(self.realtime_ns),
            "host": dict(self.host),
            "findings": [finding.to_json() for finding in self.findings],
            "figures": dict(self.figures),
            "records": dict(self.records),
        }

    def to_bytes(self) -> bytes:
        """Return the document as it is kept."""
        return json.dumps(self.to_json(), indent=2, sort_keys=True).encode("ascii") + b"\n"


def look(devices: Sequence[str], folder: Path, config: SamplerConfig | None = None) -> tuple[Finding, ...]:
    """Read the devices for a second or so, and judge what they say of themselves; the records are left in `folder`.

    What is found bad is looked at once more: a driver may list a process for a moment after it has ended.
    """
    configured = replace(config or SamplerConfig(), devices=tuple(devices))
    try:
        found = _stated(_looked(folder / "look.ndjson", configured))
        return found if fit(found) else _stated(_looked(folder / "look-again.ndjson", configured))
    except RigError as error:
        return (_refused(error),)


def _looked(record: Path, config: SamplerConfig) -> PowerTrace:
    with Sampler.start(record, config) as sampler:
        time.sleep(LOOK_S)
        sampler.stop()
    return parse_trace(record.read_bytes())


def qualify(devices: Sequence[str], folder: Path, plan: Plan | None = None) -> Qualification:
    """Measure the rig and judge it; the records are left in `folder`, which must hold none.

    It takes about 20 s with accelerators and 7 s without. Raises MeterUnavailable where the sampler cannot run at all,
    and StorageFull where its records cannot be written.
    """
    if devices:
        try:
            return _with_devices(tuple(devices), folder, plan or Plan())
        except RigError as error:
            refused = _refused(error)
            rest = _without(folder, plan or SHORT)
            return replace(rest, devices=tuple(devices), findings=(refused, *rest.findings))
    return _without(folder, plan or SHORT)


def load(home: Path) -> bytes | None:
    """Return the rig's saved qualification, checked in form; None where it was never qualified.

    Raises MeterUnavailable QUALIFICATION_DAMAGED for a file that is no such document.
    """
    try:
        with (home / FILE).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(f"{FILE} cannot be read ({error.strerror})") from error
    devices_of(data)
    return data


def devices_of(data: bytes) -> tuple[str, ...]:
    """Return the UUIDs of the devices that a document is of; raises MeterUnavailable QUALIFICATION_DAMAGED."""
    try:
        document = json.loads(data)
        found = document["devices"]
        sound = (
            len(data) <= MAX_BYTES
            and document["schema"] == SCHEMA
            and type(document["fit"]) is bool
            and all(type(uuid) is str for uuid in found)
            and all(type(entry["good"]) is bool for entry in document["findings"])
            and str(document["realtimeNs"]).isdigit()
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        sound, found = False, ()
    if not sound:
        raise _damaged(f"a {FILE} that is no {SCHEMA} document")
    return tuple(found)


def _damaged(observed: str) -> MeterUnavailable:
    return MeterUnavailable(
        code="QUALIFICATION_DAMAGED",
        observed=observed,
        expected="the document of `jouleseal doctor --qualify`",
        hint="run `jouleseal doctor --qualify` again, with the devices of your runs",
    )


# The measurements


def _with_devices(devices: tuple[str, ...], folder: Path, plan: Plan) -> Qualification:
    base = replace(plan.config, devices=devices)
    with _record(folder, "first", base) as sampler:
        spent = _slow(sampler, "slow-1", plan.slow_s)
    with _record(folder, "dense", replace(base, period_ns=plan.dense_period_ns)) as sampler:
        _rest(sampler, "dense", plan.dense_s)
    with _record(folder, "last", base) as sampler:
        _slow(sampler, "slow-2", plan.again_s)
        _beside_work(sampler, plan)
    first, dense, last = (_read(folder, name) for name in ("first", "dense", "last"))
    slow = (_stretch(first, "slow-1"), _stretch(last, "slow-2"))
    found = list(_stated(first))
    figures: dict[str, object] = {}
    for device in first.sources["gpu"].devices:
        judged, of_device = device_findings(slow, _stretch(dense, "dense"), device)
        found += judged
        figures[device] = {"settings": dict(settings(first, device)), **of_device}
    judged, machine = sampler_findings(slow[0], _stretch(last, "busy"), spent, (first, dense, last))
    traces = {"first": first, "dense": dense, "last": last}
    return _qualification(devices, (*found, *judged), {"sampler": machine, "devices": figures}, traces)


def _without(folder: Path, plan: Plan) -> Qualification:
    with _record(folder, "only", replace(plan.config, devices=())) as sampler:
        spent = _slow(sampler, "slow-1", plan.slow_s)
        _beside_work(sampler, plan)
    trace = _read(folder, "only")
    found, machine = sampler_findings(_stretch(trace, "slow-1"), _stretch(trace, "busy"), spent, (trace,))
    return _qualification((), tuple(found), {"sampler": machine, "devices": {}}, {"only": trace})


def _qualification(
    devices: tuple[str, ...],
    findings: tuple[Finding, ...],
    figures: Mapping[str, object],
    traces: Mapping[str, PowerTrace],
) -> Qualification:
    first = next(iter(traces.values()))
    return Qualification(
        devices=devices,
        realtime_ns=first.anchor_start.realtime_ns,
        host={**first.host, "clocksource": _clock_source()},
        findings=findings,
        figures=figures,
        records={name: trace.digest for name, trace in traces.items()},
    )


@contextmanager
def _record(folder: Path, name: str, config: SamplerConfig) -> Iterator[Sampler]:
    with Sampler.start(folder / f"{name}.ndjson", config) as sampler:
        yield sampler
        sampler.stop()


def _slow(sampler: Sampler, window: str, seconds: float) -> Spent:
    """Rest at the sampler's own cadence, between two hunts; returns what the sampler used between them."""
    sampler.open_window(window)
    sampler.hunt()
    began, used = time.monotonic_ns(), _cpu_ns(sampler.pid)
    time.sleep(seconds)
    spent = Spent(cpu_ns=_cpu_ns(sampler.pid) - used, over_ns=time.monotonic_ns() - began)
    sampler.hunt()
    sampler.close_window()
    return spent


def _rest(sampler: Sampler, window: str, seconds: float) -> None:
    sampler.open_window(window)
    time.sleep(seconds)
    sampler.close_window()


def _beside_work(sampler: Sampler, plan: Plan) -> None:
    with busy_processes(len(os.sched_getaffinity(0)) if plan.busy is None else plan.busy):
        time.sleep(_START_S)
        _rest(sampler, "busy", plan.busy_s)


@contextmanager
def busy_processes(count: int) -> Iterator[list[int]]:
    """Keep processors busy for as long as the context lasts; yields the processes' ids."""
    command = [sys.executable, "-I", "-S", "-c", _BUSY, str(os.getpid())]
    with ExitStack() as stack:
        busy = []
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(command))
            stack.callback(process.kill)  # before the wait of Popen's own context
            busy.append(process.pid)
        yield busy


def _cpu_ns(pid: int) -> int:
    """Return the CPU time of all of a process's threads; its clock is numbered as clock_getcpuclockid(3) does."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def _read(folder: Path, name: str) -> PowerTrace:
    return parse_trace((folder / f"{name}.ndjson").read_bytes())


def _stretch(trace: PowerTrace, window: str) -> Stretch:
    return Stretch(trace=trace, window=trace.window(window))


def _stated(trace: PowerTrace) -> tuple[Finding, ...]:
    return tuple(finding for device in trace.sources["gpu"].devices for finding in setting_findings(trace, device))


def _refused(error: RigError) -> Finding:
    remedy = _REMEDIES.get(error.code, error.hint)
    return find("accelerator", f"{error.code}: {error.observed}", error.expected, remedy, good=False)


def _clock_source() -> str:
    try:
        return _CLOCK_SOURCE.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return "not stated"
