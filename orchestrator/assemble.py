"""From facts to statements: a campaign becomes its plan, a session its outcome, and outcomes the result.

Pure: what is signed follows from the arguments. Every predicate leaves `runner` to the registrar, which fills in the
key's chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator import __version__
from protocol.attestation.claims import (
    CellResult,
    DeviceClaim,
    Failure,
    PlanCell,
    QualityClaim,
    Resource,
    ShardClaim,
    StatementLink,
    SubmissionClaim,
    counts,
)
from protocol.attestation.jcs import Json
from protocol.attestation.moment import format_moment
from protocol.attestation.predicates import VERIFY_TXT, CampaignPlan, SessionOutcome
from protocol.attestation.tier import T1
from protocol.errors import InvalidMeasurement, JoulesealError, SubmissionError
from protocol.methodology import figures, order, probes, statistics
from protocol.methodology.dataset import Dataset
from protocol.methodology.flags import CellFacts, open_flags
from protocol.methodology.hardware import DeviceFacts, hardware_class
from protocol.methodology.probe_figures import ProbeFigures
from protocol.methodology.scenario import METHOD_VERSION, OFFICIAL_POINTS, OFFICIAL_RUNS
from protocol.methodology.session_figures import SessionFigures, published
from protocol.methodology.stages import PROBE_RULE
from protocol.methodology.tasks import REGISTRY, Task
from protocol.submission import Campaign, Cell, Submission
from protocol.units import decimal_string, from_decimal

CAMPAIGN_LIMIT = timedelta(days=7)  # a campaign that takes longer is an operator's mistake, or a vendor shopping
RETRIED_BLAMES = ("rig", "measurement")  # docs/adr/0004

_QUALITY_PLACES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One finished run: its evidence by digest, and its figures where the session was completed."""

    run: int
    timeline_sha256: str
    queries: int
    samples: int
    passes: int
    figures: figures.RunFigures | None
    response_root: bytes
    response_leaves: int
    quality: QualityClaim


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFacts:
    """One finished probe: its evidence by digest, its figures where the session was completed, a shard's quality."""

    number: int
    name: str
    timeline_sha256: str
    queries: int
    samples: int
    figures: ProbeFigures | None
    response_root: bytes
    response_leaves: int
    quality: QualityClaim | None


def failure_of(error: JoulesealError) -> Failure:
    """Return an error as the record names it: its code, and on whose side the cause was."""
    if isinstance(error, SubmissionError):
        return Failure(code=error.code, blame="vendor")
    return Failure(code=error.code, blame="measurement" if isinstance(error, InvalidMeasurement) else "rig")


def submission_claim(submission: Submission) -> SubmissionClaim:
    """Return a submission as plans, and vendors who sign theirs, name it."""
    return SubmissionClaim(
        submission_id=submission.submission_id,
        vendor=submission.vendor,
        model=submission.model,
        model_version=submission.model_version,
        proprietary=submission.proprietary,
        framework=submission.framework,
        document_sha256=submission.document_sha256,
    )


def plan_json(
    campaign: Campaign,
    datasets: Mapping[str, Dataset],
    devices: Sequence[DeviceFacts],
    *,
    vendor_seq: int,
    prev_plan: str | None,
    profile_sha256: str,
    now: datetime,
    shards: Mapping[str, ShardClaim],
) -> dict[str, Json]:
    """Return the campaign-plan predicate; `shards` are the private shards by the name of their dataset."""
    image = campaign.image
    return {
        "submission": submission_claim(campaign.submission).to_json(),
        "vendorSeq": vendor_seq,
        "prevPlan": prev_plan,
        "image": {
            "configDigest": image.config_digest,
            "manifestDigest": image.manifest_digest,
            "diffIds": list(image.diff_ids),
        },
        "method": METHOD_VERSION,
        "official": campaign.official,
        "hardwareClass": hardware_class(devices),
        "devices": [DeviceClaim(uuid=device.uuid, name=device.name).to_json() for device in devices],
        "cells": [_cell_json(cell, datasets[cell.dataset], shards.get(cell.dataset)) for cell in campaign.cells],
        "orderRule": order.ORDER_RULE,
        "statistic": figures.STATISTIC,
        "attemptsPerCell": campaign.attempts_per_cell,
        "abortReasons": list(RETRIED_BLAMES),
        "launchProfileSha256": profile_sha256,
        "runnerVersion": __version__,
        "startedOn": format_moment(now),
        "deadline": format_moment(now + CAMPAIGN_LIMIT),
    }


def intent_json(plan_id: str, cell: Cell, attempt: int, now: datetime) -> dict[str, Json]:
    """Return the session-intent predicate."""
    return {"campaign": plan_id, "cell": cell.cell_id, "attempt": attempt, "declaredOn": format_moment(now)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeFacts:
    """What a session left, by digest: `byproducts` are the evidence files, `dependencies` what went in."""

    campaign: str
    intent: StatementLink
    cell: str
    attempt: int
    nonce: str
    failure: Failure | None
    started: datetime
    finished: datetime
    trace_sha256: str | None = None
    trace_chain: str | None = None
    runs: Sequence[RunFacts] = ()
    probes: Sequence[ProbeFacts] = ()
    environment: Mapping[str, Json] | None = None
    dependencies: Sequence[Resource] = ()
    byproducts: Sequence[Resource] = ()


def without_evidence(facts: OutcomeFacts, failure: Failure) -> OutcomeFacts:
    """Return the facts of a session whose evidence could not be kept: aborted, and nothing but its place and time."""
    return replace(
        facts, failure=failure, trace_sha256=None, trace_chain=None, runs=(), probes=(), dependencies=(), byproducts=()
    )


def outcome_json(facts: OutcomeFacts) -> dict[str, Json]:
    """Return the session-outcome predicate; runs and probes of an aborted session are published as discarded."""
    discarded = facts.failure is not None
    asked: dict[str, Json] = {}
    if facts.probes:
        asked["probes"] = [_probe_json(probe, discarded=discarded) for probe in facts.probes]
    return {
        "campaign": facts.campaign,
        "intent": facts.intent.to_json(),
        "cell": facts.cell,
        "attempt": facts.attempt,
        "nonce": facts.nonce,
        "status": "completed" if facts.failure is None else "aborted",
        "abort": None if facts.failure is None else facts.failure.to_json(),
        "startedOn": format_moment(facts.started),
        "finishedOn": format_moment(facts.finished),
        "traceSha256": facts.trace_sha256,
        "traceChain": facts.trace_chain,
        "runs": [_run_json(run, discarded=discarded) for run in facts.runs],
        "environment": dict(facts.environment or {}),
        "resolvedDependencies": [item.to_json() for item in facts.dependencies],
        "byproducts": [item.to_json() for item in facts.byproducts],
        **asked,
    }


def result_json(
    plan_id: str,
    plan: CampaignPlan,
    outcomes: Sequence[tuple[StatementLink, SessionOutcome]],
    cells: Mapping[str, SessionFigures],
    *,
    failure: Failure | None,
    verify_txt_sha256: str,
    tier: str = T1,
    unexplained: bool = False,
) -> dict[str, Json]:
    """Return the campaign-result predicate from all outcomes in log order; `cells` are the completed ones' figures.

    `tier` is what the record earns by its witnesses, `unexplained` whether an accelerator counted something between
    sessions that its idling does not explain.
    """
    completed = {outcome.cell: (link, outcome) for link, outcome in outcomes if outcome.status == "completed"}
    results = [
        CellResult(
            cell_id=cell.cell_id,
            outcome=completed[cell.cell_id][0].statement_id,
            recomputed=published(cells[cell.cell_id]),
            committed=_committed(completed[cell.cell_id][1]),
        )
        for cell in plan.cells
        if cell.cell_id in completed
    ]
    flags = _flags(plan, results, tier, unexplained=unexplained)
    return {
        "campaign": plan_id,
        "status": "completed" if failure is None else "failed",
        "failure": None if failure is None else failure.to_json(),
        "outcomes": [link.to_json() for link, _ in outcomes],
        "cells": [result.to_json() for result in results],
        "certifiable": failure is None and not flags,
        "flags": list(flags),
        "byproducts": [Resource(name=VERIFY_TXT, sha256=verify_txt_sha256, media_type="text/plain").to_json()],
    }


def is_official(points: int, runs: int) -> bool:
    """Return whether these counts are those of an official session."""
    return (points, runs) == (OFFICIAL_POINTS, OFFICIAL_RUNS)


def _cell_json(cell: Cell, dataset: Dataset, shard: ShardClaim | None) -> dict[str, Json]:
    private: dict[str, Json] = {} if shard is None else {"privateShard": shard.to_json()}
    return {
        "id": cell.cell_id,
        "task": cell.task.value,
        "scenario": cell.scenario.value,
        "precision": cell.precision.value,
        "batch": cell.scenario.batch,
        "points": cell.points,
        "runs": cell.runs,
        "dataset": {
            "name": dataset.name,
            "sha256": dataset.digest,
            "sources": dict(dataset.sources),
            "thirds": dataset.thirds,
            "shard": shard is not None,
            **private,
        },
        "probes": PROBE_RULE,
    }


def _run_json(run: RunFacts, *, discarded: bool) -> dict[str, Json]:
    found: Json = None if discarded or run.figures is None else run.figures.to_json()  # type: ignore[assignment]
    return {
        "run": run.run,
        "window": f"run-{run.run}",
        "timelineSha256": run.timeline_sha256,
        "queries": run.queries,
        "samples": run.samples,
        "passes": run.passes,
        "figures": found,
        "responses": {"root": run.response_root.hex(), "leaves": run.response_leaves},
        "quality": run.quality.to_json(),
        "discarded": discarded,
    }


def _probe_json(probe: ProbeFacts, *, discarded: bool) -> dict[str, Json]:
    figures = None if discarded or probe.figures is None else probe.figures.to_json()
    return {
        "number": probe.number,
        "window": probe.name,
        "timelineSha256": probe.timeline_sha256,
        "queries": probe.queries,
        "samples": probe.samples,
        "figures": figures,  # type: ignore[dict-item]
        "responses": {"root": probe.response_root.hex(), "leaves": probe.response_leaves},
        "quality": None if probe.quality is None else probe.quality.to_json(),
        "discarded": discarded,
    }


def _committed(outcome: SessionOutcome) -> dict[str, str]:
    """Return the mean of every metric over a session's runs, and what they counted."""
    claims = [run.quality for run in outcome.runs if run.quality is not None]
    values = [claim.values() for claim in claims]
    means = {
        name: decimal_string(statistics.mean([from_decimal(of_run[name]) for of_run in values]), _QUALITY_PLACES)
        for name in values[0]
    }
    return {**means, **counts(claims)}


def _flags(plan: CampaignPlan, results: Sequence[CellResult], tier: str, *, unexplained: bool) -> tuple[str, ...]:
    planned: dict[str, PlanCell] = {cell.cell_id: cell for cell in plan.cells}
    facts = [
        CellFacts(
            task=planned[result.cell_id].task,
            dataset=planned[result.cell_id].dataset.name,
            energy_kind=result.recomputed["energyKind"],
            measurement_flags=figures.measurement_flags(result.recomputed),
            thirds=planned[result.cell_id].dataset.thirds,
            shard=planned[result.cell_id].private_points > 0,
            judged=probes.judged(result.recomputed),
            quality=result.committed.get(REGISTRY[Task(planned[result.cell_id].task)].quality_metric),
        )
        for result in results
    ]
    return open_flags(
        official=plan.official,
        hardware_class=plan.hardware_class,
        proprietary=plan.submission.proprietary,
        tier=tier,
        cells=facts,
        unexplained=unexplained,
    )
