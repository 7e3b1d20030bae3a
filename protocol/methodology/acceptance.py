"""Which gated windows of an accelerator may be counted: the rules beside those of `validity`, each with its constant.

`validity` judges a record as a whole (its end, its clocks, its gaps, lost channels, falling counters, throttling,
foreign processes, changed settings). Here is what can be asked once a window has idle on both sides. Each broken rule
is a `Fault` with a stable code; none of them is a number that was corrected.

1. NOT_SETTLED: over the last 1.5 s before OPEN the 1 s mean stayed within 5 % (at least 2 W) of its own middle. A
   window that opens while the device still cools down from something else is not of this work alone. And idle after
   the window is not below idle before it by more than that: a device that cools down slowly keeps within the band.
2. COUNTER_FROZEN: from 2 s before OPEN to the end of the hold, the counter never stood still for more than 3 U, U being
   its update period at the edges (or the time between readings, where that is longer).
3. POWER_STUCK: where the device says that it is busy, the 1 s mean was neither 0 nor the same to the milliwatt for 2 s.
   A driver that has lost its sensor answers with its last value, and a peer's meter books it.
4. IMPLAUSIBLE_POWER: the window's mean power lies in [idle / 2, 1.1 x the enforced limit]. An observed failure is a
   counter at 0.57 of the truth.
5. CLOCKS_CHANGED: the reason bits that say that somebody chose the clocks (application clocks, sync boost) are the same
   at every reading of the window and of the idle around it.
6. TEMPERATURE_APART (over a cell's runs): the runs began within 3 C of each other; leakage current follows temperature.
7. TREND (over a cell's runs, a flag and never a correction): the energy of the runs falls steadily, so that the last
   third is under the first by more than 10 %; or the first run cost more than every other one, and over 10 % more than
   they do in the mean. Answers may have been kept from run to run.
8. WORK_ON_CPU: the accelerators took less than half their idle above idle, while the sandbox used more than half of its
   CPUs. A rated run on an accelerator works on it. (Both halves are this house's choice: an observed case is 20 W
   above 70 W of idle beside full processors.)
9. REHEARSAL (over a session's runs): between the hold of one run and the 2 s before the next, the counter rose above
   idle by more than what its ticks resolve and by more than 1 % of the run: the device worked, and no run was logged.
   Set-up work before the first run is not forbidden; `setup_energy` is there so that it is published.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

from protocol.methodology import statistics
from protocol.methodology.gated import IDLE_BASE_NS, Gate, GatedReading, Series, energy, ticks, update_period
from protocol.methodology.trace import CPU_TIME, PowerTrace, Window
from protocol.methodology.validity import GPU_REASONS
from protocol.units import NS_PER_MS, NS_PER_S

SETTLED_NS: Final = 1_500 * NS_PER_MS
SETTLED_SHARE: Final = Fraction(5, 100)
SETTLED_FLOOR_MW: Final = 2_000
FROZEN_UPDATES: Final = 3
STUCK_NS: Final = 2 * NS_PER_S
LOWEST_OF_IDLE: Final = Fraction(1, 2)
HIGHEST_OF_LIMIT: Final = Fraction(11, 10)
MAX_TEMPERATURE_APART: Final = 3  # degrees Celsius
TREND_SHARE: Final = Fraction(10, 100)
MIN_TREND_RUNS: Final = 6

# NVML's clocks event reasons (nvml.h): applications clocks setting, sync boost
REASONS_CHOSEN: Final = 0x2 | 0x10

UNUSED_OF_IDLE: Final = Fraction(1, 2)
BUSY_OF_CPUS: Final = Fraction(1, 2)
REHEARSAL_SHARE: Final = Fraction(1, 100)

# What only the sandbox can have caused: its vendor must change it; to repeat the session would be to shop for a pass.
OF_THE_SANDBOX: Final = frozenset({"WORK_ON_CPU", "REHEARSAL"})

GPU_LIMIT: Final = "power_limit_mw"
GPU_BUSY: Final = "utilization"
GPU_TEMPERATURE: Final = "temperature_c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One broken rule: its code, and what was seen."""

    code: str
    observed: str


def faults(trace: PowerTrace, found: Series, gated: Gate) -> list[Fault]:
    """Return the broken rules that need no energy figure: settling, frozen counter, stuck power, chosen clocks."""
    return [
        *_settled(found, gated.window),
        *_frozen(found, gated),
        *_stuck(trace, found, gated.window),
        *_clocks(trace, found.name, gated),
    ]


def implausible(trace: PowerTrace, reading: GatedReading, window: Window) -> list[Fault]:
    """Return the fault of a mean power that no such device can have."""
    watts = reading.joules * NS_PER_S / window.duration_ns
    limits = seen(trace, reading.device, GPU_LIMIT, window.open_ns, window.close_ns)
    most = Fraction(max(limits), 1_000) * HIGHEST_OF_LIMIT if limits else None
    least = reading.idle_watts * LOWEST_OF_IDLE
    if watts < least or (most is not None and watts > most):
        span = f"[{float(least):.1f}, {'no limit known' if most is None else f'{float(most):.1f}'}] W"
        return [Fault(code="IMPLAUSIBLE_POWER", observed=f"{reading.device}: {float(watts):.1f} W, outside {span}")]
    return []


def cooling(reading: GatedReading) -> list[Fault]:
    """Return the fault of a device that was still coming to rest when the window opened."""
    if reading.counter is None:
        return []
    before, after = reading.counter.idle, reading.counter.idle_after
    band = max(SETTLED_SHARE * after.watts, Fraction(SETTLED_FLOOR_MW, 1_000))
    if before.watts - after.watts > band + before.bound + after.bound:
        words = f"{float(before.watts):.1f} W at rest before the window, {float(after.watts):.1f} W after it"
        return [Fault(code="NOT_SETTLED", observed=f"{reading.device}: {words}")]
    return []


def start_temperatures(trace: PowerTrace, device: str, runs: Sequence[Window]) -> list[Fault]:
    """Return the fault of runs that did not begin equally warm."""
    found = [seen(trace, device, GPU_TEMPERATURE, run.open_ns, run.open_ns) for run in runs]
    degrees = [value for values in found for value in values]
    if degrees and max(degrees) - min(degrees) > MAX_TEMPERATURE_APART:
        words = f"{device}: the runs began between {min(degrees)} and {max(degrees)} C"
        return [Fault(code="TEMPERATURE_APART", observed=words)]
    return []


def trend(joules: Sequence[Fraction]) -> list[Fault]:
    """Return the flag of runs that cost less and less, as work that is kept from run to run does."""
    third = len(joules) // 3
    if len(joules) < MIN_TREND_RUNS:
        return []
    later = statistics.mean(joules[1:])
    if joules[0] > max(joules[1:]) and later < joules[0] * (1 - TREND_SHARE):
        words = f"run 1 cost {float(joules[0]):.1f} J, the others {float(later):.1f} J each"
        return [Fault(code="TREND", observed=words)]
    first, last = statistics.mean(joules[:third]), statistics.mean(joules[-third:])
    if last < first * (1 - TREND_SHARE) and max(joules[-third:]) < min(joules[:third]):
        words = f"the last {third} runs cost {float(last):.1f} J each, the first {third} {float(first):.1f} J"
        return [Fault(code="TREND", observed=words)]
    return []


def elsewhere(trace: PowerTrace, readings: Sequence[GatedReading], window: Window) -> list[Fault]:
    """Return the fault of work that was moved from the accelerators to the processors."""
    if trace.attachment is None or not readings:
        return []
    cpu = trace.fast.column(CPU_TIME) or ()
    used = [value for value in cpu[trace.fast.between(window.open_ns, window.close_ns)] if value is not None]
    share = Fraction((used[-1] - used[0]) * 1_000, window.duration_ns * trace.attachment.cpus_milli) if used else 0
    above = sum((reading.idle_net for reading in readings), Fraction(0)) * NS_PER_S / window.duration_ns
    idle = sum((reading.idle_watts for reading in readings), Fraction(0))
    if above < UNUSED_OF_IDLE * idle and share > BUSY_OF_CPUS:
        words = f"{float(above):.1f} W above idle on the accelerators, {float(share):.2f} of the CPUs busy"
        return [Fault(code="WORK_ON_CPU", observed=words)]
    return []


def rehearsals(found: Series, runs: Sequence[tuple[Gate, GatedReading]]) -> list[Fault]:
    """Return a fault for each stretch between two runs in which the device worked."""
    broken = []
    for (earlier, reading), (later, _) in pairwise(runs):
        above, resolution = above_idle(found, earlier.until_ns, later.window.open_ns - IDLE_BASE_NS, reading)
        if above > max(resolution, REHEARSAL_SHARE * reading.joules):
            words = f"{found.name}: {float(above):.1f} J above idle after {earlier.window.name!r}, in no run"
            broken.append(Fault(code="REHEARSAL", observed=words))
    return broken


def setup_energy(trace: PowerTrace, found: Series, first: Gate, reading: GatedReading) -> Fraction:
    """Return the joules above idle from the sandbox's attachment to the first run's idle: loading, warm-up."""
    start = trace.attachment.at_ns if trace.attachment is not None else trace.origin_ns
    return above_idle(found, start, first.window.open_ns - IDLE_BASE_NS, reading)[0]


def above_idle(found: Series, start_ns: int, end_ns: int, reading: GatedReading) -> tuple[Fraction, Fraction]:
    """Return a device's joules above idle in a stretch, and what they cannot resolve.

    They are counted from the last reading before the stretch to the last tick in it. That reading lacks what was used
    since the tick before it, and one update of idle is what an honest device leaves open there.
    """
    moves = ticks(found, start_ns, end_ns) if end_ns > start_ns and found.energy_mj is not None else []
    first = max(bisect_right(found.times, start_ns) - 1, 0)
    value = None if found.energy_mj is None else found.energy_mj[first]
    if not moves or value is None or reading.counter is None:
        return Fraction(0), Fraction(0)
    idle, last = reading.counter.idle, moves[-1]
    stretch = last.at - found.times[first]
    joules = Fraction(last.value - value, 1_000) - energy(idle.watts, stretch)
    return joules, energy(idle.watts, reading.counter.update_ns + last.half) + energy(idle.bound, stretch)


def seen(trace: PowerTrace, device: str, name: str, start_ns: int, end_ns: int) -> list[int]:
    """Return what was read of a device's state between two instants; nothing where it has no such state."""
    values = trace.slow.column(f"{device}.{name}") or ()
    return [value for value in values[trace.slow.between(start_ns, end_ns)] if value is not None]


def _settled(found: Series, window: Window) -> Iterator[Fault]:
    means = [value for _, value in _means(found, window.open_ns - SETTLED_NS, window.open_ns)]
    if not means:
        return
    low, high = min(means), max(means)
    if high - low > 2 * max(SETTLED_SHARE * (high + low) / 2, Fraction(SETTLED_FLOOR_MW)):
        words = f"{found.name}: {low} to {high} mW of mean power in the {SETTLED_NS} ns before the window"
        yield Fault(code="NOT_SETTLED", observed=words)


def _frozen(found: Series, gated: Gate) -> Iterator[Fault]:
    if found.energy_mj is None:
        return
    start, window = max(gated.from_ns, gated.window.open_ns - IDLE_BASE_NS), gated.window
    moves = ticks(found, start, gated.until_ns)
    edges = [tick for tick in moves if tick.by_ns <= window.open_ns]
    inside = [at for at in found.times if start <= at <= gated.until_ns]
    reading = max((later - earlier for earlier, later in pairwise(inside)), default=0)
    limit = FROZEN_UPDATES * max(update_period(edges), reading)
    stops = [start, *(tick.by_ns for tick in moves), gated.until_ns]
    longest = max(later - earlier for earlier, later in pairwise(stops))
    if longest > limit:
        words = f"{found.name}: the counter stood still for {longest} ns, updates come within {limit // FROZEN_UPDATES}"
        yield Fault(code="COUNTER_FROZEN", observed=words)


def _stuck(trace: PowerTrace, found: Series, window: Window) -> Iterator[Fault]:
    table, column = trace.slow, f"{found.name}.{GPU_BUSY}"
    busy = table.column(column)
    if busy is None:
        return
    part = table.between(window.open_ns, window.close_ns)
    idle_at = [at for at, value in zip(table.times[part], busy[part], strict=True) if not value]
    since: tuple[int, int] | None = None
    for at, value in _means(found, window.open_ns, window.close_ns):
        if since is None or value != since[1] or any(since[0] <= moment <= at for moment in idle_at):
            since = (at, value)
        elif at - since[0] >= STUCK_NS:
            words = f"{found.name}: a mean power of {value} mW, unmoved for {at - since[0]} ns of work"
            yield Fault(code="POWER_STUCK", observed=words)
            return


def _clocks(trace: PowerTrace, device: str, gated: Gate) -> Iterator[Fault]:
    chosen = {value & REASONS_CHOSEN for value in seen(trace, device, GPU_REASONS, gated.from_ns, gated.until_ns)}
    if len(chosen) > 1:
        words = f"{device}: the clocks were chosen anew, reasons {', '.join(f'{value:#x}' for value in sorted(chosen))}"
        yield Fault(code="CLOCKS_CHANGED", observed=words)


def _means(found: Series, start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    pairs = zip(found.times, found.mean_mw or (), strict=False)
    return [(at, value) for at, value in pairs if start_ns <= at <= end_ns and value is not None]
