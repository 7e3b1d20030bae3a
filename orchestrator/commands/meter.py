"""`jouleseal meter`: run any command, measure it as a run is measured, and say how sure that is."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from orchestrator.meter import measuring
from orchestrator.meter.measuring import Channel, Measurement, Void
from protocol.errors import InvalidMeasurement
from protocol.methodology.energy import Carried, Estimated
from protocol.units import NS_PER_S, decimal_string

_PLACES = 6


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; 0 for a valid window, whatever the command's own exit status, and 5 for a void one."""
    words = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    measuring.require(words, shutil.which(words[0]) if words else None)
    with tempfile.TemporaryDirectory(prefix="jouleseal-meter-") as folder:
        found = measuring.measure_command(words, arguments.device, Path(folder), quiet=arguments.json)
        if arguments.record is not None:
            shutil.copyfile(Path(folder) / "record.ndjson", arguments.record)
    if arguments.json:
        print(json.dumps(document(words, found), indent=2))
    else:
        _print(found)
    return 0 if found.valid else InvalidMeasurement.exit_code


def document(command: list[str], found: Measurement) -> dict[str, object]:
    """Return the JSON document: joules as numbers with six decimals, null where there is no number."""
    return {
        "valid": found.valid,
        "reasons": [{"code": reason.code, "observed": reason.observed} for reason in found.reasons],
        "flags": list(found.flags),
        "window": {
            "open_monotonic_ns": found.window.open_ns,
            "close_monotonic_ns": found.window.close_ns,
        },
        "channels": {name: _channel(channel) for name, channel in found.channels.items()},
        "command": {
            "argv": command,
            "exit_status": found.status if found.status >= 0 else None,
            "signal": None if found.status >= 0 else signal.Signals(-found.status).name,
        },
        "record_chain": found.digest,
    }


def _channel(channel: Channel) -> dict[str, object]:
    gross = channel.gross
    empty: dict[str, object] = {"joules": None, "uncertainty_joules": None, "idle_net_joules": None}
    if isinstance(gross, Void):
        return {"kind": "void", **empty, "reason": gross.reason.code}
    if not isinstance(gross, Carried):
        return {"kind": gross.kind, **empty, "reason": gross.reason}
    doubt = None if isinstance(gross, Estimated) else gross.uncertainty
    return {
        "kind": gross.kind,
        "joules": round(float(gross.joules), _PLACES),
        "uncertainty_joules": None if doubt is None else round(float(doubt), _PLACES),
        "idle_net_joules": None if channel.idle_net is None else round(float(channel.idle_net), _PLACES),
        **({"model": gross.model} if isinstance(gross, Estimated) else {"method": gross.method}),
    }


def _print(found: Measurement) -> None:
    """Print for people, on standard error: standard output is the command's own."""
    lines = [f"window    {found.window.duration_ns / NS_PER_S:.3f} s, {'valid' if found.valid else 'VOID'}"]
    lines += [f"reason    {reason.code}: {reason.observed}" for reason in found.reasons]
    lines += [f"flag      {flag}" for flag in found.flags]
    for name, channel in found.channels.items():
        gross = channel.gross
        if isinstance(gross, Void):
            said = f"void ({gross.reason.code})"
        elif isinstance(gross, Carried):
            doubt = None if isinstance(gross, Estimated) else gross.uncertainty
            said = f"{gross.kind} {decimal_string(gross.joules, 3)} J"
            said += "" if doubt is None else f" +/- {decimal_string(doubt, 3)} J (k = 2)"
            said += "" if channel.idle_net is None else f", {decimal_string(channel.idle_net, 3)} J net of idle"
        else:
            said = f"{gross.kind}: {gross.reason}"
        lines.append(f"{name:<9} {said}")
    lines.append(f"command   exit status {found.status}" if found.status >= 0 else f"command   signal {-found.status}")
    print("\n".join(lines), file=sys.stderr)
