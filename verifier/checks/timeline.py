"""Check 14: every run asked every planned query, once a pass and in order, in lock step; answered equals asked.

A probe asked every message that the session's nonce draws for it, once. Its timeline stands for no run, nor a run's for
a probe: their shapes and their windows differ.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.attestation.claims import PlanCell, ProbeClaim, RunClaim
from protocol.attestation.probed import asked_of
from protocol.errors import VerificationError
from protocol.methodology.figures import check_shape
from protocol.methodology.stages import Probe
from protocol.methodology.stages import probes as probes_of
from protocol.methodology.timeline import QueryRecord, unpack
from verifier.facts import Session, SessionTimelines, Story, Timelines
from verifier.walk import Established, Findings, counted, false


def check(stories: Sequence[Story], files: dict[str, bytes]) -> Established[Timelines]:
    """Return the parsed timelines of every session; `files` are the evidence by hexadecimal digest."""
    findings = Findings()
    timelines: Timelines = {}
    for story in stories:
        cells = {cell.cell_id: cell for cell in story.plan.predicate.cells}
        for session in story.sessions:
            with findings.collecting():
                timelines[session.outcome.statement_id] = _session(
                    session, cells[session.outcome.predicate.cell], files
                )
    findings.settle()
    runs = sum(len(session.runs) for session in timelines.values())
    asked = [records for session in timelines.values() for records in (*session.runs, *session.probes.values())]
    probes = sum(len(session.probes) for session in timelines.values())
    told = f"{sum(map(len, asked))} queries in {counted(runs, 'run')}" + (
        f" and {counted(probes, 'probe')}" if probes else ""
    )
    return Established(timelines, f"{told}, each asked once a pass, in lock step, and answered")


def _session(session: Session, cell: PlanCell, files: dict[str, bytes]) -> SessionTimelines:
    outcome = session.outcome.predicate
    drawn = {probe.name: probe for probe in probes_of(asked_of(cell, outcome.nonce))}
    return SessionTimelines(
        runs=tuple(_run(session, claim, cell, files) for claim in outcome.runs),
        probes={claim.name: _probe(session, claim, drawn.get(claim.name), files) for claim in outcome.probes},
    )


def _probe(
    session: Session, claim: ProbeClaim, drawn: Probe | None, files: dict[str, bytes]
) -> tuple[QueryRecord, ...]:
    try:
        records = unpack(files[claim.timeline_sha256])
        sizes = [] if drawn is None else [len(message.places) for message in drawn.messages]
        found = [(record.query, record.passno, record.samples) for record in records]
        told = (claim.queries, claim.samples)
        if found != [(n, 0, size) for n, size in enumerate(sizes)] or told != (len(sizes), sum(sizes)):
            raise false(
                "PROBE_SHAPE",
                observed=f"{len(records)} queries with {sum(record.samples for record in records)} samples",
                expected=f"{len(sizes)} queries with {sum(sizes)} samples, once and in order",
            )
    except VerificationError as error:
        observed = f"{session.name}, {claim.name}: {error.observed}"
        raise VerificationError(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error
    return records


def _run(session: Session, claim: RunClaim, cell: PlanCell, files: dict[str, bytes]) -> tuple[QueryRecord, ...]:
    try:
        records = unpack(files[claim.timeline_sha256])
        counted = (len(records), sum(record.samples for record in records), records[-1].passno + 1 if records else 0)
        if counted != (claim.queries, claim.samples, claim.passes):
            raise false(
                "TIMELINE_COUNTS",
                observed="{} queries, {} samples, {} passes in the timeline".format(*counted),
                expected=f"{claim.queries} queries, {claim.samples} samples, {claim.passes} passes, as claimed",
            )
        if not claim.discarded:
            check_shape(records, points=cell.points, batch=cell.batch, passes=claim.passes)
    except VerificationError as error:
        observed = f"{session.name}, run {claim.run}: {error.observed}"
        raise VerificationError(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error
    return records
