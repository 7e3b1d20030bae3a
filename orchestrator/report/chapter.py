"""One session of a report: why it is void, or its runs in a table, and the pictures of what its record holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Final

from orchestrator.report.markup import figure, table, tag, words
from orchestrator.report.picture import WIDTH, Picture
from orchestrator.report.pictures import Drawn, record_picture, run_picture
from orchestrator.report.plot import render
from orchestrator.report.story import open_session
from orchestrator.report.words import BLAMES, DASH, clean, field, scaled, short
from orchestrator.results import Campaign, Session
from protocol.attestation.bundle import BundleFiles
from protocol.attestation.claims import RunClaim
from protocol.attestation.jcs import Json, dumps
from protocol.attestation.predicates import SessionOutcome
from protocol.errors import JoulesealError, Unverifiable, VerificationError
from protocol.methodology.trace import PowerTrace
from protocol.units import MJ_PER_J, NS_PER_MS, NS_PER_S

MAX_FACTS: Final = 80  # of a machine or an environment: what a person reads; the bundle has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A session as the page shows it: the markup, and what its record's header says of the machine."""

    markup: str
    host: Mapping[str, str]


def chapter(files: BundleFiles, campaign: Campaign, session: Session, number: int, pictures: dict[str, str]) -> Shown:
    """Return a session's part of the page; its pictures are added to `pictures` by file name."""
    outcome = session.outcome
    aborted = "" if outcome.abort is None else f", void: {clean(outcome.abort.code)}"
    parts = [words("h3", f"Attempt {outcome.attempt} (session {number}){aborted}")]
    if outcome.abort is not None:
        blame = BLAMES[outcome.abort.blame]
        words_ = f"Aborted with {clean(outcome.abort.code)} ({blame}) after {len(outcome.runs)} finished runs."
        parts.append(words("p", f"{words_} Nothing of it counts.", class_="bad"))
    drawn: Drawn | None = None
    try:
        drawn = open_session(files, outcome)
        whole = record_picture(drawn, None if outcome.abort is None else outcome.abort.code)
        runs = [] if outcome.abort is not None else _run_pictures(drawn, campaign, outcome)
    except (VerificationError, Unverifiable) as error:
        parts.append(words("p", _broken(error, outcome), class_="bad" if outcome.abort is None else "soft"))
        drawn, runs = None, []
    else:
        runs.insert(0, (f"session-{number:02d}.svg", whole))
    if outcome.abort is None:
        parts += _runs(outcome, drawn)
    pictures |= {_named(name, number): render(one) for name, one in runs}
    shown = [figure(_named(name, number), _alt(one), WIDTH) for name, one in runs]
    parts.append(tag("div", *shown, class_="plots") if shown else "")
    return Shown(markup=tag("section", *parts), host={} if drawn is None else _host(drawn.trace))


def _run_pictures(drawn: Drawn, campaign: Campaign, outcome: SessionOutcome) -> list[tuple[str, Picture]]:
    planned = next((cell.runs for cell in campaign.plan.cells if cell.cell_id == outcome.cell), len(outcome.runs))
    found = [(run.run, run_picture(drawn, run.run, planned)) for run in outcome.runs]
    return [(f"run-{run:02d}.svg", one) for run, one in found if one is not None]


def _named(name: str, number: int) -> str:
    return name if name.startswith("session-") else f"session-{number:02d}-{name}"


def _alt(one: Picture) -> str:
    return f"{one.title}: power over time, {one.kind}. {' '.join(one.figures)}"


def _broken(error: JoulesealError, outcome: SessionOutcome) -> str:
    if error.code == "NO_RECORD" and outcome.abort is not None:
        return "No whole meter record was kept of this session."
    return f"Record broken: {error.code}. Observed {clean(error.observed, 300)}; expected {clean(error.expected, 300)}."


def _runs(outcome: SessionOutcome, drawn: Drawn | None) -> Iterator[str]:
    found = None if drawn is None else drawn.figures
    computed: list[Mapping[str, object] | None] = [None] * len(outcome.runs)
    if found is not None:
        computed = [run.to_json() for run in found.runs]
        other = [
            str(claim.run)
            for claim, figures in zip(outcome.runs, computed, strict=True)
            if dumps(claim.figures) != dumps(_json(figures))
        ]
        if other:
            said = f"The signed figures of run {', '.join(other)} DIFFER from what the evidence gives."
            yield words("p", f"{said} The signed ones are shown.", class_="bad")
        else:
            yield words("p", "Computed again for this page from record and timelines: the signed figures are the same.")
    elif drawn is not None and drawn.error is not None:
        why = f"{drawn.error.code}, {clean(drawn.error.observed, 300)}"
        yield words("p", f"The evidence does not give the signed figures: {why}.", class_="bad")
    columns = dict(_COLUMNS)
    if any(field(run.figures, "node") is not None for run in outcome.runs):
        columns["node J"] = lambda run: scaled(field(run.figures, "node", "mj"), MJ_PER_J)
    for metric in dict.fromkeys(
        name for run in outcome.runs if run.quality is not None for name in run.quality.values()
    ):
        columns[clean(metric, 24)] = partial(_quality, metric)
    kinds = {str(field(run.figures, "itEnergy", "kind")) for run in outcome.runs}
    caption = f"The {len(outcome.runs)} runs; energy is {clean('/'.join(sorted(kinds)), 40)}, ± of what was read"
    rows = [tuple(read(run) for read in columns.values()) for run in outcome.runs]
    yield table(tuple(columns), rows, caption=caption)


def _quality(metric: str, run: RunClaim) -> str:
    value = None if run.quality is None else run.quality.values().get(metric)
    return DASH if value is None else short(value)


def _doubt(figures: Json) -> Json:
    """Return the doubt of the sum, or of the accelerators where the sum has none because a model is part of it."""
    whole = field(figures, "itEnergy", "uncertaintyMj")
    return whole if whole is not None else field(figures, "energyMj", "gpu", "uncertaintyMj")


# What the table says of a run: the column's name, and how it is read.
_COLUMNS: Final[Mapping[str, Callable[[RunClaim], str]]] = MappingProxyType(
    {
        "run": lambda run: str(run.run),
        "energy J": lambda run: scaled(field(run.figures, "itEnergy", "mj"), MJ_PER_J),
        "± J (k = 2)": lambda run: scaled(_doubt(run.figures), MJ_PER_J, 3),
        "net of idle J": lambda run: scaled(field(run.figures, "itEnergy", "idleNetMj"), MJ_PER_J),
        "window s": lambda run: scaled(field(run.figures, "durationNs"), NS_PER_S),
        "passes": lambda run: f"{run.passes:,}",
        "queries/s": lambda run: short(field(run.figures, "samplesPerSecond")),
        "latency ms": lambda run: scaled(field(run.figures, "latencyNs", "mean"), NS_PER_MS),
        "p90 ms": lambda run: scaled(field(run.figures, "latencyNs", "p90"), NS_PER_MS),
    }
)


def _json(value: object) -> Json:
    """Return what `to_json` gives as the type that `dumps` takes."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _host(trace: PowerTrace) -> dict[str, str]:
    named = {clean(name, 60): clean(value, 200) for name, value in islice(trace.host.items(), MAX_FACTS)}
    cpus = f"{trace.host_cpus}"
    return {**named, "cpus": cpus, "sampling period": f"{trace.period_ns // NS_PER_MS} ms"}
