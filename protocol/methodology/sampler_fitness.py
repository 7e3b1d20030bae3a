"""Whether this machine's sampler, processor counters and clocks are sound: findings from its own records.

CPU_SHARE    5 ms a second for one accelerator and 1 ms for each further: what the sampler promises
LATE_NS      5 ms at p99 beside busy processors: what the sampler promises
LATE_PERIODS three periods without a sample void a run; a sample that is two late is where that begins
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

from protocol.methodology import qualification as q
from protocol.methodology.findings import Finding, find, milliseconds
from protocol.methodology.trace import PowerTrace, SourceKind
from protocol.methodology.validity import MAX_CLOCK_STEP_NS, MAX_MISSED
from protocol.units import NS_PER_MS, decimal_string

CPU_SHARE: Final = Fraction(5, 1_000)
CPU_SHARE_EACH: Final = Fraction(1, 1_000)
LATE_NS: Final = 5 * NS_PER_MS
LATE_PERIODS: Final = 2

_ROOT_ONLY: Final = "CVE-2020-8694"  # in the reason of a counter that is there and is refused

Figures = dict[str, object]


def sampler_findings(
    quiet: q.Stretch, busy: q.Stretch, spent: q.Spent, traces: Sequence[PowerTrace]
) -> tuple[list[Finding], Figures]:
    """Judge the sampler, the processor's counters and the clocks; returns the findings and their figures."""
    figures: Figures = {}
    found = [
        *_lateness(q.lateness(quiet), "idle", figures),
        *_lateness(q.lateness(busy), "busy", figures),
        *_share(spent, len(quiet.trace.sources["gpu"].devices), figures),
        *_zones(quiet, figures),
        *_clocks(traces, figures),
    ]
    return found, figures


def _lateness(found: q.Lateness | None, name: str, figures: Figures) -> Iterator[Finding]:
    expected = f"at most {milliseconds(LATE_NS)} late at p99, none missed"
    remedy = "stop other work, and run the meter as root, so that it may go before it"
    if found is None:
        yield find(f"sampler.{name}", "no sample was due", expected, remedy, good=False)
        return
    spread = found.spread
    figures[f"{name}Lateness"] = {**spread.to_json(), "missed": found.missed, "periodNs": found.period_ns}
    late = f"{milliseconds(spread.p99)} late at p99, {milliseconds(spread.most)} at most"
    said = f"{late}, {found.missed} of {spread.count} missed"
    void = spread.most > LATE_PERIODS * found.period_ns or found.missed > MAX_MISSED * spread.count
    good = spread.p99 <= LATE_NS and not found.missed
    yield find(f"sampler.{name}", said, expected, remedy, good=good, matters=void)


def _share(spent: q.Spent, devices: int, figures: Figures) -> Iterator[Finding]:
    allowed = CPU_SHARE + CPU_SHARE_EACH * max(devices - 1, 0)
    figures["cpuShare"] = decimal_string(spent.share, 6)
    said = f"{decimal_string(spent.share * 1_000, 2)} ms of CPU a second"
    expected = f"at most {decimal_string(allowed * 1_000, 0)} ms"
    remedy = "see whether the driver's calls are slow, or the processor runs at a low frequency"
    yield find("sampler.cpu", said, expected, remedy, good=spent.share <= allowed, matters=False)


def _zones(quiet: q.Stretch, figures: Figures) -> Iterator[Finding]:
    found = q.zones(quiet)
    figures["rapl"] = [zone.column for zone in found]
    for zone in found:
        said = "read, and it moves" if zone.moved else "read, and it stands still"
        remedy = "look at the kernel's powercap driver: the processor's energy would be 0"
        yield find(zone.column, said, "a counter that moves", remedy, good=zone.moved)
    source = quiet.trace.sources["cpu"]
    if source.kind is not SourceKind.RAPL:
        remedy = "run the meter as root; until then the processor's energy is estimated by a model"
        good = _ROOT_ONLY not in source.reason
        expected = "the processor's counters, or a named model in their place"
        yield find("rapl", source.reason, expected, remedy, good=good, matters=False)


def _clocks(traces: Sequence[PowerTrace], figures: Figures) -> Iterator[Finding]:
    asleep, stepped = q.clocks_apart(traces)
    figures["clocks"] = {"bootApartNs": asleep, "wallApartNs": stepped}
    said = f"beside the monotonic clock, the boot clock moved by {asleep} ns, the wall clock by {stepped} ns"
    remedy = "keep the machine awake, and its clock slewed and not stepped"
    good = max(asleep, stepped) <= MAX_CLOCK_STEP_NS
    yield find("clocks", said, f"at most {MAX_CLOCK_STEP_NS} ns each", remedy, good=good)
