"""Whether an accelerator may be metered here: findings from what it says of itself and from its own records.

Limits are those of the rules that would void a run, wherever one applies; the rest are:
  MOST_UPDATE_NS   a hunt lasts 1 s and needs three ticks of a counter whose period it does not know
  SHARP_NS         a tick that is known to 3 ms counts as well located, and a slower call cannot locate one so well
  POLLING_SHARE    one channel asked in two ways may be as far apart as two channels may be in a run
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

from protocol.errors import InvalidMeasurement
from protocol.methodology import qualification as q
from protocol.methodology.acceptance import FROZEN_UPDATES, SETTLED_FLOOR_MW, SETTLED_SHARE
from protocol.methodology.findings import Finding, find, milliseconds, percent
from protocol.methodology.gated import CHANNELS_SHARE
from protocol.methodology.trace import GPU_ENERGY, PowerTrace
from protocol.methodology.validity import (
    GPU_COMPUTE_MODE,
    GPU_ECC,
    GPU_FOREIGN,
    GPU_LIMIT,
    GPU_MIG,
    GPU_PERSISTENCE,
    GPU_REASONS,
    REASONS_HELD_BACK,
)
from protocol.units import NS_PER_MS, decimal_string

MOST_UPDATE_NS: Final = 300 * NS_PER_MS
SHARP_NS: Final = 3 * NS_PER_MS
POLLING_SHARE: Final = CHANNELS_SHARE
COMPUTE_PROHIBITED: Final = 2  # nvml.h: NVML_COMPUTEMODE_PROHIBITED

Figures = dict[str, object]

# A mode's column, what it is to be, whether another one matters, and how it is set.
_MODES: Final = (
    (GPU_PERSISTENCE, 1, False, "turn it on (`nvidia-smi -pm 1`, or the nvidia-persistenced service)"),
    (GPU_MIG, 0, True, "disable MIG (`nvidia-smi -mig 0`) and reset the device"),
    (GPU_ECC, 1, False, "enable ECC (`nvidia-smi -e 1`) and reset the device: rated classes have it on"),
)


def setting_findings(trace: PowerTrace, device: str) -> Iterator[Finding]:
    """Judge what a device says of itself: modes, power limit, processes, whether it is held back."""
    stated = q.settings(trace, device)
    for column, wanted, matters, remedy in _MODES:
        found = stated.get(column)
        said = "the device has no such mode" if found is None else "on" if found else "off"
        good = found is None or found == wanted
        yield find(f"{device}.{column}", said, "on" if wanted else "off", remedy, good=good, matters=matters)
    mode = stated.get(GPU_COMPUTE_MODE)
    remedy = "let processes compute (`nvidia-smi -c 0`)"
    good = mode != COMPUTE_PROHIBITED
    yield find(f"{device}.compute-mode", f"compute mode {mode}", "not prohibited", remedy, good=good)
    limit, default = stated.get(GPU_LIMIT), stated.get("power_limit_default_mw")
    said = f"{limit} mW, {default} mW by default"
    remedy = "set the default again (`nvidia-smi -pl`), or publish results as of another limit"
    good = default is None or limit is None or int(limit) == int(default)
    yield find(f"{device}.power-limit", said, "the default power limit", remedy, good=good, matters=False)
    yield from _disturbed(trace, device)


def _disturbed(trace: PowerTrace, device: str) -> Iterator[Finding]:
    foreign = _seen(trace, device, GPU_FOREIGN)
    said = f"{max(foreign)} compute processes" if foreign else "the device does not list its processes"
    remedy = "stop what uses the device (`nvidia-smi`); a run beside it is void (FOREIGN_PROCESS)"
    good = bool(foreign) and not any(foreign)
    yield find(f"{device}.processes", said, "nobody computes on it", remedy, good=good, matters=bool(foreign))
    held = max((value & REASONS_HELD_BACK for value in _seen(trace, device, GPU_REASONS)), default=0)
    said, expected = f"clocks event reasons {held:#x}", "no thermal slowdown and no power brake"
    remedy = "cool the machine, and look at its power supply; a run would be void (THROTTLED)"
    yield find(f"{device}.held-back", said, expected, remedy, good=not held)


def device_findings(slow: Sequence[q.Stretch], dense: q.Stretch, device: str) -> tuple[list[Finding], Figures]:
    """Judge how a device's instruments behave; returns the findings and the figures that they stand on."""
    figures: Figures = {}
    found: list[Finding] = []
    try:
        for finding in _findings(slow, dense, device, figures):
            found.append(finding)  # noqa: PERF402 - those before a broken rule are kept
    except InvalidMeasurement as error:
        said = f"{error.code}: {error.observed}"
        found.append(find(f"{device}.readings", said, error.expected, error.hint, good=False))
    return found, figures


def _findings(slow: Sequence[q.Stretch], dense: q.Stretch, device: str, figures: Figures) -> Iterator[Finding]:
    failures = [failure for stretch in (*slow, dense) for failure in stretch.trace.failures]
    if failures:
        said = f"{failures[0].instrument}: {failures[0].code} {failures[0].text}"
        remedy = "look at the kernel's log for the device; it may need a reset by the operator"
        yield find(f"{device}.readings", said, "a device that answers throughout", remedy, good=False)
        return
    yield from _cost(q.call_cost(slow[0]), device, figures)
    yield from _counter(slow, dense, device, figures)
    yield from _idle(slow, device, figures)


def _cost(cost: q.Spread | None, device: str, figures: Figures) -> Iterator[Finding]:
    if cost is None:
        return
    figures["callCost"] = cost.to_json()
    said = f"{milliseconds(cost.median)}, {milliseconds(cost.p99)} at p99, {milliseconds(cost.most)} at most"
    remedy = "see what else asks the driver, and whether the device sleeps between calls (persistence)"
    expected, good = f"at most {milliseconds(SHARP_NS)} at p99", cost.p99 <= SHARP_NS
    yield find(f"{device}.call-cost", said, expected, remedy, good=good, matters=False)


def _counter(slow: Sequence[q.Stretch], dense: q.Stretch, device: str, figures: Figures) -> Iterator[Finding]:
    if f"{device}.{GPU_ENERGY}" not in dense.trace.fast.columns:
        said, expected = "the device does not answer field 83", "a total-energy counter"
        remedy = "use a device with an energy counter; runs here stand on the 1 s mean power alone"
        yield find(f"{device}.counter", said, expected, remedy, good=False, matters=False)
        return
    found = q.updates(dense, device)
    if found is None:
        remedy = "look for a driver that has lost the device: a counter that stands still has no ticks"
        said = "the counter did not tick three times"
        yield find(f"{device}.counter", said, "a counter that moves", remedy, good=False)
        return
    yield from _updates(found, device, figures)
    yield from _polling(q.polling(slow, dense, device), device, figures)


def _updates(found: q.Updates, device: str, figures: Figures) -> Iterator[Finding]:
    figures["counter"] = {
        "updateNs": found.period_ns,
        "jitter": found.jitter.to_json(),
        "longestNs": found.longest_ns,
        "resolutionNs": found.resolution_ns,
    }
    jitter = f"off by {milliseconds(found.jitter.p99)} at p99 and {milliseconds(found.jitter.most)} at most"
    said = f"every {milliseconds(found.period_ns)}, {jitter}, ticks known to {milliseconds(found.resolution_ns)}"
    remedy = "use a device whose counter moves more often: its ticks cannot be located in time"
    expected, good = f"at most {milliseconds(MOST_UPDATE_NS)}", found.period_ns <= MOST_UPDATE_NS
    yield find(f"{device}.counter", said, expected, remedy, good=good)
    limit = FROZEN_UPDATES * found.period_ns + found.resolution_ns
    said = f"{milliseconds(found.longest_ns)} without a tick"
    remedy = "a run with such a pause is void (COUNTER_FROZEN); see what keeps the driver busy"
    expected = f"at most {milliseconds(limit)}, {FROZEN_UPDATES} updates"
    yield find(f"{device}.counter-steady", said, expected, remedy, good=found.longest_ns <= limit)


def _polling(found: q.Polling | None, device: str, figures: Figures) -> Iterator[Finding]:
    if found is None:
        return
    figures["polling"] = {
        "slowMw": round(found.slow_watts * 1_000),
        "denseMw": round(found.dense_watts * 1_000),
        "difference": decimal_string(found.difference, 6),
        "resolution": decimal_string(found.resolution, 6),
    }
    certain = abs(found.difference) - found.resolution > POLLING_SHARE
    good = abs(found.difference) <= POLLING_SHARE and found.resolution <= POLLING_SHARE
    said = f"{percent(found.difference)} more when it is read densely, resolved to {percent(found.resolution)}"
    remedy = (
        "the counter minds being asked: do not measure on this device with this driver"
        if certain
        else "let the device come to rest and qualify it again: its idle moves by more than can be told apart"
    )
    expected = f"at most {percent(POLLING_SHARE)}, and resolved as well"
    yield find(f"{device}.polling", said, expected, remedy, good=good, matters=certain)


def _idle(slow: Sequence[q.Stretch], device: str, figures: Figures) -> Iterator[Finding]:
    found, last = q.idle(slow, device), q.idle(slow[-1:], device)
    if found is None or last is None:
        remedy = "use a driver that answers field 185: without it nothing checks the counter"
        said, expected = "the device does not answer field 185", "a 1 s mean power"
        yield find(f"{device}.mean-power", said, expected, remedy, good=False, matters=False)
        return
    figures["idle"] = {
        "meanMw": found.mean_mw,
        "lowMw": found.low_mw,
        "highMw": found.high_mw,
        "decayWattsPerSecond": decimal_string(found.watts_per_s, 6),
    }
    band = 2 * max(SETTLED_SHARE * (last.low_mw + last.high_mw) / 2, Fraction(SETTLED_FLOOR_MW))
    said = f"{found.mean_mw} mW, {decimal_string(found.watts_per_s, 3)} W/s; {last.low_mw} to {last.high_mw} mW at last"
    remedy = "let the device cool, stop what uses it, and qualify it again; a run would be void (NOT_SETTLED)"
    expected, good = f"a device at rest, within {round(band)} mW", last.high_mw - last.low_mw <= band
    yield find(f"{device}.idle", said, expected, remedy, good=good)
    if f"{device}.{GPU_ENERGY}" in slow[-1].trace.fast.columns and last.mean_mw > 0:
        yield _channels(q.slope(slow[-1], device).watts, last, device, figures)


def _channels(watts: Fraction, last: q.Idle, device: str, figures: Figures) -> Finding:
    """Compare the counter with the mean power at rest; what the mean moved by is not the counter's fault."""
    apart = watts * 1_000 / last.mean_mw - 1
    allowed = CHANNELS_SHARE + Fraction(last.high_mw - last.low_mw, last.mean_mw)
    figures["channelsApart"] = decimal_string(apart, 6)
    said, expected = f"the counter is {percent(apart)} above the mean power", f"at most {percent(allowed)} apart"
    remedy = "one of the two is wrong; if they are as far apart in a run, it is void (CHANNELS_DISAGREE)"
    return find(f"{device}.channels", said, expected, remedy, good=abs(apart) <= allowed, matters=False)


def _seen(trace: PowerTrace, device: str, name: str) -> list[int]:
    return [value for value in trace.slow.column(f"{device}.{name}") or () if value is not None]
