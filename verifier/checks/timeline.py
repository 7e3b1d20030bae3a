"""Check 14: every run asked every planned query, once a pass and in order, in lock step; answered equals asked."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.attestation.claims import PlanCell, RunClaim
from protocol.errors import VerificationError
from protocol.methodology.figures import check_shape
from protocol.methodology.timeline import QueryRecord, unpack
from verifier.facts import Session, Story, Timelines
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
    runs = sum(len(session) for session in timelines.values())
    queries = sum(len(records) for session in timelines.values() for records in session)
    return Established(
        timelines, f"{queries} queries in {counted(runs, 'run')}, each asked once a pass, in lock step, and answered"
    )


def _session(session: Session, cell: PlanCell, files: dict[str, bytes]) -> tuple[tuple[QueryRecord, ...], ...]:
    return tuple(_run(session, claim, cell, files) for claim in session.outcome.predicate.runs)


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
