"""A small domain and a small campaign in it, for tests of the record."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from orchestrator.record.domain import Domain, create
from orchestrator.record.registrar import Logged, Registrar
from orchestrator.record.store import EvidenceStore
from protocol.attestation.digest import sha256_hex
from tests.unit.attestation import statements

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IMAGE = statements.IMAGE


def new_domain(home: Path) -> Domain:
    home.mkdir(parents=True, exist_ok=True)
    return create(home, "runner-1", ["cpu:0"], now=NOW)


def registrar(domain: Domain) -> Registrar:
    return Registrar(domain, clock=lambda: 1_772_366_400, boot_id="boot-1")


def evidence_of(home: Path) -> EvidenceStore:
    return EvidenceStore(home / "evidence")


def steps(voice: Registrar, evidence: EvidenceStore):
    """Yield after each of the four statements of a campaign with one session."""
    plan = yield from _step(record_plan(voice, evidence))
    intent = yield from _step(record_intent(voice, plan))
    outcome = yield from _step(record_outcome(voice, evidence, plan, intent))
    yield from _step(record_result(voice, plan, [outcome]))


def _step(logged: Logged):
    yield logged
    return logged


def record_plan(voice: Registrar, evidence: EvidenceStore, **changes) -> Logged:
    chain = voice.vendor_chain("acme", "digits")
    plan = statements.plan(vendorSeq=chain.seq, prevPlan=chain.prev_plan)
    plan["submission"] = {**plan["submission"], "documentSha256": evidence.put(b"submission.yaml")}
    return voice.record("campaign-plan", IMAGE, {**plan, **changes})


def record_intent(voice: Registrar, plan: Logged, attempt: int = 1) -> Logged:
    return voice.record("session-intent", IMAGE, statements.intent(plan.statement_id, attempt))


def record_outcome(voice: Registrar, evidence: EvidenceStore, plan: Logged, intent: Logged) -> Logged:
    meter = {"name": "meter-record", "digest": {"sha256": evidence.put(b"watts")}, "mediaType": "application/x-ndjson"}
    run = statements.run(timelineSha256=evidence.put(b"timeline"))
    outcome = statements.outcome(
        intent.index,
        intent.statement_id,
        plan.statement_id,
        intent.nonce(),
        runs=[run],
        traceSha256=evidence.put(b"watts"),
        byproducts=[meter],
    )
    return voice.record("session-outcome", IMAGE, outcome)


def record_result(voice: Registrar, plan: Logged, outcomes: list[Logged]) -> Logged:
    text = {"name": "VERIFY.txt", "digest": {"sha256": sha256_hex(voice.domain.verify_txt)}}
    links = [(item.index, item.statement_id) for item in outcomes]
    return voice.record("campaign-result", IMAGE, statements.result(links, plan.statement_id, byproducts=[text]))


def campaign(domain: Domain) -> list[Logged]:
    with registrar(domain) as voice:
        return list(steps(voice, evidence_of(domain.home)))
