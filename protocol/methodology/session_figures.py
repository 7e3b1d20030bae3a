"""A whole session's figures: every run's, and what is accepted, noticed or void only over all of them together.

Where no accelerator was leased each run stands for itself. On accelerators, simulated or not:
1. Windows are gated and the session is accepted or void as a whole (`gated_session`, `acceptance`).
2. WINDOW_TOO_SHORT: the points are repeated inside a run's window until it is at least max(30 s, 100 U) long, U being
   the counter's update period. A plain difference of the counter, whoever computes it, is then off by at most 1 %.
3. UNSTABLE: the coefficient of variation of the runs' joules per sample is at most 10 % (this house's choice: with ten
   runs the mean is then good to 7 %, Student, 95 %). Not asked of a stand-in, whose variation is that of the processor
   under it.
4. `cached-answers`, a flag: the runs cost less and less (`acceptance.trend`), or the first pass of a run cost over 10 %
   more than each later one and by more than the counter resolves at the passes' ends. Answers that are kept cost
   nothing the second time.
5. `deferred-work`, a flag: over 1 % of a run's energy came after its last answer (`gated` rule 4). It was charged.

With probes among its runs (`stages`) a session has the three verdicts of `probes` too. Probes are no runs: they enter
no figure of the runs, and what cannot be read in one voids nothing.

With a wall meter beside it (`beside`) a session has channel `node` too, which is no part of IT energy: it is the whole
machine. A node that costs less than its measured parts voids the session (WALL_DISAGREES). With a site profile it has
the total by PUE (`site`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from protocol.errors import InvalidMeasurement, Unstable, WindowTooShort
from protocol.methodology import statistics
from protocol.methodology.beside import NOTHING, Beside, gain_doubt, nodes
from protocol.methodology.energy import Curve, Estimated, Reading, Unmeasured
from protocol.methodology.figures import RunFigures, cell_figures, energy_figures, run_figures
from protocol.methodology.gated import FLAG_DEFERRED, GatedReading, combined
from protocol.methodology.gated_session import GatedSession, account_runs
from protocol.methodology.probe_figures import Probed, ProbeFigures, probe_costs, probe_figures
from protocol.methodology.probes import CACHED_ANSWERS, Seen, Verdicts, verdicts
from protocol.methodology.site import SiteProfile, SiteTotal, node_total, total
from protocol.methodology.timeline import QueryRecord
from protocol.methodology.trace import GPU_ENERGY, PowerTrace, SourceKind, Window
from protocol.methodology.wall import FLAG_RANGE, WALL_DISAGREES, NodeReading, disagreement
from protocol.units import NS_PER_S

MIN_WINDOW_NS: Final = 30 * NS_PER_S
MIN_UPDATES: Final = 100
MAX_VARIATION: Final = Fraction(10, 100)
CACHED_SHARE: Final = Fraction(10, 100)
MIN_PASSES: Final = 3  # fewer give no later passes to compare with one another

DEFERRED_WORK: Final = "deferred-work"
WALL_RANGE: Final = "wall-range-changed"
_FLAGS: Final = {FLAG_DEFERRED: DEFERRED_WORK, "TREND": CACHED_ANSWERS, FLAG_RANGE: WALL_RANGE}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFigures:
    """The figures of every run, what was noticed, an accelerator's joules above idle before the first run, the site.

    `probes` are the figures of every probe by its window, `verdicts` what they say; None where the plan has no probes.
    """

    runs: tuple[RunFigures, ...]
    flags: tuple[str, ...] = ()
    setup_joules: Fraction | None = None
    site: SiteProfile | None = None
    probes: Mapping[str, ProbeFigures] = field(default_factory=dict)
    verdicts: Verdicts | None = None


def required_window_ns(update_ns: int) -> int:
    """Return how long a run's window must be, at least, on an accelerator whose counter moves every `update_ns`."""
    return max(MIN_WINDOW_NS, MIN_UPDATES * update_ns)


def session_figures(
    trace: PowerTrace,
    timelines: Sequence[Sequence[QueryRecord]],
    given: Beside = NOTHING,
    probed: Probed | None = None,
) -> SessionFigures:
    """Return the figures of a session from its meter's record and its runs' timelines, in the order of the runs.

    `given` is what stands beside the record, `probed` what was asked between the runs. Raises InvalidMeasurement with
    the code of the first broken rule, and what `run_figures`, `account_runs`, `nodes` and `probe_figures` raise.
    """
    calibration = gain_doubt(trace, given.gain)
    wall = nodes(trace, given, len(timelines))
    found = _figures(trace, timelines, calibration, wall)
    flags = set(found.flags)
    for run in found.runs:
        if run.node is not None:
            _check_parts(run, run.node)
            flags |= {_FLAGS[flag] for flag in run.node.flags}
    found = replace(found, site=given.site, flags=tuple(sorted(flags)))
    return found if probed is None else with_probes(trace, timelines, found, probed, calibration)


def with_probes(
    trace: PowerTrace,
    timelines: Sequence[Sequence[QueryRecord]],
    found: SessionFigures,
    probed: Probed,
    calibration: Fraction | None = None,
) -> SessionFigures:
    """Return a session's figures with those of its probes, their verdicts, and the flags that these raise.

    Raises as `probe_figures` does.
    """
    seen = Seen(
        asked=probed.asked,
        runs=timelines,
        windows=probed.timelines,
        costs=probe_costs(trace, found.runs, probed, calibration),
        public=probed.public,
        private=probed.private,
    )
    figures, said = probe_figures(trace, probed), verdicts(seen)
    return replace(found, probes=figures, verdicts=said, flags=tuple(sorted({*found.flags, *said.flags})))


def _figures(
    trace: PowerTrace,
    timelines: Sequence[Sequence[QueryRecord]],
    calibration: Fraction | None,
    wall: Sequence[NodeReading | None],
) -> SessionFigures:
    numbered = list(enumerate(timelines, start=1))
    if not trace.sources["gpu"].devices:
        return SessionFigures(
            runs=tuple(run_figures(trace, number, records, node=wall[number - 1]) for number, records in numbered)
        )
    samples = [sum(record.samples for record in records) for records in timelines]
    found = account_runs(trace, len(timelines), calibration, samples)
    for fault in found.faults:
        raise InvalidMeasurement(
            code=fault.code,
            observed=fault.observed,
            expected="a device and a sandbox that keep to every rule of the gated window (docs/methodology.md)",
            hint="the session is void and repeated; `jouleseal doctor --qualify` looks at the device by itself",
        )
    runs = tuple(
        run_figures(trace, number, records, found.runs[number - 1], wall[number - 1]) for number, records in numbered
    )
    _check_length(runs)
    if trace.sources["gpu"].kind is SourceKind.NVML:
        _check_variation(runs)
    return SessionFigures(
        runs=runs,
        flags=_flags(trace, timelines, found),
        setup_joules=sum(found.setup_joules.values(), Fraction(0)),
    )


def published(found: SessionFigures) -> dict[str, str]:
    """Return the figures of a cell from its completed session, as they are signed."""
    figures = cell_figures(found.runs, flags=found.flags, setup_joules=found.setup_joules)
    if found.verdicts is not None:
        figures |= found.verdicts.figures()
    return figures if found.site is None else figures | _site_figures(found.runs, found.site)


def _site_figures(runs: Sequence[RunFigures], site: SiteProfile) -> dict[str, str]:
    """Return the totals by PUE. One that lacks a channel is called what it is, the sum over its scope."""
    parts = [total(run.energy.channels, site) for run in runs]
    figures = {"pue": site.pue_text}
    name = "totalEnergy" if parts[0].complete else "scopedTotalEnergy"
    figures |= energy_figures(name, runs, [_estimated(found) for found in parts])
    figures[f"{name}Scope"] = "+".join(parts[0].scope)
    figures[f"{name}Kind"] = parts[0].kind
    whole = [node_total(run.node.gross, site) for run in runs if run.node is not None]
    if len(whole) == len(runs):
        figures |= energy_figures("nodeTotalEnergy", runs, [_estimated(found) for found in whole])
        figures["nodeTotalEnergyKind"] = whole[0].kind
    return figures


def _estimated(found: SiteTotal) -> Reading:
    if found.joules is None:
        return Unmeasured(reason=found.reason)
    return Estimated(joules=found.joules, model=f"pue-{found.pue}")


def _check_parts(run: RunFigures, node: NodeReading) -> None:
    words = disagreement(node.gross, run.energy.channels)
    if words is not None:
        raise InvalidMeasurement(
            code=WALL_DISAGREES,
            observed=words,
            expected="a node that costs at least what its measured parts cost",
            hint="one of the instruments is wrong; see what the wall meter is wired to",
        )


def _check_length(runs: Sequence[RunFigures]) -> None:
    for run in runs:
        updates = [0 if found.counter is None else found.counter.update_ns for found in run.accelerators.values()]
        required = required_window_ns(max(updates))
        if run.duration_ns < required:
            raise WindowTooShort(
                observed=f"a window of {run.duration_ns} ns, {run.passes} passes",
                expected=f"at least {required} ns: 30 s, and 100 updates of the counter",
                hint="repeat the points inside the window until it is long enough",
            )


def _check_variation(runs: Sequence[RunFigures]) -> None:
    costs = [combined(run.accelerators)[0] / run.samples for run in runs]
    spread = statistics.deviation(costs)
    variation = Fraction(0) if spread is None else spread / statistics.mean(costs)
    if variation > MAX_VARIATION:
        raise Unstable(
            observed=f"a coefficient of variation of {float(variation):.3f} over {len(runs)} runs",
            expected=f"at most {float(MAX_VARIATION):.2f}",
            hint="look for what else this machine does; a device that is not at a steady temperature varies as well",
        )


def _flags(trace: PowerTrace, timelines: Sequence[Sequence[QueryRecord]], found: GatedSession) -> tuple[str, ...]:
    flags = {_FLAGS[flag] for flag in found.flags}
    for records, gated in zip(timelines, found.runs, strict=True):
        if any(_first_pass_dearer(trace, records, reading) for reading in gated.values()):
            flags.add(CACHED_ANSWERS)
    return tuple(sorted(flags))


def _first_pass_dearer(trace: PowerTrace, records: Sequence[QueryRecord], reading: GatedReading) -> bool:
    """Return whether a run's first pass cost more than its later ones do, beyond what the counter resolves."""
    counter = trace.fast.column(f"{reading.device}.{GPU_ENERGY}")
    passes = _passes(records)
    if counter is None or None in counter or reading.counter is None or len(passes) < MIN_PASSES:
        return False
    values = [value for value in counter if value is not None]
    curve = Curve(name=reading.device, times=trace.fast.times, values=values, unit=Fraction(1, 1_000))
    first, *later = [curve.energy(window) for window in passes]
    highest = max(cost * NS_PER_S / window.duration_ns for cost, window in zip([first, *later], passes, strict=True))
    unresolved = 2 * highest * reading.counter.update_ns / NS_PER_S  # one update at each end
    return first > max(later) + unresolved and first > (1 + CACHED_SHARE) * statistics.mean(later)


def _passes(records: Sequence[QueryRecord]) -> list[Window]:
    """Return the stretch of each pass, from its first query's start to its last one's end."""
    ends: dict[int, tuple[int, int]] = {}
    for record in records:
        start, _ = ends.get(record.passno, (record.sent_ns, 0))
        ends[record.passno] = (start, record.done_ns)
    return [Window(name=f"pass-{passno}", open_ns=start, close_ns=end) for passno, (start, end) in ends.items()]
