"""One session of a bundle, read without trusting any of it: its record, and the figures that follow from it.

Nothing is verified here. What is broken keeps its code, so that a page can say so.
"""

from __future__ import annotations

from orchestrator.report.pictures import Drawn
from protocol.attestation.bundle import BundleFiles
from protocol.attestation.predicates import SessionOutcome
from protocol.errors import JoulesealError, VerificationError
from protocol.methodology.beside import BESIDE, NOTHING, read_beside
from protocol.methodology.session_figures import session_figures
from protocol.methodology.timeline import unpack
from protocol.methodology.trace import parse_trace


def open_session(files: BundleFiles, outcome: SessionOutcome) -> Drawn:
    """Return a session's record with the figures that follow from it.

    Raises VerificationError or Unverifiable where the record is absent, is not the one that the outcome names, or
    cannot be read.
    """
    trace = parse_trace(files.evidence(_named(outcome)))
    if outcome.trace_chain is not None and outcome.trace_chain != trace.digest:
        raise VerificationError(
            code="TRACE_CHAIN",
            observed=f"a record whose chain ends in {trace.digest[:16]}",
            expected=f"{outcome.trace_chain[:16]}, as the outcome says",
            hint="the outcome speaks of another record",
        )
    if not trace.fast.times:
        raise VerificationError(
            code="TRACE_EMPTY", observed="a record without samples", expected="samples", hint="there is nothing to draw"
        )
    if outcome.status != "completed" or not outcome.runs:
        return Drawn(trace=trace, figures=None, error=None)
    given = NOTHING
    try:
        given = read_beside(_beside(files, outcome))
        timelines = [unpack(files.evidence(run.timeline_sha256)) for run in outcome.runs]
        return Drawn(trace=trace, figures=session_figures(trace, timelines, given), error=None, given=given)
    except JoulesealError as error:
        return Drawn(trace=trace, figures=None, error=error, given=given)


def _named(outcome: SessionOutcome) -> str:
    if outcome.trace_sha256 is None:
        raise VerificationError(
            code="NO_RECORD",
            observed="an outcome without a meter's record",
            expected="a record, unless the session ended before or while it was written",
            hint="the reason of the abort says what happened",
        )
    return outcome.trace_sha256


def _beside(files: BundleFiles, outcome: SessionOutcome) -> dict[str, bytes]:
    return {item.name: files.evidence(item.sha256) for item in outcome.byproducts if item.name in BESIDE}
