"""From evidence to figures: a run's trace and timeline become its figures, a cell's runs become the published ones.

Everything here is on the *recomputed* list: the orchestrator signs what these functions return, the verifier calls them
again on the bundle's evidence and compares the bytes.

Rules:
1. Run k has the window `run-k`; its idle baseline are the idle windows right before and right after it (`stages`).
2. Every query lies inside its window, and answered equals asked: the timeline has exactly the planned shape.
3. Energy per 1,000 queries counts points, as AI Energy Score does: a message of 32 samples is 32 queries of a user.
   Wh per 1,000 queries = J / 3600 / points answered x 1000.
4. A cell's figure is the mean over its runs (`mean-of-runs/1`); the interval is Student's, 95 %, of that mean.
5. A percentile is published only where the run has the queries that carry it (`statistics.MIN_QUERIES`).
6. Where an accelerator was leased the gpu channel is that of its gated window, and the runs were accepted together
   (`session_figures`). The doubt of a cell (k = 2) is the root sum of squares of its runs' mean doubt, which does not
   average out (the board's gain is common to all of them), and of 2 u_runs, u_runs = s/sqrt n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from protocol.errors import VerificationError
from protocol.methodology import statistics
from protocol.methodology.energy import (
    COVERAGE_FACTOR,
    AcceleratorReading,
    Carried,
    EnergyAccount,
    Estimated,
    NotApplicable,
    Reading,
    Unmeasured,
    account,
)
from protocol.methodology.gated import GatedReading, combined
from protocol.methodology.stages import around
from protocol.methodology.timeline import QueryRecord, expected_shape
from protocol.methodology.trace import PowerTrace
from protocol.methodology.wall import NodeReading
from protocol.units import NS_PER_MS, NS_PER_S, decimal_string, millijoules, watt_hours

STATISTIC = "mean-of-runs/1"
MEASUREMENT_FLAGS = "measurementFlags"  # the figure that names what was noticed about the runs, joined by "+"

_PER_1000 = 1000
_PER_MILLE = {"p50": 500, "p90": 900, "p99": 990}
_WH_PLACES = 9  # a nano watt-hour per 1,000 queries: below the smallest model that we have
_MS_PLACES = 6  # whole nanoseconds
_RATE_PLACES = 3
_RATIO_PLACES = 6
_JOULE_PLACES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """What one run's evidence gives, exact: `latencies_ns` per query, `samples` the points answered in the window.

    `accelerators` has the gated reading of each leased device, by its name in the record; nothing in the CPU class.
    `node` is what a wall meter says of the whole machine, where there is one.
    """

    energy: EnergyAccount
    latencies_ns: tuple[int, ...]
    samples: int
    passes: int
    accelerators: Mapping[str, GatedReading] = field(default_factory=dict)
    node: NodeReading | None = None

    @property
    def duration_ns(self) -> int:
        """The window's length in nanoseconds."""
        return self.energy.window.duration_ns

    def to_json(self) -> dict[str, object]:
        """Return the run's figures as they stand in the signed outcome: strings and integers only."""
        return {
            "durationNs": str(self.duration_ns),
            "energyMj": {
                name: _reading_json(reading, self.energy.idle_net[name])
                for name, reading in self.energy.channels.items()
            },
            "itEnergy": {
                **_reading_json(self.energy.it_energy, self.energy.it_idle_net),
                "scope": list(self.energy.scope),
            },
            "latencyNs": {
                "mean": str(round(statistics.mean(self.latencies_ns))),
                **{name: _percentile(self.latencies_ns, name) for name in _PER_MILLE},
            },
            "samplesPerSecond": decimal_string(self.rate, _RATE_PLACES),
            "cpuNs": _optional(self.energy.facts.cpu_ns),
            "blockIoBytes": _optional(self.energy.facts.block_io_bytes),
            "memoryPeakBytes": _optional(self.energy.facts.memory_peak_bytes),
            **self._instruments_json(),
        }

    def _instruments_json(self) -> dict[str, object]:
        found: dict[str, object] = {}
        if self.accelerators:
            found["accelerators"] = {name: _gated_json(reading) for name, reading in self.accelerators.items()}
        if self.node is not None:
            net = (
                Unmeasured(reason="")
                if self.node.idle_net is None
                else replace(self.node.gross, joules=self.node.idle_net)
            )
            found["node"] = _reading_json(self.node.gross, net)
        return found

    @property
    def rate(self) -> Fraction:
        """Points answered per second of the window."""
        return Fraction(self.samples * NS_PER_S, self.duration_ns)


def run_figures(
    trace: PowerTrace,
    run: int,
    records: Sequence[QueryRecord],
    gated: Mapping[str, GatedReading] | None = None,
    node: NodeReading | None = None,
) -> RunFigures:
    """Return the figures of run `run` from the session's trace and the run's timeline.

    `gated` are the readings of the leased accelerators over this run, by device, `node` the wall meter's. Raises
    VerificationError TIMELINE_OUTSIDE_WINDOW where a query lies outside the run's window, and what `energy.account`
    raises.
    """
    window = trace.window(f"run-{run}")
    if not records or records[0].sent_ns < window.open_ns or records[-1].done_ns > window.close_ns:
        raise VerificationError(
            code="TIMELINE_OUTSIDE_WINDOW",
            observed=f"run {run} has queries outside its metered window, or none at all",
            expected=f"every query between {window.open_ns} and {window.close_ns} ns",
            hint="the timeline and the meter's record do not belong together",
        )
    before, after = around(trace, window.name)
    return RunFigures(
        energy=account(trace, window, before, after, None if not gated else _together(gated)),
        latencies_ns=tuple(record.done_ns - record.sent_ns for record in records),
        samples=sum(record.samples for record in records),
        passes=records[-1].passno + 1,
        accelerators=gated or {},
        node=node,
    )


def check_shape(records: Sequence[QueryRecord], *, points: int, batch: int, passes: int) -> None:
    """Return if the run asked every point exactly once a pass, in batches; raise VerificationError TIMELINE_SHAPE."""
    shape = tuple((query, passno, samples) for _sent, _first, _done, query, passno, samples in records)
    if shape != expected_shape(points, batch, passes):
        raise VerificationError(
            code="TIMELINE_SHAPE",
            observed=f"{len(shape)} queries with {sum(samples for _, _, samples in shape)} samples",
            expected=f"{passes} pass over {points} points in batches of {batch}, each query once and in order",
            hint="a run that asked something else than the plan is no run of this cell",
        )


def cell_figures(
    runs: Sequence[RunFigures], *, flags: Sequence[str] = (), setup_joules: Fraction | None = None
) -> dict[str, str]:
    """Return a cell's published figures, from all its runs: names to decimal strings.

    `flags` and `setup_joules` are those of `session_figures`, for accelerators.

    Energies are Wh per 1,000 queries, latencies milliseconds. A figure that the evidence does not give is absent; the
    scope and the kind of the energy are always there.
    """
    first = runs[0].energy
    figures = {
        "runs": str(len(runs)),
        "queriesPerRun": str(min(run.samples for run in runs)),
        "energyKind": _one_of({run.energy.it_energy.kind for run in runs}),
        "energyScope": _one_of({"+".join(run.energy.scope) for run in runs}),
    }
    figures |= energy_figures("itEnergy", runs, [run.energy.it_energy for run in runs])
    figures |= energy_figures("itEnergyIdleNet", runs, [run.energy.it_idle_net for run in runs])
    for name in first.channels:
        figures |= energy_figures(f"{name}Energy", runs, [run.energy.channels[name] for run in runs])
    nodes = [run.node.gross for run in runs if run.node is not None]
    if len(nodes) == len(runs):
        figures |= energy_figures("nodeEnergy", runs, nodes)
    rates = [run.rate for run in runs]
    figures["queriesPerSecond"] = decimal_string(statistics.mean(rates), _RATE_PLACES)
    peaks = [run.energy.facts.memory_peak_bytes for run in runs]
    known = [peak for peak in peaks if peak is not None]
    if known:
        figures["memoryPeakBytes"] = str(max(known))
    figures["latencyMeanMs"] = _milliseconds([statistics.mean(run.latencies_ns) for run in runs])
    for name, per_mille in _PER_MILLE.items():
        if all(len(run.latencies_ns) >= statistics.MIN_QUERIES[name] for run in runs):
            values = [Fraction(statistics.percentile(run.latencies_ns, per_mille)) for run in runs]
            figures[f"latency{name.upper()}Ms"] = _milliseconds(values)
    if runs[0].accelerators:
        figures |= _gated_figures(runs, setup_joules)
    if flags:
        figures[MEASUREMENT_FLAGS] = "+".join(sorted(flags))
    return figures


def measurement_flags(figures: Mapping[str, str]) -> tuple[str, ...]:
    """Return the flags that a cell's published figures name."""
    named = figures.get(MEASUREMENT_FLAGS)
    return () if named is None else tuple(named.split("+"))


def _gated_figures(runs: Sequence[RunFigures], setup_joules: Fraction | None) -> dict[str, str]:
    """Return what only a gated window gives: the doubt of the gpu channel with its terms, passes, tail, set-up."""
    per_1000 = [watt_hours(combined(run.accelerators)[0]) * _PER_1000 / run.samples for run in runs]
    doubts = [watt_hours(combined(run.accelerators)[1]) * _PER_1000 / run.samples for run in runs]
    terms = {
        "UGain": [_term(run, lambda found: found.uncertainty.u_gain) for run in runs],
        "UEdge": [_term(run, lambda found: found.uncertainty.u_edge) for run in runs],
        "UChannels": [_term(run, lambda found: found.uncertainty.u_channels or Fraction(0)) for run in runs],
    }
    figures = {f"gpuEnergy{name}WhPer1000Queries": statistics.mean(values) for name, values in terms.items()}
    doubt = statistics.mean(doubts)
    spread = statistics.deviation(per_1000)
    if spread is not None:
        u_runs = spread / statistics.square_root(Fraction(len(runs)))
        figures["gpuEnergyURunsWhPer1000Queries"] = u_runs
        doubt = statistics.square_root(doubt**2 + (COVERAGE_FACTOR * u_runs) ** 2)
    figures["gpuEnergyUncertaintyWhPer1000Queries"] = doubt
    said = {name: decimal_string(value, _WH_PLACES) for name, value in figures.items()}
    passes = [run.passes for run in runs]
    deferred = [sum((f.deferred for f in run.accelerators.values()), Fraction(0)) / _gross(run) for run in runs]
    said |= {
        "passesPerRunLeast": str(min(passes)),
        "passesPerRunMost": str(max(passes)),
        "deferredShareMost": decimal_string(max(deferred), _RATIO_PLACES),
    }
    if setup_joules is not None:
        said["setupEnergyJ"] = decimal_string(setup_joules, _JOULE_PLACES)
    return said


def _term(run: RunFigures, read: Callable[[GatedReading], Fraction]) -> Fraction:
    """Return one term of a run's doubt over all its devices, in Wh per 1,000 queries."""
    square = sum((read(found) ** 2 for found in run.accelerators.values()), Fraction(0))
    return watt_hours(statistics.square_root(square)) * _PER_1000 / run.samples


def _gross(run: RunFigures) -> Fraction:
    return combined(run.accelerators)[0]


def _together(gated: Mapping[str, GatedReading]) -> AcceleratorReading:
    joules, doubt = combined(gated)
    return AcceleratorReading(
        joules=joules,
        idle_net=sum((found.idle_net for found in gated.values()), Fraction(0)),
        uncertainty=doubt,
        idle_net_uncertainty=statistics.square_root(
            sum((found.idle_net_doubt**2 for found in gated.values()), Fraction(0))
        ),
        method="+".join(dict.fromkeys(found.method for found in gated.values())),
    )


def _gated_json(found: GatedReading) -> dict[str, object]:
    """Return one device's run as it stands in the signed outcome: millijoules and milliwatts as integers."""
    doubt = found.uncertainty
    return {
        "method": found.method,
        "mj": millijoules(found.joules),
        "idleMw": millijoules(found.idle_watts),
        "deferredMj": millijoules(found.deferred),
        "uGainMj": millijoules(doubt.u_gain),
        "uEdgeMj": millijoules(doubt.u_edge),
        "uChannelsMj": None if doubt.u_channels is None else millijoules(doubt.u_channels),
        "meanPowerMj": None if found.mean is None else millijoules(found.mean.joules),
    }


def energy_figures(name: str, runs: Sequence[RunFigures], readings: Sequence[Reading]) -> dict[str, str]:
    """Return mean, interval and coefficient of variation of one energy, or nothing where a run does not carry it."""
    carried = [reading for reading in readings if isinstance(reading, Carried)]
    if len(carried) < len(readings):
        return {}
    per_1000 = [
        watt_hours(reading.joules) * _PER_1000 / run.samples for reading, run in zip(carried, runs, strict=True)
    ]
    mean = statistics.mean(per_1000)
    figures = {f"{name}WhPer1000Queries": decimal_string(mean, _WH_PLACES)}
    interval, spread = statistics.interval_95(per_1000), statistics.deviation(per_1000)
    if interval is not None and spread is not None:
        figures[f"{name}WhPer1000QueriesInterval95"] = decimal_string(interval, _WH_PLACES)
        if mean > 0:
            figures[f"{name}CoefficientOfVariation"] = decimal_string(spread / mean, _RATIO_PLACES)
    return figures


def _reading_json(gross: Reading, net: Reading) -> dict[str, object]:
    if isinstance(gross, Unmeasured | NotApplicable):
        return {"kind": gross.kind, "reason": gross.reason}
    idle_net = millijoules(net.joules) if isinstance(net, Carried) else None
    return {"kind": gross.kind, "mj": millijoules(gross.joules), "idleNetMj": idle_net, **_provenance(gross)}


def _provenance(reading: Carried) -> dict[str, object]:
    if isinstance(reading, Estimated):
        return {"model": reading.model}
    uncertainty = None if reading.uncertainty is None else millijoules(reading.uncertainty)
    return {"method": reading.method, "uncertaintyMj": uncertainty}


def _percentile(latencies: Sequence[int], name: str) -> str | None:
    if len(latencies) < statistics.MIN_QUERIES[name]:
        return None
    return str(statistics.percentile(latencies, _PER_MILLE[name]))


def _milliseconds(values: Sequence[Fraction]) -> str:
    return decimal_string(statistics.mean(values) / NS_PER_MS, _MS_PLACES)


def _optional(value: int | None) -> str | None:
    return None if value is None else str(value)


def _one_of(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else "mixed"
