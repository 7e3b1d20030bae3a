"""Measure any command with the sampler and the rules of rated runs: `jouleseal meter -- COMMAND`.

Rules
1. The command waits in a control group of its own until the window is open; the window is closed when it has ended.
   What it leaves running in its group voids the window (PROCESSES_LEFT).
2. Idle is metered before and after it, 2 s each; with leased accelerators the window is gated (`gating`).
3. Every channel is typed. Nothing here is sealed: the command may use a network, so network is Unmeasured, not absent.
4. A broken rule is a reason, and the channels that it spoils have no number.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.meter import gating
from orchestrator.meter.client import Sampler
from orchestrator.meter.interface import SamplerConfig, SandboxTarget
from orchestrator.meter.own_group import OwnGroup
from protocol.errors import InvalidMeasurement, MeterUnavailable, UsageError
from protocol.methodology import gated
from protocol.methodology.energy import Carried, Measured, NotApplicable, Reading, Simulated, Unmeasured, account
from protocol.methodology.gated import HOLD_NS
from protocol.methodology.gated_session import account_device
from protocol.methodology.trace import ACCELERATORS, PowerTrace, SourceKind, Window, parse_trace
from protocol.methodology.validity import validate
from protocol.units import NS_PER_S

IDLE_S: Final = 2.0
ENTER_TIMEOUT_S: Final = 5.0
_LOOK_S: Final = 0.002

# Enter each group, become a fresh process (its memory is then charged to the group), await the word, become COMMAND.
_ENTER: Final = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 > "$1" || exit 125; shift; n=$((n-1)); done; exec "$@"'
_WAIT: Final = 'read -r go < "$1" || exit 125; shift; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a window is void, or what about it was noticed: a code and what was seen."""

    code: str
    observed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """A channel whose window broke a rule: it has no number."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel's gross reading, and the same net of idle."""

    gross: Reading | Void
    idle_net: Fraction | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured of one command. `status` is its own, negative for the signal that ended it."""

    status: int
    window: Window
    channels: dict[str, Channel]
    reasons: tuple[Reason, ...]
    flags: tuple[str, ...]
    digest: str

    @property
    def valid(self) -> bool:
        """Whether no rule was broken."""
        return not self.reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    status: int
    left: int
    no_group: str
    gains: Mapping[str, Fraction]


def measure_command(
    command: Sequence[str],
    devices: Sequence[str],
    folder: Path,
    *,
    quiet: bool,
    rest_s: float = 0.0,
    gains: Mapping[str, Fraction] = MappingProxyType({}),
) -> Measurement:
    """Run a command and measure it; its output goes to standard error where `quiet`. The record is left in `folder`.

    Idle is metered for at least `rest_s` on both sides. `gains` are calibrated relative uncertainties, by UUID.
    Raises AcceleratorUnavailable or MeterUnavailable where an instrument cannot be opened, InvalidMeasurement
    NOT_SETTLED (before the command has begun) where an accelerator does not come to rest.
    """
    record = folder / "record.ndjson"
    name = f"jouleseal-meter-{os.getpid()}-{time.monotonic_ns()}"
    no_group = ""
    group: OwnGroup | None = None
    try:
        group = OwnGroup.make(name)
    except OSError as error:
        no_group = f"no control group of its own could be made ({error.strerror}: {error.filename}); run as root"
    try:
        with Sampler.start(record, SamplerConfig(devices=tuple(devices))) as sampler:
            ran = _session(sampler, group, command, folder, quiet=quiet, rest_s=rest_s)
            sampler.stop()
    finally:
        if group is not None:
            group.remove()
    return judge(parse_trace(record.read_bytes()), replace(ran, no_group=no_group, gains=gains))


def judge(trace: PowerTrace, ran: _Ran) -> Measurement:
    """Apply the rules to a finished record."""
    window = trace.window("run-1")
    reasons: list[Reason] = []
    flags: list[str] = []
    if ran.left:
        words = f"{ran.left} processes of the command still ran when it had ended"
        reasons.append(Reason(code="PROCESSES_LEFT", observed=words))
    try:
        validate(trace)
    except InvalidMeasurement as error:
        reasons.append(Reason(code=error.code, observed=error.observed))
    spoilt = reasons[-1] if reasons else None
    channels: dict[str, Channel] = {}
    for name in trace.channels:
        channels[name] = _channel(trace, name, window, ran, flags) if spoilt is None else _void(spoilt)
        found = channels[name].gross
        if spoilt is None and isinstance(found, Void):
            reasons.append(found.reason)
    return Measurement(
        status=ran.status,
        window=window,
        channels=channels,
        reasons=tuple(reasons),
        flags=tuple(flags),
        digest=trace.digest,
    )


def _channel(trace: PowerTrace, name: str, window: Window, ran: _Ran, flags: list[str]) -> Channel:
    before, after = trace.window("idle-0"), trace.window("idle-1")
    source = trace.sources[name]
    try:
        if source.kind in ACCELERATORS:
            return _accelerators(trace, source.devices, gated.gate(trace, window, before, after), ran.gains, flags)
        found = account(replace(trace, sources={name: source}), window, before, after)
    except InvalidMeasurement as error:
        return _void(Reason(code=error.code, observed=error.observed))
    gross = found.channels[name]
    if isinstance(gross, NotApplicable):
        gross = Unmeasured(reason=_unread(name, gross))
    elif (
        isinstance(gross, Unmeasured) and ran.no_group and trace.attachment is None and source.kind is SourceKind.MODEL
    ):
        gross = Unmeasured(reason=ran.no_group)
    net = found.idle_net[name]
    return Channel(gross=gross, idle_net=net.joules if isinstance(net, Carried) else None)


def _unread(name: str, absent: NotApplicable) -> str:
    if name == "gpu":
        return "no accelerator was named (--device UUID)"
    return "no instrument reads network energy" if name == "network" else absent.reason


def _accelerators(
    trace: PowerTrace, devices: Sequence[str], gate: gated.Gate, gains: Mapping[str, Fraction], flags: list[str]
) -> Channel:
    found: dict[str, gated.GatedReading] = {}
    for device in devices:
        gain = gains.get(trace.host.get(f"{device}.uuid", ""))
        reading, broken = account_device(trace, device, gate, gain)
        if broken or reading is None:
            return _void(Reason(code=broken[0].code, observed=broken[0].observed))
        found[device] = reading
    flags += [flag for reading in found.values() for flag in reading.flags]
    joules, doubt = gated.combined(found)
    method = "+".join(dict.fromkeys(reading.method for reading in found.values()))
    kind = Simulated if trace.sources["gpu"].kind is SourceKind.SIMULATED else Measured
    return Channel(
        gross=kind(joules=joules, uncertainty=doubt, method=method),
        idle_net=sum((reading.idle_net for reading in found.values()), Fraction(0)),
    )


def _void(reason: Reason) -> Channel:
    return Channel(gross=Void(reason=reason), idle_net=None)


# The session


def _session(
    sampler: Sampler, group: OwnGroup | None, command: Sequence[str], folder: Path, *, quiet: bool, rest_s: float
) -> _Ran:
    go = folder / "go"
    os.mkfifo(go, 0o600)
    doors = [] if group is None else group.doors
    waiting = ["/bin/sh", "-c", _WAIT, "sh", str(go), *command]
    child = subprocess.Popen(
        ["/bin/sh", "-c", _ENTER, "sh", str(len(doors)), *doors, *waiting], stdout=sys.stderr if quiet else None
    )
    try:
        word = _await_reader(go, child)
        if group is not None:
            sampler.attach(SandboxTarget(container_id=group.name, init_pid=child.pid, cgroup_dirs=group.dirs))
        _quiet_before(sampler, rest_s)
        sampler.open_window("run-1")
        os.write(word, b"go\n")
        os.close(word)
        status = child.wait()
        closed = sampler.close_window()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    left = 0 if group is None else group.processes()
    sampler.open_window("idle-1")
    if sampler.devices:
        gating.hold(sampler, closed)
        time.sleep(max(rest_s - HOLD_NS / NS_PER_S, 0))
    else:
        time.sleep(max(IDLE_S, rest_s))
    sampler.close_window()
    return _Ran(status=status, left=left, no_group="", gains={})


def _quiet_before(sampler: Sampler, rest_s: float) -> None:
    sampler.open_window("idle-0")
    if sampler.devices:
        time.sleep(rest_s)
        gating.settle(sampler)
        gating.arm(sampler)
    else:
        time.sleep(max(IDLE_S, rest_s))
    sampler.close_window()


def _await_reader(go: Path, child: subprocess.Popen[bytes]) -> int:
    """Open the pipe on which the command waits, once it waits there; raises MeterUnavailable where it does not come."""
    deadline = time.monotonic() + ENTER_TIMEOUT_S
    while child.poll() is None and time.monotonic() < deadline:
        try:
            return os.open(go, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            time.sleep(_LOOK_S)  # nobody reads it yet
    raise MeterUnavailable(
        code="NO_CGROUP",
        observed="the command could not enter its control group",
        expected="a control group of its own for the command",
        hint="run as root, with the host's control groups mounted read-write",
    )


def require(command: Sequence[str], found: str | None) -> None:
    """Raise UsageError COMMAND_NOT_FOUND where there is no such program, before anything is started."""
    if not command or found is None:
        raise UsageError(
            code="COMMAND_NOT_FOUND",
            observed=f"no program {command[0]!r}" if command else "no command",
            expected="jouleseal meter [--json] [--device UUID] -- COMMAND [ARGUMENT...]",
            hint="name a program that is on PATH",
        )
