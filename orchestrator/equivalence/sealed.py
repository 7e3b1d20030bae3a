"""One campaign of a bundle as an auditor compares it: its plan, its completed sessions, and their response trees.

Nothing here verifies a bundle: that is what `jouleseal-verify` is for, before. What is signed afterwards names every
statement by its id, so that a finding about a forged bundle is one about nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.bundle import BundleFiles
from protocol.attestation.claims import PlanCell
from protocol.attestation.predicates import CampaignPlan, CampaignResult, SessionOutcome, read_predicate
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSession:
    """A completed session: its planned cell, its outcome's id, and the outcome."""

    cell: PlanCell
    outcome_id: str
    outcome: SessionOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedCampaign:
    """A campaign with its result: `campaign` is its plan's id, `image_sha256` the subject of all its statements."""

    campaign: str
    image_sha256: str
    plan: CampaignPlan
    sessions: tuple[SealedSession, ...]


def read_campaign(files: BundleFiles, number: int) -> SealedCampaign:
    """Return the campaign of this number, from 1, in a bundle.

    UsageError NO_CAMPAIGN; VerificationError or Unverifiable where a statement cannot be read.
    """
    plans: dict[str, tuple[str, CampaignPlan]] = {}
    outcomes: list[tuple[str, SessionOutcome]] = []
    ended: list[str] = []
    for file in files.statements():
        envelope = parse_sigstore_bundle(file.data).envelope
        statement = parse_statement(envelope.payload)
        match read_predicate(statement):
            case CampaignPlan() as plan:
                plans[envelope.statement_id] = (statement.subject_sha256, plan)
            case SessionOutcome() as outcome if outcome.status == "completed":
                outcomes.append((envelope.statement_id, outcome))
            case CampaignResult() as result:
                ended.append(result.campaign)
            case _:
                pass
    if not 1 <= number <= len(ended) or ended[number - 1] not in plans:
        raise UsageError(
            code="NO_CAMPAIGN",
            observed=f"campaign {number} of {len(ended)}",
            expected="a campaign of this bundle that has its result",
            hint="see jouleseal-verify inspect",
        )
    campaign = ended[number - 1]
    image, plan = plans[campaign]
    cells = {cell.cell_id: cell for cell in plan.cells}
    sessions = tuple(
        SealedSession(cell=cells[outcome.cell], outcome_id=statement_id, outcome=outcome)
        for statement_id, outcome in outcomes
        if outcome.campaign == campaign and outcome.cell in cells
    )
    return SealedCampaign(campaign=campaign, image_sha256=image, plan=plan, sessions=sessions)
