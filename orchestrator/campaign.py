"""One campaign under its plan: sessions one after another, each declared before it starts and closed with one outcome.

A vendor's fault ends the campaign. A disturbed session is repeated within the plan's attempts. A fault of the machine,
or an interruption, is recorded as this session's outcome and leaves the campaign open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator import assemble
from orchestrator.books import Books
from orchestrator.datasets.shard import Shard
from orchestrator.evidence import DATASET_INDEX, keep_session, runner_environment
from orchestrator.launch.profile import LaunchProfile
from orchestrator.record.sequence import Recorded, outcomes_of
from orchestrator.session import Bench, SessionOrder, conduct
from protocol.attestation.claims import Failure
from protocol.attestation.predicates import SessionOutcome
from protocol.attestation.statement import SESSION_INTENT, SESSION_OUTCOME
from protocol.errors import (
    Interrupted,
    InvalidMeasurement,
    InvalidSubmission,
    JoulesealError,
    RigError,
    StorageFull,
    SubmissionError,
)
from protocol.methodology import dataset_index
from protocol.methodology.dataset import Dataset
from protocol.methodology.figures import cell_figures
from protocol.submission import Campaign, Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A submission that can be run here: its campaign, the profile of its sandboxes, and its key in the batch.

    `signed` is the vendor's own statement of it, where the vendor made one.
    """

    campaign: Campaign
    document: bytes
    profile: LaunchProfile
    key: str
    signed: bytes | None = None

    @property
    def subject(self) -> str:
        """The subject of all its statements: the hex SHA-256 of the image's configuration."""
        return self.campaign.image.config_digest.removeprefix("sha256:")


@dataclass(slots=True, kw_only=True)
class Walk:
    """One campaign's sessions, one after another, until every planned cell has its outcome.

    `shards` are the private shards by dataset, `shared` is evidence that every session refers to, by name.
    `sessions_before` and `sessions_total` place the campaign in its batch, for whoever watches.
    """

    bench: Bench
    books: Books
    datasets: Mapping[str, Dataset]
    shards: Mapping[str, Shard]
    shared: Sequence[tuple[str, bytes]]
    item: Admitted
    plan_id: str
    sessions_before: int
    sessions_total: int

    def to_its_end(self) -> JoulesealError | None:
        """Run what is missing and record the result; returns the error that failed the campaign, if one did."""
        registrar = self.books.registrar
        if all(c.recorded.statement_id != self.plan_id for c in registrar.open_campaigns()):
            return self._as_concluded()
        view = self.bench.view
        view.status.campaign = self.item.campaign.submission.submission_id
        for number, cell in enumerate(self.item.campaign.cells):
            view.session_begins(self.sessions_before + number + 1, self.sessions_total, cell.cell_id)
            error = self._cell(cell)
            if error is not None:
                self.books.conclude(self.books.find(self.plan_id), self._outcomes(cell)[-1].abort)
                return error
        self.books.conclude(self.books.find(self.plan_id), None)
        return None

    def _as_concluded(self) -> JoulesealError | None:
        """Return what failed the campaign, if anything did, when its result was recorded before an interruption."""
        failure = self.books.concluded(self.plan_id).failure
        return None if failure is None else _failed_before(self.item.campaign.submission.submission_id, failure)

    def _outcomes(self, cell: Cell) -> list[SessionOutcome]:
        found = outcomes_of(self.books.registrar.history, self.plan_id)
        return [
            item.predicate
            for item in found
            if isinstance(item.predicate, SessionOutcome) and item.predicate.cell == cell.cell_id
        ]

    def _cell(self, cell: Cell) -> JoulesealError | None:
        """Try a cell until it is completed; returns what fails the campaign, raises what leaves it open."""
        error: JoulesealError | None = None
        while True:
            outcomes = self._outcomes(cell)
            if any(outcome.status == "completed" for outcome in outcomes):
                return None
            vendors = next((o.abort for o in outcomes if o.abort is not None and o.abort.blame == "vendor"), None)
            if vendors is not None:
                return error or _failed_before(cell.cell_id, vendors)
            if len(outcomes) >= self.item.campaign.attempts_per_cell:
                return error or _exhausted(cell, len(outcomes))
            error = self._attempt(cell, len(outcomes) + 1)
            if isinstance(error, RigError | Interrupted):
                raise error
            if isinstance(error, InvalidMeasurement):
                self.bench.view.note(f"{cell.cell_id}: {error.code}, {error.observed}; void, and logged")

    def _attempt(self, cell: Cell, attempt: int) -> JoulesealError | None:
        with self.bench.interrupts.allowed():  # a signal that came while recording stops before the next intent
            pass
        predicate = assemble.intent_json(self.plan_id, cell, attempt, datetime.now(UTC))
        intent = self.books.record(SESSION_INTENT, self.item.subject, predicate)
        shard = self.shards.get(cell.dataset)
        order = SessionOrder(
            session_id=session_id(intent),
            cell=cell,
            image=self.item.campaign.image,
            profile=self.item.profile,
            cpus=self.item.campaign.submission.resources.cpus,
            dataset=self.datasets[cell.dataset],
            nonce=bytes.fromhex(intent.nonce),
            private=() if shard is None else shard.points,
            private_sha256=None if shard is None else shard.salted_sha256,
        )
        record = conduct(self.bench, order)
        place = assemble.OutcomeFacts(
            campaign=self.plan_id,
            intent=intent.link,
            cell=cell.cell_id,
            attempt=attempt,
            nonce=intent.nonce,
            failure=None if record.error is None else assemble.failure_of(record.error),
            started=record.started,
            finished=record.finished,
        )
        facts, error = place, record.error
        try:
            kept = keep_session(
                record,
                place,
                store=self.books.evidence,
                vault=self.books.vault,
                environment=runner_environment(self.bench.engine.facts().to_json()),
                shared=self._shared(cell),
                wall_log=self.bench.wall_log,
            )
            facts, error = kept.facts, kept.error
        except StorageFull as full:
            # The outcome is still recorded, without evidence: the reserve has the room for that.
            error = record.error or full
            facts = assemble.without_evidence(place, assemble.failure_of(error))
            self.books.recover_room()
        self.books.record(SESSION_OUTCOME, self.item.subject, assemble.outcome_json(facts))
        if error is None:
            self.bench.view.note(f"{cell.cell_id}: {_summary(facts)}")
        return error

    def _shared(self, cell: Cell) -> dict[str, bytes]:
        """Return the evidence that sessions of this cell refer to together, by name."""
        index = dataset_index.pack(self.datasets[cell.dataset].points)
        named = [("launch-profile", self.item.profile.to_json()), (DATASET_INDEX, index)]
        return dict([*named, *self.shared])


def session_id(intent: Recorded) -> str:
    """Return the name of a session's parts in the engine and the kernel."""
    return f"{intent.log_index}-{intent.statement_id[:12]}"


def _summary(facts: assemble.OutcomeFacts) -> str:
    figures = cell_figures([run.figures for run in facts.runs if run.figures is not None])
    energy = figures.get("itEnergyWhPer1000Queries", "-")
    quality = facts.runs[0].quality
    return (
        f"{energy} Wh per 1,000 queries ({figures['energyKind']}, {figures['energyScope']}), "
        f"{figures['queriesPerSecond']} queries/s, {quality.metric} {quality.value or '-'}"
    )


def _failed_before(what: str, failure: Failure) -> SubmissionError | InvalidMeasurement:
    """Return the error of a failure that was recorded before this command took over."""
    observed = f"{what} had failed with {failure.code} before the command was interrupted"
    if failure.blame != "vendor":
        return InvalidMeasurement(
            code=failure.code,
            observed=observed,
            expected="one completed session within the plan's attempts",
            hint="run `jouleseal doctor`, look for what disturbs this machine, and hand the submission in again",
        )
    return InvalidSubmission(
        code=failure.code,
        observed=observed,
        expected="a session that the container survives",
        hint="run `jouleseal check` on the image: it shows the same fault with full logs",
    )


def _exhausted(cell: Cell, attempts: int) -> InvalidMeasurement:
    return InvalidMeasurement(
        code="ATTEMPTS_EXHAUSTED",
        observed=f"{cell.cell_id}: {attempts} sessions, none completed",
        expected="one completed session within the plan's attempts",
        hint="run `jouleseal doctor`, look for what disturbs this machine, and hand the submission in again",
    )
