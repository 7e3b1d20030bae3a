"""What a runner writes down: statements through its registrar, evidence, answers, and the room kept free for bad news.

A statement that finds the disk full is recorded once more with the room of the reserve: the record of a failure is
worth more than the reserve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import assemble
from orchestrator.batch import BatchFile
from orchestrator.disk import disk_errors
from orchestrator.evidence import finished_session, readable_trace
from orchestrator.record.keys import Unlock, no_passphrase
from orchestrator.record.registrar import Registrar
from orchestrator.record.reserve import Reserve
from orchestrator.record.sequence import Recorded, outcomes_of
from orchestrator.record.store import EvidenceStore
from orchestrator.record.vault import Vault
from protocol.attestation.claims import Failure, StatementLink
from protocol.attestation.digest import sha256_hex
from protocol.attestation.jcs import Json
from protocol.attestation.predicates import CampaignPlan, CampaignResult, SessionOutcome
from protocol.attestation.statement import CAMPAIGN_RESULT
from protocol.attestation.tier import earned_tier
from protocol.errors import StorageFull
from protocol.methodology.continuity import RecordedSession, gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """A campaign with its result: the places of its plan and its result in the log, and why it failed, if it did."""

    plan_id: str
    first_index: int
    last_index: int
    failure: Failure | None


@dataclass(slots=True, kw_only=True)
class Books:
    """The books of one trust domain, open; one command writes them at a time."""

    home: Path
    registrar: Registrar
    reserve: Reserve
    evidence: EvidenceStore
    vault: Vault
    batch: BatchFile
    unlock: Unlock = no_passphrase

    @classmethod
    def open(cls, home: Path, unlock: Unlock = no_passphrase) -> Books:
        """Open the books of the trust domain in a folder; `close` them afterwards; `unlock` as of `open_domain`.

        What a killed command left half-written is removed first: the log is locked by then, so nobody is writing it.
        """
        registrar = Registrar.open(home, unlock)
        registrar.__enter__()
        _sweep(home)
        return cls(
            home=home,
            registrar=registrar,
            reserve=Reserve(home / "reserve"),
            evidence=EvidenceStore(home / "evidence"),
            vault=Vault(home / "private", home / "keys" / "vault.key"),
            batch=BatchFile(home / "batch.json"),
            unlock=unlock,
        )

    def close(self) -> None:
        """Let go of the log."""
        self.registrar.__exit__(None, None, None)

    def recover_room(self) -> None:
        """Give the reserve back to a full disk and open the registrar again, which completes what was interrupted."""
        self.close()
        self.reserve.release()
        self.registrar = Registrar.open(self.home, self.unlock)
        self.registrar.__enter__()

    def record(self, name: str, subject: str, predicate: Mapping[str, Json]) -> Recorded:
        """Sign, log and witness a statement; on a full disk, once more with the room of the reserve."""
        before = len(self.registrar.history)
        try:
            self.registrar.record(name, subject, predicate)
        except StorageFull:
            self.recover_room()
            if len(self.registrar.history) == before:
                self.registrar.record(name, subject, predicate)
        return self.registrar.history[-1]

    def conclude(self, plan: Recorded, failure: Failure | None) -> None:
        """Record a campaign's result from all its outcomes and their stored evidence."""
        if not isinstance(plan.predicate, CampaignPlan):
            raise TypeError(f"entry {plan.log_index} is no plan")
        outcomes = [
            (item.link, item.predicate)
            for item in outcomes_of(self.registrar.history, plan.statement_id)
            if isinstance(item.predicate, SessionOutcome)
        ]
        planned = {cell.cell_id: cell for cell in plan.predicate.cells}
        cells = {
            outcome.cell: finished_session(outcome, planned[outcome.cell], self.evidence)
            for _, outcome in outcomes
            if outcome.status == "completed"
        }
        predicate = assemble.result_json(
            plan.statement_id,
            plan.predicate,
            outcomes,
            cells,
            failure=failure,
            verify_txt_sha256=sha256_hex(self.registrar.domain.verify_txt),
            tier=earned_tier(self.registrar.domain.keyring, self.registrar.domain.policy),
            unexplained=bool(plan.predicate.devices) and self._unexplained(outcomes),
        )
        self.record(CAMPAIGN_RESULT, plan.subject_sha256, predicate)

    def _unexplained(self, outcomes: Sequence[tuple[StatementLink, SessionOutcome]]) -> bool:
        """Return whether an accelerator counted something between these sessions that its idling does not explain."""
        recorded = [
            RecordedSession(
                intent=outcome.intent.log_index,
                outcome=link.log_index,
                boot_id=outcome.runner.boot_id,
                trace=readable_trace(outcome, self.evidence),
            )
            for link, outcome in outcomes
        ]
        return any(gap.open for gap in gaps(recorded))

    def find(self, statement_id: str) -> Recorded:
        """Return a recorded statement by its id."""
        return next(item for item in self.registrar.history if item.statement_id == statement_id)

    def concluded(self, plan_id: str) -> Concluded:
        """Return where a campaign that has its result stands in the log, and how it ended."""
        result = next(
            item
            for item in self.registrar.history
            if isinstance(item.predicate, CampaignResult) and item.predicate.campaign == plan_id
        )
        failure = result.predicate.failure if isinstance(result.predicate, CampaignResult) else None
        first = self.find(plan_id).log_index
        return Concluded(plan_id=plan_id, first_index=first, last_index=result.log_index, failure=failure)


def _sweep(home: Path) -> None:
    with disk_errors("what was left half-written"):
        for path in [*home.rglob("*.part"), *(home / "work").glob("*.trace")]:
            path.unlink(missing_ok=True)
