"""The four predicates of a campaign, in the order in which they are signed: plan, intent, outcome, result.

A predicate is what our statements say about an image. Reading is strict: a wrong field raises VerificationError
BAD_FIELD with its path, and a field that this version does not know raises Unverifiable UNKNOWN_FIELD, because only
the version that wrote it can say what it changes. docs/manifest.md specifies every field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocol.attestation.claims import (
    MAX_DEVICES,
    MAX_PROBES,
    MAX_RESOURCES,
    MAX_RUNS,
    CellResult,
    DeviceClaim,
    Failure,
    ImageClaim,
    PlanCell,
    ProbeClaim,
    Resource,
    RunClaim,
    RunnerLink,
    StatementLink,
    SubmissionClaim,
)
from protocol.attestation.fields import Fields, Unknown
from protocol.attestation.jcs import Json
from protocol.attestation.refusal import refuse
from protocol.attestation.statement import (
    CAMPAIGN_PLAN,
    CAMPAIGN_RESULT,
    SESSION_INTENT,
    SESSION_OUTCOME,
    Statement,
)

MAX_CELLS = 256  # ten tasks, two scenarios, seven precisions, and room
MAX_OUTCOMES = 1024  # every cell at every attempt that a plan allows
MAX_FLAGS = 64
VERIFY_TXT = "VERIFY.txt"  # the byproduct that is found at the top of a bundle, not under evidence/

SessionStatus = Literal["completed", "aborted"]
SESSION_STATUSES: tuple[SessionStatus, ...] = ("completed", "aborted")
CampaignStatus = Literal["completed", "failed"]
CAMPAIGN_STATUSES: tuple[CampaignStatus, ...] = ("completed", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPlan:
    """What will be measured, declared before anything runs; `vendor_seq` and `prev_plan` chain a model's plans.

    `submission_statement` is the vendor's own statement in the log, where the vendor made one; without, no field.
    """

    runner: RunnerLink
    submission: SubmissionClaim
    vendor_seq: int
    prev_plan: str | None
    image: ImageClaim
    method: str
    official: bool
    hardware_class: str
    devices: tuple[DeviceClaim, ...]
    cells: tuple[PlanCell, ...]
    order_rule: str
    statistic: str
    attempts_per_cell: int
    abort_reasons: tuple[str, ...]
    launch_profile_sha256: str
    runner_version: str
    started_on: str
    deadline: str
    submission_statement: StatementLink | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        link = self.submission_statement
        beside: dict[str, Json] = {} if link is None else {"submissionStatement": link.to_json()}
        return {
            "runner": self.runner.to_json(),
            "submission": self.submission.to_json(),
            **beside,
            "vendorSeq": self.vendor_seq,
            "prevPlan": self.prev_plan,
            "image": self.image.to_json(),
            "method": self.method,
            "official": self.official,
            "hardwareClass": self.hardware_class,
            "devices": [device.to_json() for device in self.devices],
            "cells": [cell.to_json() for cell in self.cells],
            "orderRule": self.order_rule,
            "statistic": self.statistic,
            "attemptsPerCell": self.attempts_per_cell,
            "abortReasons": list(self.abort_reasons),
            "launchProfileSha256": self.launch_profile_sha256,
            "runnerVersion": self.runner_version,
            "startedOn": self.started_on,
            "deadline": self.deadline,
        }

    @classmethod
    def from_json(cls, value: object) -> CampaignPlan:
        """Read the predicate strictly."""
        fields = Fields(value, CAMPAIGN_PLAN, unknown=Unknown.UNJUDGED)
        plan = cls(
            runner=RunnerLink.read(fields.child("runner")),
            submission=SubmissionClaim.read(fields.child("submission")),
            vendor_seq=fields.integer("vendorSeq", minimum=1),
            prev_plan=None if fields.is_null("prevPlan") else fields.sha256("prevPlan"),
            image=ImageClaim.read(fields.child("image")),
            method=fields.text("method"),
            official=fields.boolean("official"),
            hardware_class=fields.text("hardwareClass"),
            devices=tuple(DeviceClaim.read(item) for item in fields.children("devices", limit=MAX_DEVICES)),
            cells=tuple(PlanCell.read(item) for item in fields.children("cells", limit=MAX_CELLS)),
            order_rule=fields.text("orderRule"),
            statistic=fields.text("statistic"),
            attempts_per_cell=fields.integer("attemptsPerCell", minimum=1),
            abort_reasons=fields.texts("abortReasons", limit=MAX_FLAGS),
            launch_profile_sha256=fields.sha256("launchProfileSha256"),
            runner_version=fields.text("runnerVersion"),
            started_on=fields.moment("startedOn"),
            deadline=fields.moment("deadline"),
            submission_statement=StatementLink.read(fields.child("submissionStatement"))
            if fields.has("submissionStatement")
            else None,
        )
        fields.done()
        _refuse_twice([cell.cell_id for cell in plan.cells], f"{CAMPAIGN_PLAN}.cells")
        return plan

    def evidence(self) -> tuple[str, ...]:
        """Return the digests of the files that must come with this statement."""
        return (self.submission.document_sha256,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionIntent:
    """One session, declared before its sandbox starts; its checkpoint gives the nonce."""

    runner: RunnerLink
    campaign: str
    cell: str
    attempt: int
    declared_on: str

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        return {
            "runner": self.runner.to_json(),
            "campaign": self.campaign,
            "cell": self.cell,
            "attempt": self.attempt,
            "declaredOn": self.declared_on,
        }

    @classmethod
    def from_json(cls, value: object) -> SessionIntent:
        """Read the predicate strictly."""
        fields = Fields(value, SESSION_INTENT, unknown=Unknown.UNJUDGED)
        intent = cls(
            runner=RunnerLink.read(fields.child("runner")),
            campaign=fields.sha256("campaign"),
            cell=fields.text("cell"),
            attempt=fields.integer("attempt", minimum=1),
            declared_on=fields.moment("declaredOn"),
        )
        fields.done()
        return intent

    def evidence(self) -> tuple[str, ...]:
        """Return the digests of the files that must come with this statement: an intent has none."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """What came of one intent: all its runs and probes, or why it was aborted and what was finished by then."""

    runner: RunnerLink
    campaign: str
    intent: StatementLink
    cell: str
    attempt: int
    nonce: str
    status: SessionStatus
    abort: Failure | None
    started_on: str
    finished_on: str
    trace_sha256: str | None
    trace_chain: str | None
    runs: tuple[RunClaim, ...]
    environment: Mapping[str, Json]
    resolved_dependencies: tuple[Resource, ...]
    byproducts: tuple[Resource, ...]
    probes: tuple[ProbeClaim, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object; a session without probes leaves their field out."""
        probes: dict[str, Json] = {"probes": [probe.to_json() for probe in self.probes]} if self.probes else {}
        return {
            "runner": self.runner.to_json(),
            "campaign": self.campaign,
            "intent": self.intent.to_json(),
            "cell": self.cell,
            "attempt": self.attempt,
            "nonce": self.nonce,
            "status": self.status,
            "abort": None if self.abort is None else self.abort.to_json(),
            "startedOn": self.started_on,
            "finishedOn": self.finished_on,
            "traceSha256": self.trace_sha256,
            "traceChain": self.trace_chain,
            "runs": [run.to_json() for run in self.runs],
            "environment": self.environment,
            "resolvedDependencies": [item.to_json() for item in self.resolved_dependencies],
            "byproducts": [item.to_json() for item in self.byproducts],
            **probes,
        }

    @classmethod
    def from_json(cls, value: object) -> SessionOutcome:
        """Read the predicate strictly; an aborted session has a reason, a completed one has a trace and none."""
        fields = Fields(value, SESSION_OUTCOME, unknown=Unknown.UNJUDGED)
        status = fields.one_of("status", SESSION_STATUSES)
        aborted = status == "aborted"
        _check_null(fields, "abort", null=not aborted)
        outcome = cls(
            runner=RunnerLink.read(fields.child("runner")),
            campaign=fields.sha256("campaign"),
            intent=StatementLink.read(fields.child("intent")),
            cell=fields.text("cell"),
            attempt=fields.integer("attempt", minimum=1),
            nonce=fields.sha256("nonce"),
            status=status,
            abort=Failure.read(fields.child("abort")) if aborted else None,
            started_on=fields.moment("startedOn"),
            finished_on=fields.moment("finishedOn"),
            trace_sha256=None if aborted and fields.is_null("traceSha256") else fields.sha256("traceSha256"),
            trace_chain=None if aborted and fields.is_null("traceChain") else fields.sha256("traceChain"),
            runs=tuple(RunClaim.read(item) for item in fields.children("runs", limit=MAX_RUNS)),
            environment=fields.json_object("environment"),
            resolved_dependencies=_resources(fields, "resolvedDependencies"),
            byproducts=_resources(fields, "byproducts"),
            probes=tuple(ProbeClaim.read(item) for item in fields.children("probes", limit=MAX_PROBES))
            if fields.has("probes")
            else (),
        )
        fields.done()
        return outcome

    def evidence(self) -> tuple[str, ...]:
        """Return the digests of the files that must come with this statement, each once."""
        trace = [] if self.trace_sha256 is None else [self.trace_sha256]
        timelines = [run.timeline_sha256 for run in self.runs] + [probe.timeline_sha256 for probe in self.probes]
        return tuple(dict.fromkeys([*trace, *timelines, *(item.sha256 for item in self.byproducts)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult:
    """What the campaign gave: every outcome in log order, and the figures of each cell on the two lists."""

    runner: RunnerLink
    campaign: str
    status: CampaignStatus
    failure: Failure | None
    outcomes: tuple[StatementLink, ...]
    cells: tuple[CellResult, ...]
    certifiable: bool
    flags: tuple[str, ...]
    byproducts: tuple[Resource, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        return {
            "runner": self.runner.to_json(),
            "campaign": self.campaign,
            "status": self.status,
            "failure": None if self.failure is None else self.failure.to_json(),
            "outcomes": [link.to_json() for link in self.outcomes],
            "cells": [cell.to_json() for cell in self.cells],
            "certifiable": self.certifiable,
            "flags": list(self.flags),
            "byproducts": [item.to_json() for item in self.byproducts],
        }

    @classmethod
    def from_json(cls, value: object) -> CampaignResult:
        """Read the predicate strictly; a failed campaign has a failure, a completed one has none."""
        fields = Fields(value, CAMPAIGN_RESULT, unknown=Unknown.UNJUDGED)
        status = fields.one_of("status", CAMPAIGN_STATUSES)
        failed = status == "failed"
        _check_null(fields, "failure", null=not failed)
        result = cls(
            runner=RunnerLink.read(fields.child("runner")),
            campaign=fields.sha256("campaign"),
            status=status,
            failure=Failure.read(fields.child("failure")) if failed else None,
            outcomes=tuple(StatementLink.read(item) for item in fields.children("outcomes", limit=MAX_OUTCOMES)),
            cells=tuple(CellResult.read(item) for item in fields.children("cells", limit=MAX_CELLS)),
            certifiable=fields.boolean("certifiable"),
            flags=fields.texts("flags", limit=MAX_FLAGS),
            byproducts=_resources(fields, "byproducts"),
        )
        fields.done()
        _refuse_twice([cell.cell_id for cell in result.cells], f"{CAMPAIGN_RESULT}.cells")
        return result

    def evidence(self) -> tuple[str, ...]:
        """Return the digests of the files that must come with this statement under evidence/, each once."""
        return tuple(dict.fromkeys(item.sha256 for item in self.byproducts if item.name != VERIFY_TXT))


Predicate: TypeAlias = CampaignPlan | SessionIntent | SessionOutcome | CampaignResult


def read_predicate(statement: Statement) -> Predicate:
    """Return the statement's predicate, read strictly by the reader of its type."""
    match statement.predicate_name:
        case "campaign-plan":
            plan = CampaignPlan.from_json(statement.predicate)
            if plan.image.config_digest != f"sha256:{statement.subject_sha256}":
                observed = f"image.configDigest {plan.image.config_digest}"
                raise refuse("BAD_SUBJECT", observed=observed, expected=f"the subject {statement.subject_sha256}")
            return plan
        case "session-intent":
            return SessionIntent.from_json(statement.predicate)
        case "session-outcome":
            return SessionOutcome.from_json(statement.predicate)
        case _:
            return CampaignResult.from_json(statement.predicate)


def predicate_name(predicate: Predicate) -> str:
    """Return the name of the predicate's type, as `Statement.predicate_name` has it."""
    match predicate:
        case CampaignPlan():
            return CAMPAIGN_PLAN
        case SessionIntent():
            return SESSION_INTENT
        case SessionOutcome():
            return SESSION_OUTCOME
        case CampaignResult():
            return CAMPAIGN_RESULT


def _resources(fields: Fields, name: str) -> tuple[Resource, ...]:
    resources = tuple(Resource.read(item) for item in fields.children(name, limit=MAX_RESOURCES))
    _refuse_twice([item.name for item in resources], fields.at(name))
    return resources


def _check_null(fields: Fields, name: str, *, null: bool) -> None:
    if fields.is_null(name) != null:
        observed, expected = ("a value", "null") if null else ("null", "an object")
        raise refuse("BAD_FIELD", observed=f"{fields.at(name)}: {observed}", expected=f"{expected}, by the status")


def _refuse_twice(names: list[str], path: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise refuse("BAD_FIELD", observed=f"{path}: {twice[0]!r} twice", expected="each name once")
