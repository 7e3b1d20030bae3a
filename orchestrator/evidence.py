"""A session's leavings become evidence: files by digest, and the facts that its outcome states about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import __version__
from orchestrator.assemble import OutcomeFacts, ProbeFacts, RunFacts, failure_of
from orchestrator.evaluate.quality import Quality
from orchestrator.meter.wall_part import log_of
from orchestrator.record.store import EvidenceStore
from orchestrator.record.vault import Vault
from orchestrator.session import FinishedProbe, FinishedRun, SessionRecord
from protocol.attestation.claims import PlanCell, QualityClaim, Resource, TokensClaim
from protocol.attestation.jcs import Json, dumps
from protocol.attestation.predicates import SessionOutcome
from protocol.attestation.probed import claimed_quality, probed_of
from protocol.errors import (
    InvalidMeasurement,
    JoulesealError,
    ProtocolViolation,
    RecordUnsound,
    TraceGap,
    VerificationError,
)
from protocol.methodology import dataset_index, timeline
from protocol.methodology.acceptance import OF_THE_SANDBOX
from protocol.methodology.beside import BESIDE, WALL_LOG, read_beside
from protocol.methodology.energy import validate
from protocol.methodology.figures import RunFigures
from protocol.methodology.probe_figures import Probed, ProbeFigures
from protocol.methodology.session_figures import SessionFigures, session_figures
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.units import decimal_string

_QUALITY_PLACES = 6
_JSON = "application/json"
DATASET_INDEX = "dataset-index"
_MEDIA = {WALL_LOG: "text/csv", DATASET_INDEX: dataset_index.MEDIA_TYPE}
_READ_BESIDE = "compare the wall meter's log with docs/wall-meter.md; the session is void and repeated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a session's evidence gives: the facts of its outcome, and the error that voids it, if there is one."""

    facts: OutcomeFacts
    error: JoulesealError | None


def keep_session(
    record: SessionRecord,
    place: OutcomeFacts,
    *,
    store: EvidenceStore,
    vault: Vault,
    environment: Mapping[str, Json],
    shared: Mapping[str, bytes],
    wall_log: Path | None = None,
) -> Kept:
    """Store a session's evidence and return its facts.

    `place` says which session it is, `shared` is evidence of the whole campaign, by name; `wall_log` is the growing
    file of a wall meter, of which this session's part is kept. A meter's record that does not hold what the method asks
    for voids a session that had run to its end. Raises StorageFull.
    """
    trace, error = _judge(record)
    files = dict(shared)
    figures: dict[int, RunFigures] = {}
    of_probes: Mapping[str, ProbeFigures] = {}
    if trace is not None and error is None:
        try:
            validate(trace)
            if wall_log is not None:
                files[WALL_LOG] = log_of(wall_log, trace)
            found = session_figures(trace, [run.records for run in record.runs], read_beside(files), _probed(record))
            of_probes = found.probes
            figures = {run.run: of_run for run, of_run in zip(record.runs, found.runs, strict=True)}
        except InvalidMeasurement as broken:
            error = _blamed(broken)
        except VerificationError as malformed:
            error = InvalidMeasurement(
                code=malformed.code, observed=malformed.observed, expected=malformed.expected, hint=_READ_BESIDE
            )
    byproducts = [
        Resource(name=name, sha256=store.put(data), media_type=_MEDIA.get(name, _JSON)) for name, data in files.items()
    ]
    if record.inspect is not None:
        byproducts.append(_resource(store, "sandbox-inspect", dumps(_strings(record.inspect))))
    trace_sha256 = None if trace is None or record.trace is None else store.put(record.trace)
    runs = [_run_facts(run, store, figures.get(run.run)) for run in record.runs]
    by_number = sorted(record.probes, key=lambda probe: probe.probe.number)
    probes = [_probe_facts(probe, store, of_probes.get(probe.probe.name)) for probe in by_number]
    answers = {run.run: run.commitment.answers for run in record.runs}
    answers |= {probe.probe.number: probe.commitment.answers for probe in record.probes}
    if answers:
        vault.put(record.order.session_id, record.secret, answers)
    facts = OutcomeFacts(
        campaign=place.campaign,
        intent=place.intent,
        cell=place.cell,
        attempt=place.attempt,
        nonce=place.nonce,
        failure=None if error is None else failure_of(error),
        started=record.started,
        finished=record.finished,
        trace_sha256=trace_sha256,
        trace_chain=None if trace is None else trace.digest,
        runs=runs,
        probes=probes,
        environment={**environment, "model": dict(record.description)},
        dependencies=_dependencies(record),
        byproducts=byproducts,
    )
    return Kept(facts=facts, error=error)


def finished_session(outcome: SessionOutcome, cell: PlanCell, store: EvidenceStore) -> SessionFigures:
    """Return the figures of a completed session from its stored evidence, as an auditor would compute them.

    `cell` is the planned cell that it is of.
    """
    if outcome.trace_sha256 is None:
        raise RecordUnsound(
            code="EVIDENCE_LOST",
            observed=f"the completed session of {outcome.cell} names no meter record",
            expected="a completed outcome with its trace",
            hint="keep the record's folder as it is and report this",
        )
    trace = parse_trace(store.get(outcome.trace_sha256))
    named = {item.name: store.get(item.sha256) for item in outcome.byproducts if item.name in BESIDE}
    timelines = [timeline.unpack(store.get(run.timeline_sha256)) for run in outcome.runs]
    of_probes = {probe.name: timeline.unpack(store.get(probe.timeline_sha256)) for probe in outcome.probes}
    return session_figures(trace, timelines, read_beside(named), probed_of(outcome, cell, of_probes))


def readable_trace(outcome: SessionOutcome, store: EvidenceStore) -> PowerTrace | None:
    """Return the meter's record of any session, aborted ones too; None where there is none that can be read."""
    if outcome.trace_sha256 is None:
        return None
    try:
        return parse_trace(store.get(outcome.trace_sha256))
    except VerificationError:
        return None


def _judge(record: SessionRecord) -> tuple[PowerTrace | None, JoulesealError | None]:
    """Return the parsed record of the meter, None where it is not whole, and what voids the session."""
    if record.trace is None:
        return None, record.error or _no_trace("no meter record was written")
    try:
        return parse_trace(record.trace), record.error
    except VerificationError as error:
        return None, record.error or _no_trace(error.observed)


def _blamed(broken: InvalidMeasurement) -> JoulesealError:
    """Return a broken rule of the meter as the error of who must act: some can only be the sandbox's own doing."""
    if broken.code not in OF_THE_SANDBOX:
        return broken
    return ProtocolViolation(
        code=broken.code,
        observed=broken.observed,
        expected="a model that works on the leased accelerator, and only while it is asked",
        hint="run the model on the accelerator, or submit it for a machine without one",
    )


def _no_trace(observed: str) -> TraceGap:
    return TraceGap(
        code="TRACE_INCOMPLETE",
        observed=observed,
        expected="a record that the sampler closed itself",
        hint="the session is repeated; if it happens again, run `jouleseal doctor`",
    )


def _probed(record: SessionRecord) -> Probed:
    """Return what was asked between a session's runs, its qualities as they are signed."""
    claims = [(probe, _quality(probe.quality)) for probe in record.probes if probe.quality is not None]
    return Probed(
        asked=record.order.asked,
        timelines={probe.probe.name: probe.records for probe in record.probes},
        public=claimed_quality([(_quality(run.quality), run.quality.samples) for run in record.runs]),
        private=claimed_quality([(claim, sum(_private(probe))) for probe, claim in claims]),
    )


def _private(probe: FinishedProbe) -> list[int]:
    return [len(message.places) for message in probe.probe.messages if message.role == "private"]


def _probe_facts(probe: FinishedProbe, store: EvidenceStore, figures: ProbeFigures | None) -> ProbeFacts:
    return ProbeFacts(
        number=probe.probe.number,
        name=probe.probe.name,
        timeline_sha256=store.put(timeline.pack(probe.records)),
        queries=len(probe.records),
        samples=sum(query.samples for query in probe.records),
        figures=figures,
        response_root=probe.commitment.root,
        response_leaves=probe.commitment.leaves,
        quality=None if probe.quality is None else _quality(probe.quality),
    )


def _run_facts(run: FinishedRun, store: EvidenceStore, figures: RunFigures | None) -> RunFacts:
    return RunFacts(
        run=run.run,
        timeline_sha256=store.put(timeline.pack(run.records)),
        queries=len(run.records),
        samples=sum(query.samples for query in run.records),
        passes=run.records[-1].passno + 1,
        figures=figures,
        response_root=run.commitment.root,
        response_leaves=run.commitment.leaves,
        quality=_quality(run.quality),
    )


def _quality(found: Quality) -> QualityClaim:
    tokens = found.tokens
    return QualityClaim(
        metric=found.metric,
        value=None if found.value is None else decimal_string(found.value, _QUALITY_PLACES),
        errors=found.errors,
        secondary={name: decimal_string(value, _QUALITY_PLACES) for name, value in found.secondary.items()},
        tokens=None if tokens is None else TokensClaim(counted=tokens.counted, claimed=tokens.claimed),
    )


def _dependencies(record: SessionRecord) -> list[Resource]:
    order = record.order
    shard = order.private_sha256
    bound = [] if shard is None else [Resource(name=f"private-shard:{order.dataset.name}", sha256=shard)]
    return [
        *bound,
        Resource(name=f"dataset:{order.dataset.name}", sha256=order.dataset.digest),
        Resource(name="image-config", sha256=order.image.config_digest.removeprefix("sha256:")),
        Resource(name="launch-profile", sha256=order.profile.digest()),
        Resource(name="seccomp-profile", sha256=order.profile.seccomp_sha256),
    ]


def _resource(store: EvidenceStore, name: str, data: bytes) -> Resource:
    return Resource(name=name, sha256=store.put(data), media_type=_JSON)


def _strings(value: object) -> Json:
    """Return a JSON value with every number as text, so that it has one canonical spelling."""
    if isinstance(value, Mapping):
        return {str(key): _strings(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strings(item) for item in value]
    return value if isinstance(value, str | bool) or value is None else str(value)


def runner_environment(engine: Mapping[str, str]) -> dict[str, Json]:
    """Return what every session of a campaign says about where it ran."""
    return {"runnerVersion": __version__, "engine": dict(engine)}
