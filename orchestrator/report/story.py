"""One campaign of a bundle, read without trusting any of it: plan, sessions in log order, result.

Nothing is verified here. What is broken keeps its code, so that a page can say so; only a bundle whose statements
cannot be read, or that has no such campaign, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.report.pictures import Drawn
from protocol.attestation.bundle import BundleFiles
from protocol.attestation.predicates import CampaignPlan, CampaignResult, SessionOutcome, read_predicate
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.errors import JoulesealError, UsageError, VerificationError
from protocol.methodology.beside import BESIDE, NOTHING, read_beside
from protocol.methodology.session_figures import session_figures
from protocol.methodology.timeline import unpack
from protocol.methodology.trace import parse_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One outcome: its place in the log, its id, and what it says."""

    log_index: int
    statement_id: str
    outcome: SessionOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A plan with its sessions, and its result where the bundle has one."""

    plan_id: str
    plan: CampaignPlan
    sessions: tuple[Session, ...]
    result_id: str | None
    result: CampaignResult | None


def read_campaign(files: BundleFiles, number: int) -> Campaign:
    """Return campaign `number` (from 1), in the order of the results; plans without a result come last.

    Raises VerificationError and Unverifiable where a statement cannot be read, UsageError NO_SUCH_CAMPAIGN.
    """
    plans: dict[str, CampaignPlan] = {}
    sessions: list[Session] = []
    results: dict[str, tuple[str, CampaignResult]] = {}
    for item in files.statements():
        envelope = parse_sigstore_bundle(item.data).envelope
        match read_predicate(parse_statement(envelope.payload)):
            case CampaignPlan() as plan:
                plans[envelope.statement_id] = plan
            case SessionOutcome() as outcome:
                found = Session(log_index=item.log_index, statement_id=envelope.statement_id, outcome=outcome)
                sessions.append(found)
            case CampaignResult() as result:
                results.setdefault(result.campaign, (envelope.statement_id, result))
            case _:
                continue
    order = [plan for plan in results if plan in plans] + [plan for plan in plans if plan not in results]
    if number > len(order):
        raise UsageError(
            code="NO_SUCH_CAMPAIGN",
            observed=f"campaign {number} of a bundle with {len(order)}",
            expected=f"a number from 1 to {len(order)}" if order else "a bundle with a campaign's plan",
            hint="`jouleseal-verify inspect` lists what is in the bundle",
        )
    plan_id = order[number - 1]
    result_id, closing = results.get(plan_id, (None, None))
    return Campaign(
        plan_id=plan_id,
        plan=plans[plan_id],
        sessions=tuple(session for session in sessions if session.outcome.campaign == plan_id),
        result_id=result_id,
        result=closing,
    )


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
