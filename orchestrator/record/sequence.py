"""The order in which a campaign may be recorded, so that the runner never signs what no verifier could accept.

The rules:
1. One campaign at a time: a plan is recorded when every plan before it has its result.
2. An intent belongs to the open campaign, and one session is open at a time.
3. An outcome closes the open intent, with its cell, its attempt and its nonce.
4. A result closes its campaign when no intent is open, and lists every outcome of it in log order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.attestation.claims import StatementLink
from protocol.attestation.predicates import CampaignPlan, CampaignResult, Predicate, SessionIntent, SessionOutcome
from protocol.errors import RecordUnsound


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A statement that is in the log: its place, its id, the image it is about, and what it says.

    `nonce` is the session nonce that its checkpoint gives, which matters for an intent.
    """

    log_index: int
    statement_id: str
    subject_sha256: str
    predicate: Predicate
    leaf_hash: bytes
    checkpoint_note: bytes
    nonce: str

    @property
    def link(self) -> StatementLink:
        """How another statement refers to this one."""
        return StatementLink(log_index=self.log_index, statement_id=self.statement_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIntent:
    """A session that was declared and has no outcome."""

    recorded: Recorded
    intent: SessionIntent


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCampaign:
    """A campaign that was planned and has no result, with the outcomes that it has so far, in log order."""

    recorded: Recorded
    plan: CampaignPlan
    outcomes: tuple[Recorded, ...]


def open_intents(history: Sequence[Recorded]) -> tuple[OpenIntent, ...]:
    """Return the intents without an outcome, in log order."""
    closed = {item.predicate.intent.statement_id for item in history if isinstance(item.predicate, SessionOutcome)}
    return tuple(
        OpenIntent(recorded=item, intent=item.predicate)
        for item in history
        if isinstance(item.predicate, SessionIntent) and item.statement_id not in closed
    )


def open_campaigns(history: Sequence[Recorded]) -> tuple[OpenCampaign, ...]:
    """Return the plans without a result, in log order."""
    closed = {item.predicate.campaign for item in history if isinstance(item.predicate, CampaignResult)}
    return tuple(
        OpenCampaign(recorded=item, plan=item.predicate, outcomes=outcomes_of(history, item.statement_id))
        for item in history
        if isinstance(item.predicate, CampaignPlan) and item.statement_id not in closed
    )


def outcomes_of(history: Sequence[Recorded], campaign: str) -> tuple[Recorded, ...]:
    """Return the outcomes of a campaign (by its plan's id), in log order."""
    return tuple(
        item for item in history if isinstance(item.predicate, SessionOutcome) and item.predicate.campaign == campaign
    )


def check_next(history: Sequence[Recorded], predicate: Predicate) -> None:
    """Return if the predicate may be recorded next; RecordUnsound OUT_OF_SEQUENCE says which rule forbids it."""
    match predicate:
        case CampaignPlan():
            _check_plan(history)
        case SessionIntent():
            _check_campaign(history, predicate.campaign)
            _check_no_session(history)
        case SessionOutcome():
            _check_campaign(history, predicate.campaign)
            _check_outcome(history, predicate)
        case CampaignResult():
            _check_campaign(history, predicate.campaign)
            _check_no_session(history)
            _check_result(history, predicate)


def _check_plan(history: Sequence[Recorded]) -> None:
    for campaign in open_campaigns(history):
        raise _out_of_sequence(
            f"a plan while campaign {campaign.recorded.statement_id[:16]} is open", "one campaign at a time"
        )


def _check_campaign(history: Sequence[Recorded], campaign: str) -> None:
    if campaign not in [item.recorded.statement_id for item in open_campaigns(history)]:
        raise _out_of_sequence(f"a statement of campaign {campaign[:16]}, which is not open", "the open campaign")


def _check_no_session(history: Sequence[Recorded]) -> None:
    for item in open_intents(history):
        raise _out_of_sequence(
            f"the intent at index {item.recorded.log_index} has no outcome", "every intent closed before the next step"
        )


def _check_outcome(history: Sequence[Recorded], outcome: SessionOutcome) -> None:
    found = [item for item in open_intents(history) if item.recorded.link == outcome.intent]
    if not found:
        raise _out_of_sequence(f"an outcome of no open intent at index {outcome.intent.log_index}", "an open intent")
    said = (outcome.campaign, outcome.cell, outcome.attempt, outcome.nonce)
    intent = found[0].intent
    if said != (intent.campaign, intent.cell, intent.attempt, found[0].recorded.nonce):
        raise _out_of_sequence(f"an outcome of {outcome.cell} attempt {outcome.attempt}", "what the intent says")


def _check_result(history: Sequence[Recorded], result: CampaignResult) -> None:
    all_of_them = tuple(item.link for item in outcomes_of(history, result.campaign))
    if result.outcomes != all_of_them:
        raise _out_of_sequence(f"{len(result.outcomes)} outcomes in a result", f"all {len(all_of_them)}, in log order")


def _out_of_sequence(observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code="OUT_OF_SEQUENCE",
        observed=observed,
        expected=expected,
        hint="close what is open first: an interrupted session is recorded as aborted, a campaign gets its result",
    )
