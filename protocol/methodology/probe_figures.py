"""From evidence to what a session's probes cost: figures of each window, and costs that the verdicts compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from protocol.errors import InvalidMeasurement, VerificationError
from protocol.methodology import acceptance, statistics
from protocol.methodology.energy import COVERAGE_FACTOR
from protocol.methodology.figures import RunFigures
from protocol.methodology.gated import combined, measure, series
from protocol.methodology.gated_session import gate_of
from protocol.methodology.probes import RESOLVED_NS, Cost, Quality
from protocol.methodology.stages import Asked, probes
from protocol.methodology.timeline import QueryRecord
from protocol.methodology.trace import CPU_TIME, PowerTrace, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What was asked between the runs: the rule's arguments, each probe's timeline by its window, what quality it had.

    `public` is the signed quality of every run, `private` that of every shard window over its private samples.
    """

    asked: Asked
    timelines: Mapping[str, Sequence[QueryRecord]] = field(default_factory=dict)
    public: Sequence[Quality] = ()
    private: Sequence[Quality] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFigures:
    """One probe's window: its length, what its queries took in the middle and in the mean, the sandbox's CPU time."""

    duration_ns: int
    median_ns: int
    mean_ns: int
    cpu_ns: int | None

    def to_json(self) -> dict[str, object]:
        """Return the figures as they stand in the signed outcome: strings only."""
        return {
            "durationNs": str(self.duration_ns),
            "latencyNs": {"median": str(self.median_ns), "mean": str(self.mean_ns)},
            "cpuNs": None if self.cpu_ns is None else str(self.cpu_ns),
        }


def probe_figures(trace: PowerTrace, probed: Probed) -> dict[str, ProbeFigures]:
    """Return the figures of every probe by its window.

    Raises VerificationError: WINDOW_ABSENT, PROBE_MISSING for a probe without a timeline, and TIMELINE_OUTSIDE_WINDOW
    for one that has a query outside its window.
    """
    found = {}
    for probe in probes(probed.asked):
        records, window = probed.timelines.get(probe.name, ()), trace.window(probe.name)
        if len(records) != len(probe.messages):
            raise VerificationError(
                code="PROBE_MISSING",
                observed=f"{probe.name} with {len(records)} queries",
                expected=f"{len(probe.messages)} queries, as the session's nonce draws them",
                hint="a session whose probes are left out cannot be judged",
            )
        if records[0].sent_ns < window.open_ns or records[-1].done_ns > window.close_ns:
            raise VerificationError(
                code="TIMELINE_OUTSIDE_WINDOW",
                observed=f"{probe.name} has queries outside its metered window",
                expected=f"every query between {window.open_ns} and {window.close_ns} ns",
                hint="the timeline and the meter's record do not belong together",
            )
        latencies = [record.done_ns - record.sent_ns for record in records]
        found[probe.name] = ProbeFigures(
            duration_ns=window.duration_ns,
            median_ns=statistics.percentile(latencies, 500),
            mean_ns=round(statistics.mean(latencies)),
            cpu_ns=_cpu_ns(trace, window),
        )
    return found


def probe_costs(
    trace: PowerTrace, runs: Sequence[RunFigures], probed: Probed, calibration: Fraction | None
) -> dict[str, Cost]:
    """Return what a sample cost in every run and probe, by window; a probe that cannot be read has none."""
    found: dict[str, Cost] = {}
    for number, run in enumerate(runs, 1):
        if run.accelerators:
            joules, doubt = combined(run.accelerators)
            found[f"run-{number}"] = _gated(joules, doubt, run.samples, run.duration_ns)
        elif run.energy.facts.cpu_ns is not None:
            found[f"run-{number}"] = _host(run.energy.facts.cpu_ns, run.samples, run.duration_ns)
    for probe in probes(probed.asked):
        window = trace.window(probe.name)
        cost = _accelerators(trace, window, probe.samples, calibration)
        cpu = _cpu_ns(trace, window)
        if trace.sources["gpu"].devices:
            found |= {} if cost is None else {probe.name: cost}
        elif cpu is not None:
            found[probe.name] = _host(cpu, probe.samples, window.duration_ns)
    return found


def _gated(joules: Fraction, doubt: Fraction, samples: int, duration_ns: int) -> Cost:
    standard = doubt / (COVERAGE_FACTOR * joules) if joules > 0 else Fraction(1)
    return Cost(amount=joules / samples, doubt=standard, gated=True, duration_ns=duration_ns)


def _host(cpu_ns: int, samples: int, duration_ns: int) -> Cost:
    return Cost(amount=Fraction(cpu_ns, samples), doubt=Fraction(0), gated=False, duration_ns=duration_ns)


def _accelerators(trace: PowerTrace, window: Window, samples: int, calibration: Fraction | None) -> Cost | None:
    """Return the cost of a window on the leased accelerators; None where one of them cannot be read there."""
    devices = trace.sources["gpu"].devices
    if not devices or window.duration_ns < RESOLVED_NS:
        return None
    readings = {}
    for device in devices:
        one = series(trace, device)
        try:
            gated = gate_of(trace, window.name)
            if acceptance.faults(trace, one, gated):
                return None
            readings[device] = measure(one, gated, calibration)
        except InvalidMeasurement:
            return None
    joules, doubt = combined(readings)
    return _gated(joules, doubt, samples, window.duration_ns)


def _cpu_ns(trace: PowerTrace, window: Window) -> int | None:
    """Return the sandbox's CPU time from the first to the last reading of a window; marks are readings."""
    column = trace.fast.column(CPU_TIME) or ()
    used = [value for value in column[trace.fast.between(window.open_ns, window.close_ns)] if value is not None]
    return used[-1] - used[0] if used else None
