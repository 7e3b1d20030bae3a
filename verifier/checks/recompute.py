"""Check 17: every figure on the recomputed list is what samples and timelines give, through the published method.

Each run's figures are computed from the meter's record, what stands beside it, and the run's timeline, and compared
whole with what the outcome says. Each cell's figures are computed from all of its runs, and compared whole with what
the result says. Whole means that a figure too many or too few is false as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from protocol.attestation.claims import PlanCell
from protocol.attestation.jcs import Json, dumps
from protocol.attestation.probed import probed_of
from protocol.errors import InvalidMeasurement, Unverifiable, VerificationError
from protocol.methodology.beside import BESIDE, read_beside
from protocol.methodology.probes import VERDICT_FIGURES
from protocol.methodology.session_figures import SessionFigures, published, session_figures
from verifier.facts import Session, Story, Timelines, Traces
from verifier.report import CellFigures
from verifier.walk import Established, Findings, counted, false

Figures = dict[str, dict[str, CellFigures]]  # by campaign and cell


def check(
    stories: Sequence[Story], traces: Traces, timelines: Timelines, files: Mapping[str, bytes]
) -> Established[Figures]:
    """Return the figures of every cell on their two lists; `files` are the evidence by hexadecimal digest."""
    findings = Findings()
    figures: Figures = {}
    for story in stories:
        figures[story.campaign] = {}
        for session in story.completed:
            with findings.collecting():
                cell = next(c for c in story.plan.predicate.cells if c.cell_id == session.outcome.predicate.cell)
                found = _runs(session, cell, traces, timelines, files, findings)
                figures[story.campaign][session.outcome.predicate.cell] = _cell(story, session, found, findings)
    findings.settle()
    cells = sum(len(each) for each in figures.values())
    count = sum(len(figure.recomputed) for each in figures.values() for figure in each.values())
    return Established(
        figures, f"{count} figures of {counted(cells, 'cell')} follow from the samples and timelines of all their runs"
    )


def _runs(  # noqa: PLR0917 - one argument a fact
    session: Session,
    cell: PlanCell,
    traces: Traces,
    timelines: Timelines,
    files: Mapping[str, bytes],
    findings: Findings,
) -> SessionFigures:
    outcome = session.outcome
    named = {item.name: files[item.sha256] for item in outcome.predicate.byproducts if item.name in BESIDE}
    asked = timelines[outcome.statement_id]
    probed = probed_of(outcome.predicate, cell, asked.probes)
    try:
        found = session_figures(traces[outcome.statement_id], asked.runs, read_beside(named), probed)
    except (VerificationError, InvalidMeasurement, Unverifiable) as error:
        observed = f"{session.name}: {error.observed}"
        raise type(error)(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error
    for claim, figures in zip(outcome.predicate.runs, found.runs, strict=True):
        for path, observed, expected in _differences(
            claim.figures or {}, cast("Mapping[str, Json]", figures.to_json())
        ):
            findings.add(
                false(
                    "RECOMPUTE_RUN",
                    observed=f"{outcome.path}, run {claim.run}, {path}: {observed}",
                    expected=f"{expected}, from the samples",
                )
            )
    for probe in outcome.predicate.probes:
        derived = cast("Mapping[str, Json]", found.probes[probe.name].to_json())
        for path, observed, expected in _differences(probe.figures or {}, derived):
            findings.add(
                false(
                    "RECOMPUTE_PROBE",
                    observed=f"{outcome.path}, {probe.name}, {path}: {observed}",
                    expected=f"{expected}, from the samples",
                )
            )
    return found


def _cell(story: Story, session: Session, found: SessionFigures, findings: Findings) -> CellFigures:
    name = session.outcome.predicate.cell
    recomputed = published(found)
    claim = next(cell for cell in story.result.predicate.cells if cell.cell_id == name)
    for path, observed, expected in _differences(claim.recomputed, recomputed):
        findings.add(
            false(
                "PROBE_VERDICT" if path in VERDICT_FIGURES else "RECOMPUTE_CELL",
                observed=f"{story.result.path}, {name}, {path}: {observed}",
                expected=f"{expected}, over all {len(found.runs)} runs",
            )
        )
    return CellFigures(recomputed=recomputed, committed=dict(claim.committed))


def _differences(claimed: Mapping[str, Json], derived: Mapping[str, Json]) -> list[tuple[str, str, str]]:
    """Return (path, claimed, derived) of every field that differs, in canonical spelling."""
    found = []
    for name in sorted({*claimed, *derived}):
        left, right = claimed.get(name, "absent"), derived.get(name, "absent")
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += [(f"{name}.{path}", observed, expected) for path, observed, expected in _differences(left, right)]
        elif (type(left) is type(right) is str) and left == right:
            continue  # nearly all of them: figures are decimal strings
        elif dumps(left) != dumps(right) or (name in claimed) != (name in derived):
            found.append((name, dumps(left).decode("utf-8"), dumps(right).decode("utf-8")))
    return found
