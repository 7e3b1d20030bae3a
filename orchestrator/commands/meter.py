"""`jouleseal meter`: run any command, measure it as a run is measured, and say how sure that is."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from orchestrator.commands import wall_inputs
from orchestrator.meter import measuring
from orchestrator.meter.measuring import Channel, Measurement, Void
from orchestrator.meter.wall import LogRead, WallInput, add_node
from protocol.errors import InvalidMeasurement
from protocol.methodology.energy import Carried, Estimated, Unmeasured
from protocol.methodology.site import SiteProfile, SiteTotal, node_total, total
from protocol.methodology.trace import parse_trace
from protocol.methodology.wall_log import NODE
from protocol.units import NS_PER_S, decimal_string

_PLACES = 6


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; 0 for a valid window, whatever the command's own exit status, and 5 for a void one."""
    words = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    measuring.require(words, shutil.which(words[0]) if words else None)
    meter, site = wall_inputs.wall_input(arguments), wall_inputs.site(arguments.site)
    gains = wall_inputs.gains(arguments.gain_calibration, arguments.device)
    rest_s = 0.0 if meter is None else meter.rest_s
    log: LogRead | None = None
    with tempfile.TemporaryDirectory(prefix="jouleseal-meter-") as name:
        folder = Path(name)
        found = measuring.measure_command(
            words, arguments.device, folder, quiet=arguments.json, rest_s=rest_s, gains=gains
        )
        record = folder / "record.ndjson"
        if arguments.record is not None:
            shutil.copyfile(record, arguments.record)
        if meter is not None:
            found, log = add_node(found, parse_trace(record.read_bytes()), meter)
    totals = [] if site is None else _totals(found, site)
    if arguments.json:
        print(json.dumps({**document(words, found), **_beside(log, meter, site, totals)}, indent=2))
    else:
        _print(found, totals)
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


def _totals(found: Measurement, site: SiteProfile) -> list[SiteTotal]:
    """Return the total by PUE over the parts, and that of the node where a wall meter was given."""
    readings = {
        name: Unmeasured(reason=channel.gross.reason.code) if isinstance(channel.gross, Void) else channel.gross
        for name, channel in found.channels.items()
    }
    return [total(readings, site), *([node_total(readings[NODE], site)] if NODE in readings else [])]


def _beside(
    log: LogRead | None, meter: WallInput | None, site: SiteProfile | None, totals: list[SiteTotal]
) -> dict[str, object]:
    """Return what stands beside the measurement: the wall meter and what was read of its log, the site, the totals."""
    out: dict[str, object] = {}
    if log is not None and meter is not None:
        known = meter.calibration
        out["wall"] = {
            "meter": f"{known.make} {known.model} {known.serial}",
            "certificate": known.certificate,
            "calibration_sha256": known.sha256,
            "log_bytes": log.size,
            "log_sha256": log.sha256,
        }
    if site is not None:
        out["site"] = {"name": site.name, "pue": site.pue_text, "source": site.source, "date": site.date.isoformat()}
        out["totals"] = [_total(one) for one in totals]
    return out


def _total(found: SiteTotal) -> dict[str, object]:
    return {
        "name": found.name,
        "kind": found.kind,
        "complete": found.complete,
        "joules": None if found.joules is None else round(float(found.joules), _PLACES),
        "uncertainty_joules": None if found.uncertainty is None else round(float(found.uncertainty), _PLACES),
        "scope": list(found.scope),
        "missing": list(found.missing),
        "absent": list(found.absent),
        "pue": found.pue,
        "reason": found.reason,
    }


def _print_total(found: SiteTotal) -> str:
    name = found.name if found.complete else "sum"
    if found.joules is None:
        return f"{name:<10}{found.kind}: {found.reason}"
    said = f"{found.kind} {decimal_string(found.joules, 3)} J"
    said += "" if found.uncertainty is None else f" +/- {decimal_string(found.uncertainty, 3)} J (k = 2, without PUE's)"
    said += f" = ({' + '.join(found.scope)}) x PUE {found.pue}"
    return f"{name:<10}{said}" + ("" if found.complete else f"; no total, for want of {', '.join(found.missing)}")


def _print(found: Measurement, totals: list[SiteTotal]) -> None:
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
    lines += [_print_total(one) for one in totals]
    lines.append(f"command   exit status {found.status}" if found.status >= 0 else f"command   signal {-found.status}")
    print("\n".join(lines), file=sys.stderr)
