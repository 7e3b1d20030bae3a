"""Which pictures a session gets: one of each run, and one of the whole record, which a voided session has as well.

A run's picture reaches as far before and after its window as the window is long, at most 4 s, and never beyond the idle
windows beside it; a gated window's shows its idle and its whole hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from orchestrator.report.curves import Channel, channels, counted, node
from orchestrator.report.picture import Edge, Panel, Picture, Role, Stretch
from orchestrator.report.words import KINDS, clean, rounded, seconds
from protocol.errors import JoulesealError
from protocol.methodology.acceptance import SETTLED_FLOOR_MW, SETTLED_SHARE
from protocol.methodology.beside import NOTHING, Beside
from protocol.methodology.energy import Carried, Estimated, Reading
from protocol.methodology.figures import RunFigures
from protocol.methodology.gated import IDLE_BASE_NS, Bracket, Gate, GatedReading, Tick, gate
from protocol.methodology.session_figures import SessionFigures
from protocol.methodology.stages import around as idle_around
from protocol.methodology.trace import InstrumentFailure, PowerTrace, Window
from protocol.units import MJ_PER_J, NS_PER_MS, NS_PER_S, decimal_string

MAX_MARGIN_NS: Final = 4 * NS_PER_S
_GATED_MARGIN_NS: Final = IDLE_BASE_NS + 500 * NS_PER_MS
_BEYOND_HOLD_NS: Final = 200 * NS_PER_MS
EDGE_NS: Final = 350 * NS_PER_MS  # on each side of a mark: three updates of the slowest counter
_MAX_EVENTS: Final = 8  # of a record's failures: instruments fail once each
_RANK: Final = ("measured", "estimated", "simulated")  # the weakest kind names a sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A session's record with what stands beside it and what could be computed from both.

    `error` says why there are no figures.
    """

    trace: PowerTrace
    figures: SessionFigures | None
    error: JoulesealError | None
    given: Beside = NOTHING


def run_picture(drawn: Drawn, number: int, of: int) -> Picture | None:
    """Return the picture of run `number` (from 1); None where the record has no such window."""
    trace = drawn.trace
    window = _window(trace, f"run-{number}")
    if window is None:
        return None
    around = idle_around(trace, window.name)
    gated = _gate(trace, window, *around)
    start_ns, end_ns = frame(window, *around, gated)
    figures = None if drawn.figures is None or number > len(drawn.figures.runs) else drawn.figures.runs[number - 1]
    found = (*channels(trace, start_ns, end_ns), *node(trace, drawn.given, start_ns, end_ns))
    return Picture(
        title=f"Run {number} of {of}",
        kind=_weakest(trace) if figures is None else figures.energy.it_energy.kind,
        figures=tuple(_figures(figures, drawn.error, window)),
        start_ns=start_ns,
        end_ns=end_ns,
        zero_ns=window.open_ns,
        zero="the window's opening",
        stretches=tuple(_stretches(window, *around, gated)),
        panels=tuple(_panel(channel, figures) for channel in found),
        notes=tuple(_notes(found, figures, window, gated)),
        edges=tuple(_edges(trace, figures, window)),
        events=_events(trace, start_ns, end_ns),
    )


def record_picture(drawn: Drawn, reason: str | None) -> Picture:
    """Return the picture of a session's whole record; `reason` is the code that voided it."""
    trace = drawn.trace
    start_ns, end_ns = trace.fast.times[0], trace.fast.times[-1]
    attached = None if trace.attachment is None else trace.attachment.at_ns
    found = (*channels(trace, start_ns, end_ns), *node(trace, drawn.given, start_ns, end_ns))
    runs = sum(window.name.startswith("run-") for window in trace.windows)
    lines = [f"{runs} windows of runs in {seconds(end_ns - start_ns)} of record"]
    if reason is not None:
        lines.append("Nothing in this picture counts.")
    notes = [f"{name}." for name, _ in _events(trace, start_ns, end_ns)]
    if drawn.figures is not None and drawn.figures.setup_joules is not None:
        notes.append(
            f"Set-up took {rounded(drawn.figures.setup_joules)} J above idle on the accelerators before the first run."
        )
    return Picture(
        title="The whole session" if reason is None else clean(f"Void: {reason}", 34),
        kind=_weakest(trace),
        figures=tuple(lines),
        start_ns=start_ns,
        end_ns=end_ns,
        zero_ns=start_ns if attached is None else attached,
        zero="the record's start" if attached is None else "the sandbox's start",
        stretches=tuple(_all_stretches(trace)),
        panels=tuple(Panel(channel=channel) for channel in found),
        notes=tuple(notes),
        events=_events(trace, start_ns, end_ns),
        void=reason is not None,
    )


def frame(window: Window, before: Window | None, after: Window | None, gated: Gate | None) -> tuple[int, int]:
    """Return the stretch that a run's picture shows."""
    margin = min(window.duration_ns, MAX_MARGIN_NS)
    if gated is not None:
        margin = min(max(margin, _GATED_MARGIN_NS), MAX_MARGIN_NS)
    start_ns, end_ns = window.open_ns - margin, window.close_ns + margin
    if before is not None:
        start_ns = max(start_ns, before.open_ns)
    if gated is not None:
        end_ns = max(end_ns, gated.until_ns + _BEYOND_HOLD_NS)
    if after is not None:
        end_ns = min(end_ns, after.close_ns)
    return start_ns, end_ns


def energy_words(reading: Reading) -> str:
    """Return an energy with its doubt, its kind and what it stands on, or why there is none."""
    if not isinstance(reading, Carried):
        return f"{reading.kind}: {reading.reason}"
    if isinstance(reading, Estimated):
        return f"{joules(reading.joules)}, {reading.kind} by {reading.model}"
    doubt = "" if reading.uncertainty is None else f" ± {joules(reading.uncertainty)} (k = 2)"
    return f"{joules(reading.joules)}{doubt}, {reading.kind}, {reading.method}"


def joules(value: Fraction) -> str:
    """Return an energy in joules, or in millijoules where it is smaller than one."""
    return f"{rounded(value)} J" if abs(value) >= 1 or value == 0 else f"{rounded(value * MJ_PER_J, 3)} mJ"


def _window(trace: PowerTrace, name: str) -> Window | None:
    return next((window for window in trace.windows if window.name == name), None)


def _gate(trace: PowerTrace, window: Window, before: Window | None, after: Window | None) -> Gate | None:
    if not trace.sources["gpu"].devices or before is None or after is None:
        return None
    try:
        return gate(trace, window, before, after)
    except JoulesealError:
        return None  # idle was too brief: the session is void, and its window is drawn as it was


def _weakest(trace: PowerTrace) -> str:
    kinds = {KINDS[source.kind] for source in trace.sources.values() if source.kind in KINDS}
    return max(kinds, key=_RANK.index, default="unmeasured")


def _figures(figures: RunFigures | None, error: JoulesealError | None, window: Window) -> Iterator[str]:
    if figures is None:
        yield f"No energy: {'not computed' if error is None else error.code}, window {seconds(window.duration_ns)}"
        return
    energy = figures.energy
    total = f"{joules(energy.it_energy.joules)} in " if isinstance(energy.it_energy, Carried) else "a window of "
    yield f"{total}{seconds(window.duration_ns)}, {figures.samples:,} queries in {_count(figures.passes, 'pass')}"
    for name in energy.scope:
        yield f"{name}: {energy_words(energy.channels[name])}"
    if figures.node is not None:
        yield f"node, beside the sum: {energy_words(figures.node.gross)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}es"


def _panel(channel: Channel, figures: RunFigures | None) -> Panel:
    if figures is None:
        return Panel(channel=channel)
    reading = figures.accelerators.get(channel.device or "")
    if reading is not None:
        band = max(SETTLED_SHARE * reading.idle_watts, Fraction(SETTLED_FLOOR_MW, MJ_PER_J))
        used = [] if reading.counter is None else _used(reading.counter)
        return Panel(channel=channel, idle_watts=reading.idle_watts, band_watts=band, ticks=tuple(used))
    if channel.device is not None:
        return Panel(channel=channel)
    return Panel(channel=channel, idle_watts=_idle_watts(figures, channel.name))


def _idle_watts(figures: RunFigures, channel: str) -> Fraction | None:
    """Return the mean power of the idle windows beside a run, as the account took it out of the run."""
    gross, net = figures.energy.channels.get(channel), figures.energy.idle_net.get(channel)
    if not isinstance(gross, Carried) or not isinstance(net, Carried):
        return None
    return max((gross.joules - net.joules) * NS_PER_S / figures.duration_ns, Fraction(0))


def _used(counter: Bracket) -> list[tuple[str, Tick]]:
    return [("the bracket's first tick", counter.start), ("the bracket's last tick", counter.end)]


def _edges(trace: PowerTrace, figures: RunFigures | None, window: Window) -> Iterator[Edge]:
    """Yield both ends of the first accelerator's window, each with its tick and as much on the mark's other side."""
    reading = next(iter(figures.accelerators.values()), None) if figures is not None else None
    if reading is None or reading.counter is None:
        return
    sides = (("opening", window.open_ns, reading.counter.start), ("close", window.close_ns, reading.counter.end))
    for name, mark_ns, tick in sides:
        reach = max(EDGE_NS, abs(tick.after_ns - mark_ns) + EDGE_NS // 3, abs(tick.by_ns - mark_ns) + EDGE_NS // 3)
        start_ns, end_ns = mark_ns - reach, mark_ns + reach
        yield Edge(
            name=f"{reading.device} counter at the {name}",
            start_ns=start_ns,
            end_ns=end_ns,
            mark_ns=mark_ns,
            counter=counted(trace, reading.device, start_ns, end_ns),
            tick=tick,
        )


def _stretches(window: Window, before: Window | None, after: Window | None, gated: Gate | None) -> Iterator[Stretch]:
    if before is not None:
        yield Stretch(role=Role.IDLE, label="idle", start_ns=before.open_ns, end_ns=before.close_ns)
    number = window.name.rpartition("-")[2]
    yield Stretch(role=Role.RUN, label=f"run {number}", start_ns=window.open_ns, end_ns=window.close_ns)
    if after is None:
        return
    if gated is not None:
        yield Stretch(role=Role.HOLD, label="hold", start_ns=window.close_ns, end_ns=gated.until_ns)
        yield Stretch(role=Role.IDLE, label="idle", start_ns=gated.until_ns, end_ns=after.close_ns)
    else:
        yield Stretch(role=Role.IDLE, label="idle", start_ns=after.open_ns, end_ns=after.close_ns)


def _all_stretches(trace: PowerTrace) -> Iterator[Stretch]:
    if trace.attachment is not None and trace.windows and trace.windows[0].open_ns > trace.attachment.at_ns:
        first = trace.windows[0].open_ns
        yield Stretch(role=Role.SET_UP, label="set-up", start_ns=trace.attachment.at_ns, end_ns=first)
    for window in trace.windows:
        kind, _, number = window.name.rpartition("-")
        role = Role.RUN if kind == "run" else Role.IDLE
        label = kind if kind == "idle" else clean(f"{kind or 'window'} {number}", 24)
        yield Stretch(role=role, label=label, start_ns=window.open_ns, end_ns=window.close_ns)


def _events(trace: PowerTrace, start_ns: int, end_ns: int) -> tuple[tuple[str, int], ...]:
    """Return what failed between two instants: in words, and when."""
    since = trace.attachment.at_ns if trace.attachment is not None else start_ns
    inside = [failure for failure in trace.failures if start_ns <= failure.at_ns <= end_ns][:_MAX_EVENTS]
    return tuple((_failed(failure, since), failure.at_ns) for failure in inside)


def _failed(failure: InstrumentFailure, since_ns: int) -> str:
    side = "after" if failure.at_ns >= since_ns else "before"
    when = f"{seconds(abs(failure.at_ns - since_ns))} {side} the start"
    return f"{clean(failure.instrument, 40)} failed {when}: {clean(failure.code, 40)}"


def _notes(found: Sequence[Channel], figures: RunFigures | None, window: Window, gated: Gate | None) -> Iterator[str]:
    if figures is None:
        return
    for device, reading in figures.accelerators.items():
        yield from _gated_notes(device, reading, window, gated)
    for channel in found:
        idle = None if channel.device is not None else _idle_watts(figures, channel.name)
        if idle is not None:
            yield f"{channel.name}: {rounded(idle, 3)} W idle, from the idle windows beside the run."


def _gated_notes(device: str, reading: GatedReading, window: Window, gated: Gate | None) -> Iterator[str]:
    counter = reading.counter
    if counter is None:
        yield f"{device}: no counter; the 1 s mean with its tail stands alone, idle {rounded(reading.idle_watts)} W."
        return
    first, last = (_place(tick, window) for tick in (counter.start, counter.end))
    yield (
        f"{device}: counter between the ticks (▲) at {first} and {last}, less {rounded(counter.idle.watts)} W of idle "
        "over the slack."
    )
    share = "what settling allows around idle (shaded): 5 %, at least 2 W"
    hold = "" if gated is None else f" in the {seconds(gated.until_ns - window.close_ns)} hold (hatched)"
    if counter.deferred:
        yield f"{device}: {joules(counter.deferred)} above idle{hold}, charged to the run as deferred work; {share}."
    else:
        yield (f"{device}: nothing above idle{hold} that the ticks resolve ({joules(counter.resolution)}); {share}.")


def _place(tick: Tick, window: Window) -> str:
    at = Fraction(tick.at - window.open_ns) / NS_PER_S
    sign = "+" if at >= 0 else "−"  # noqa: RUF001 - the minus sign
    return f"{sign}{decimal_string(abs(at), 3)} s ± {decimal_string(tick.half / NS_PER_MS, 1)} ms"
