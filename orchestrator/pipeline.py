"""The corridor: the stages of a campaign in order, and nothing else.

    admit > plan > sessions (intent .. outcome) > result > bundle

What has been done is read from the signed statements, never remembered beside them; only which submissions one command
was given is kept in `batch.json`, until their bundle is written. Killed at any moment and started again with the same
submissions, `run_batch` closes the open session as aborted, keeps every finished one, and measures the rest.

A vendor's fault ends its campaign with a failed result. A disturbed session is repeated within the plan's attempts. A
fault of the machine leaves the campaign open, to be continued when the machine is mended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from orchestrator import assemble
from orchestrator.batch import Batch, BatchFile
from orchestrator.evidence import finished_runs, keep_session, runner_environment
from orchestrator.launch import cgroups
from orchestrator.launch.profile import LaunchProfile, build_profile
from orchestrator.launch.sandbox import session_groups
from orchestrator.record.bundle import export
from orchestrator.record.registrar import Registrar
from orchestrator.record.reserve import Reserve
from orchestrator.record.sequence import OpenCampaign, Recorded, outcomes_of
from orchestrator.record.store import EvidenceStore, disk_errors
from orchestrator.record.vault import Vault
from orchestrator.session import Bench, SessionOrder, conduct
from protocol.attestation.claims import Failure, Resource
from protocol.attestation.digest import sha256_hex
from protocol.attestation.jcs import Json
from protocol.attestation.predicates import CampaignPlan, CampaignResult, SessionOutcome
from protocol.attestation.statement import CAMPAIGN_PLAN, CAMPAIGN_RESULT, SESSION_INTENT, SESSION_OUTCOME
from protocol.errors import (
    Interrupted,
    InvalidMeasurement,
    InvalidSubmission,
    JoulesealError,
    RigError,
    StorageFull,
    SubmissionError,
    UsageError,
)
from protocol.methodology.dataset import Dataset
from protocol.methodology.figures import cell_figures
from protocol.methodology.scenario import ATTEMPTS_PER_CELL
from protocol.submission import Campaign, Cell, Submission

_ABANDONED = Failure(code="ABANDONED", blame="rig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One submission as it came in: parsed, with its document, and how much of it is to be measured."""

    submission: Submission
    document: bytes
    points: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A submission that can be run here: its campaign, the profile of its sandboxes, and its key in the batch."""

    campaign: Campaign
    document: bytes
    profile: LaunchProfile
    key: str

    @property
    def subject(self) -> str:
        """The subject of all its statements: the hex SHA-256 of the image's configuration."""
        return self.campaign.image.config_digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """A campaign with its result: the places of its plan and its result in the log, and why it failed, if it did."""

    plan_id: str
    first_index: int
    last_index: int
    failure: Failure | None


@dataclass(slots=True, kw_only=True)
class Books:
    """What is written down: the registrar, the evidence, the answers, and the room kept free for bad news."""

    home: Path
    registrar: Registrar
    reserve: Reserve
    evidence: EvidenceStore
    vault: Vault
    batch: BatchFile

    @classmethod
    def open(cls, home: Path) -> Books:
        """Open the books of the trust domain in a folder; `close` them afterwards.

        What a killed command left half-written is removed first: the log is locked by then, so nobody is writing it.
        """
        registrar = Registrar.open(home)
        registrar.__enter__()
        _sweep(home)
        return cls(
            home=home,
            registrar=registrar,
            reserve=Reserve(home / "reserve"),
            evidence=EvidenceStore(home / "evidence"),
            vault=Vault(home / "private", home / "keys" / "vault.key"),
            batch=BatchFile(home / "batch.json"),
        )

    def close(self) -> None:
        """Let go of the log."""
        self.registrar.__exit__(None, None, None)

    def recover_room(self) -> None:
        """Give the reserve back to a full disk and open the registrar again, which completes what was interrupted."""
        self.close()
        self.reserve.release()
        self.registrar = Registrar.open(self.home)
        self.registrar.__enter__()

    @property
    def last_index(self) -> int:
        """The place of the last statement."""
        return self.registrar.history[-1].log_index


@dataclass(slots=True, kw_only=True)
class Corridor:
    """One command's way through the stages: the bench it measures on, the books it writes, the datasets it asks."""

    bench: Bench
    books: Books
    datasets: Mapping[str, Dataset]
    shared: Sequence[tuple[str, bytes]] = field(default=())

    def run_batch(self, requests: Sequence[Request], out: Path, *, abandon_open: bool) -> tuple[Concluded, ...]:
        """Measure submissions one after another and write their bundle to `out`; continues an unfinished batch.

        Raises the SubmissionError or InvalidMeasurement of the first campaign that failed, after the bundle of what was
        recorded is written; RigError and Interrupted leave the batch to be continued by the same command.
        """
        self.books.reserve.keep()
        self.bench.engine.reap()
        with self.bench.interrupts.allowed():  # nothing is recorded yet
            admitted = [self._admit(request) for request in requests]
        batch = self._open_batch(tuple(item.key for item in admitted), abandon_open=abandon_open)
        concluded: list[Concluded] = []
        error: JoulesealError | None = None
        done = 0
        total = sum(len(item.campaign.cells) for item in admitted)
        for number, item in enumerate(admitted):
            plan_id = batch.plans[number] if number < len(batch.plans) else None
            if plan_id is None:
                plan_id = self._plan(item)
                batch = Batch(keys=batch.keys, plans=(*batch.plans, plan_id))
                self.books.batch.write(batch)
            campaign = _Walk(self, item, plan_id, done, total)
            error = campaign.to_its_end()
            concluded.append(self.concluded(plan_id))
            done += len(item.campaign.cells)
            if error is not None:
                break
        export(self.books.home, concluded[0].first_index, concluded[-1].last_index, self.books.evidence, out)
        self.books.batch.clear()
        if error is not None:
            raise error
        return tuple(concluded)

    def _admit(self, request: Request) -> Admitted:
        submission = request.submission
        self.bench.view.stage(f"admitting {submission.submission_id}")
        image = self.bench.engine.resolve(submission.image)
        profile = build_profile(image, submission.resources, None, self.bench.engine.facts())
        cells = tuple(
            Cell(
                task=asked.task,
                scenario=scenario,
                precision=precision,
                dataset=asked.dataset,
                dataset_digest=self.datasets[asked.dataset].digest,
                points=min(request.points, len(self.datasets[asked.dataset].points)),
                runs=request.runs,
            )
            for asked in submission.tasks
            for precision in asked.precisions
            for scenario in submission.scenarios
        )
        campaign = Campaign(
            submission=submission,
            image=image,
            cells=cells,
            official=all(assemble.is_official(cell.points, cell.runs) for cell in cells),
            attempts_per_cell=ATTEMPTS_PER_CELL,
        )
        # The profile belongs to the key: a session under another one would not be of the same plan.
        key = f"{submission.document_sha256}:{image.config_digest}:{profile.digest()}:{request.points}:{request.runs}"
        return Admitted(campaign=campaign, document=request.document, profile=profile, key=key)

    def _open_batch(self, keys: tuple[str, ...], *, abandon_open: bool) -> Batch:
        """Return the batch to continue or to begin; closes the session that a killed command left open."""
        kept, opened = self.books.batch.read(), self.books.registrar.open_campaigns()
        if kept is not None:
            known = {*kept.plans}
            kept = Batch(
                keys=kept.keys,
                plans=(*kept.plans, *(c.recorded.statement_id for c in opened if c.recorded.statement_id not in known)),
            )
        if kept is not None and kept.keys == keys:
            self._close_open_session()
            self.books.batch.write(kept)
            return kept
        if (opened or (kept is not None and kept.plans)) and not abandon_open:
            raise _unfinished(opened)
        self._close_open_session()
        for campaign in opened:
            self._abandon(campaign)
        batch = Batch(keys=keys, plans=())
        self.books.batch.write(batch)
        return batch

    def _close_open_session(self) -> None:
        now = datetime.now(UTC)
        for item in self.books.registrar.open_intents():
            # A command that was killed in its tidying may have removed the sandbox, and its control groups not yet.
            cgroups.remove(session_groups(_session_id(item.recorded)))
            facts = assemble.OutcomeFacts(
                campaign=item.intent.campaign,
                intent=item.recorded.link,
                cell=item.intent.cell,
                attempt=item.intent.attempt,
                nonce=item.recorded.nonce,
                failure=Failure(code="INTERRUPTED", blame="measurement"),
                started=now,
                finished=now,
            )
            self.record(SESSION_OUTCOME, item.recorded.subject_sha256, assemble.outcome_json(facts))
            self.bench.view.note(f"closed the session of {item.intent.cell} that was interrupted; it is in the log")

    def _abandon(self, campaign: OpenCampaign) -> None:
        outcomes = outcomes_of(self.books.registrar.history, campaign.recorded.statement_id)
        last = outcomes[-1].predicate if outcomes else None
        abort = last.abort if isinstance(last, SessionOutcome) else None
        self.conclude(campaign.recorded, abort or _ABANDONED)
        self.bench.view.note(f"abandoned the open campaign of {campaign.plan.submission.submission_id}")

    def _plan(self, item: Admitted) -> str:
        submission = item.campaign.submission
        self.books.evidence.put(item.document)
        chain = self.books.registrar.vendor_chain(submission.vendor, submission.model)
        predicate = assemble.plan_json(
            item.campaign,
            self.datasets,
            vendor_seq=chain.seq,
            prev_plan=chain.prev_plan,
            profile_sha256=item.profile.digest(),
            now=datetime.now(UTC),
        )
        return self.record(CAMPAIGN_PLAN, item.subject, predicate).statement_id

    def record(self, name: str, subject: str, predicate: Mapping[str, Json]) -> Recorded:
        """Sign, log and witness a statement; on a full disk, once more with the room of the reserve."""
        before = len(self.books.registrar.history)
        try:
            self.books.registrar.record(name, subject, predicate)
        except StorageFull:
            self.books.recover_room()
            if len(self.books.registrar.history) == before:
                self.books.registrar.record(name, subject, predicate)
        return self.books.registrar.history[-1]

    def conclude(self, plan: Recorded, failure: Failure | None) -> None:
        """Record a campaign's result from all its outcomes and their stored evidence."""
        if not isinstance(plan.predicate, CampaignPlan):
            raise TypeError(f"entry {plan.log_index} is no plan")
        outcomes = [
            (item.link, item.predicate)
            for item in outcomes_of(self.books.registrar.history, plan.statement_id)
            if isinstance(item.predicate, SessionOutcome)
        ]
        cells = {
            outcome.cell: finished_runs(outcome, self.books.evidence)
            for _, outcome in outcomes
            if outcome.status == "completed"
        }
        predicate = assemble.result_json(
            plan.statement_id,
            plan.predicate,
            outcomes,
            cells,
            failure=failure,
            verify_txt_sha256=sha256_hex(self.books.registrar.domain.verify_txt),
        )
        self.record(CAMPAIGN_RESULT, plan.subject_sha256, predicate)

    def find(self, statement_id: str) -> Recorded:
        """Return a recorded statement by its id."""
        return next(item for item in self.books.registrar.history if item.statement_id == statement_id)

    def concluded(self, plan_id: str) -> Concluded:
        """Return where a campaign that has its result stands in the log, and how it ended."""
        result = next(
            item
            for item in self.books.registrar.history
            if isinstance(item.predicate, CampaignResult) and item.predicate.campaign == plan_id
        )
        failure = result.predicate.failure if isinstance(result.predicate, CampaignResult) else None
        first = self.find(plan_id).log_index
        return Concluded(plan_id=plan_id, first_index=first, last_index=result.log_index, failure=failure)


@dataclass(slots=True)
class _Walk:
    """One campaign's sessions, one after another, until every planned cell has its outcome."""

    corridor: Corridor
    item: Admitted
    plan_id: str
    sessions_before: int
    sessions_total: int

    def to_its_end(self) -> JoulesealError | None:
        """Run what is missing and record the result; returns the error that failed the campaign, if one did."""
        registrar = self.corridor.books.registrar
        if all(c.recorded.statement_id != self.plan_id for c in registrar.open_campaigns()):
            return self._as_concluded()
        view = self.corridor.bench.view
        view.status.campaign = self.item.campaign.submission.submission_id
        for number, cell in enumerate(self.item.campaign.cells):
            view.session_begins(self.sessions_before + number + 1, self.sessions_total, cell.cell_id)
            error = self._cell(cell)
            if error is not None:
                self.corridor.conclude(self.corridor.find(self.plan_id), self._outcomes(cell)[-1].abort)
                return error
        self.corridor.conclude(self.corridor.find(self.plan_id), None)
        return None

    def _as_concluded(self) -> JoulesealError | None:
        """Return what failed the campaign, if anything did, when its result was recorded before an interruption."""
        failure = self.corridor.concluded(self.plan_id).failure
        return None if failure is None else _failed_before(self.item.campaign.submission.submission_id, failure)

    def _outcomes(self, cell: Cell) -> list[SessionOutcome]:
        found = outcomes_of(self.corridor.books.registrar.history, self.plan_id)
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
                self.corridor.bench.view.note(f"{cell.cell_id}: {error.code}, {error.observed}; void, and logged")

    def _attempt(self, cell: Cell, attempt: int) -> JoulesealError | None:
        corridor = self.corridor
        with corridor.bench.interrupts.allowed():  # a signal that came while recording stops before the next intent
            pass
        predicate = assemble.intent_json(self.plan_id, cell, attempt, datetime.now(UTC))
        intent = corridor.record(SESSION_INTENT, self.item.subject, predicate)
        order = SessionOrder(
            session_id=_session_id(intent),
            cell=cell,
            image=self.item.campaign.image,
            profile=self.item.profile,
            cpus=self.item.campaign.submission.resources.cpus,
            dataset=corridor.datasets[cell.dataset],
            nonce=bytes.fromhex(intent.nonce),
        )
        record = conduct(corridor.bench, order)
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
                store=corridor.books.evidence,
                vault=corridor.books.vault,
                environment=runner_environment(corridor.bench.engine.facts().to_json()),
                shared=self._shared(),
            )
            facts, error = kept.facts, kept.error
        except StorageFull as full:
            # The outcome is still recorded, without evidence: the reserve has the room for that.
            error = record.error or full
            facts = assemble.without_evidence(place, assemble.failure_of(error))
            corridor.books.recover_room()
        corridor.record(SESSION_OUTCOME, self.item.subject, assemble.outcome_json(facts))
        if error is None:
            corridor.bench.view.note(f"{cell.cell_id}: {_summary(facts)}")
        return error

    def _shared(self) -> list[Resource]:
        store = self.corridor.books.evidence
        named = [("launch-profile", self.item.profile.to_json()), *self.corridor.shared]
        return [Resource(name=name, sha256=store.put(data), media_type="application/json") for name, data in named]


def _session_id(intent: Recorded) -> str:
    """Return the name of a session's parts in the engine and the kernel."""
    return f"{intent.log_index}-{intent.statement_id[:12]}"


def _summary(facts: assemble.OutcomeFacts) -> str:
    figures = cell_figures([run.figures for run in facts.runs if run.figures is not None])
    energy = figures.get("itEnergyWhPer1000Queries", "-")
    quality = facts.runs[0]
    return (
        f"{energy} Wh per 1,000 queries ({figures['energyKind']}, {figures['energyScope']}), "
        f"{figures['queriesPerSecond']} queries/s, {quality.metric} {quality.quality}"
    )


def _unfinished(opened: Sequence[OpenCampaign]) -> UsageError:
    names = ", ".join(campaign.plan.submission.submission_id for campaign in opened) or "between two campaigns"
    return UsageError(
        code="UNFINISHED_BATCH",
        observed=f"an earlier run is unfinished, and it was of something else: {names}",
        expected="the same submissions and images, --points and --runs, and engine as in that run",
        hint="repeat that command to finish it, or add --abandon-open to close it as abandoned",
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


def _sweep(home: Path) -> None:
    with disk_errors("what was left half-written"):
        for path in [*home.rglob("*.part"), *(home / "work").glob("*.trace")]:
            path.unlink(missing_ok=True)
