"""One campaign of a bundle, read without trusting any of it: plan, sessions in log order, result.

Nothing is verified here; only a bundle whose statements cannot be read, or that has no such campaign, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.attestation.bundle import BundleFiles
from protocol.attestation.predicates import CampaignPlan, CampaignResult, SessionOutcome, read_predicate
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.errors import UsageError


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


def read_campaigns(files: BundleFiles) -> tuple[Campaign, ...]:
    """Return every campaign, in the order of the results; plans without a result come last.

    Raises VerificationError and Unverifiable where a statement cannot be read.
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
    return tuple(_campaign(plan_id, plans[plan_id], sessions, results.get(plan_id)) for plan_id in order)


def read_campaign(files: BundleFiles, number: int) -> Campaign:
    """Return campaign `number` (from 1) of `read_campaigns`; raises UsageError NO_SUCH_CAMPAIGN and the same."""
    found = read_campaigns(files)
    if number > len(found):
        raise UsageError(
            code="NO_SUCH_CAMPAIGN",
            observed=f"campaign {number} of a bundle with {len(found)}",
            expected=f"a number from 1 to {len(found)}" if found else "a bundle with a campaign's plan",
            hint="`jouleseal-verify inspect` lists what is in the bundle",
        )
    return found[number - 1]


def _campaign(
    plan_id: str, plan: CampaignPlan, sessions: Sequence[Session], closing: tuple[str, CampaignResult] | None
) -> Campaign:
    return Campaign(
        plan_id=plan_id,
        plan=plan,
        sessions=tuple(session for session in sessions if session.outcome.campaign == plan_id),
        result_id=None if closing is None else closing[0],
        result=None if closing is None else closing[1],
    )


def completed(campaign: Campaign, number: int) -> tuple[str, CampaignResult]:
    """Return the id and the result of a completed campaign; raises UsageError NO_RESULT for any other."""
    if campaign.result_id is None or campaign.result is None or campaign.result.status != "completed":
        failure = None if campaign.result is None else campaign.result.failure
        raise UsageError(
            code="NO_RESULT",
            observed=f"campaign {number} {'has no result' if failure is None else f'failed with {failure.code}'}",
            expected="a completed campaign",
            hint="a campaign that failed or is open has no figures, and therefore nothing to show or to rate",
        )
    return campaign.result_id, campaign.result
