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
from orchestrator.batch import Batch
from orchestrator.books import Books, Concluded
from orchestrator.campaign import Admitted, Walk, session_id
from orchestrator.datasets.shard import Shard
from orchestrator.launch import cgroups
from orchestrator.launch.device import DeviceLease
from orchestrator.launch.profile import build_profile
from orchestrator.launch.sandbox import session_groups
from orchestrator.record.beside import check_submission, log_beside
from orchestrator.record.bundle import export
from orchestrator.record.sequence import OpenCampaign, outcomes_of
from orchestrator.session import Bench
from protocol.attestation.claims import Failure, ShardClaim
from protocol.attestation.predicates import SessionOutcome
from protocol.attestation.statement import CAMPAIGN_PLAN, SESSION_OUTCOME
from protocol.errors import JoulesealError, UsageError
from protocol.methodology.dataset import Dataset
from protocol.methodology.hardware import DeviceFacts
from protocol.methodology.scenario import ATTEMPTS_PER_CELL
from protocol.submission import Campaign, Cell, Submission

_ABANDONED = Failure(code="ABANDONED", blame="rig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One submission as it came in: parsed, with its document, and how much of it is to be measured.

    `signed` is the vendor's own statement of it, where the vendor made one.
    """

    submission: Submission
    document: bytes
    points: int
    runs: int
    signed: bytes | None = None


@dataclass(slots=True, kw_only=True)
class Corridor:
    """One command's way through the stages: the bench it measures on, the books it writes, the datasets it asks."""

    bench: Bench
    books: Books
    datasets: Mapping[str, Dataset]
    devices: tuple[DeviceFacts, ...] = ()
    shared: Sequence[tuple[str, bytes]] = field(default=())
    shards: Mapping[str, Shard] = field(default_factory=dict)

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
            walk = Walk(
                bench=self.bench,
                books=self.books,
                datasets=self.datasets,
                shards=self.shards,
                shared=self.shared,
                item=item,
                plan_id=plan_id,
                sessions_before=done,
                sessions_total=total,
            )
            error = walk.to_its_end()
            concluded.append(self.books.concluded(plan_id))
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
        profile = build_profile(image, submission.resources, _lease(self.devices), self.bench.engine.facts())
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
        if request.signed is not None:
            self._check_signed(request.signed, campaign)
        # Profile and devices belong to the key: a session under others would not be of the same plan.
        leased = "+".join(device.uuid for device in self.devices)
        named = {cell.dataset for cell in cells} & set(self.shards)
        shards = "".join(f":{self.shards[name].salted_sha256}" for name in sorted(named))
        key = (
            f"{submission.document_sha256}:{image.config_digest}:{profile.digest()}:{leased}"
            f":{request.points}:{request.runs}{shards}"
        )
        return Admitted(campaign=campaign, document=request.document, profile=profile, key=key, signed=request.signed)

    def _check_signed(self, signed: bytes, campaign: Campaign) -> None:
        image = campaign.image.config_digest.removeprefix("sha256:")
        registrar = self.books.registrar
        claim = assemble.submission_claim(campaign.submission)
        check_submission(registrar.domain, signed, claim, image, now=datetime.now(UTC), index=registrar.log_size)

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
            cgroups.remove(session_groups(session_id(item.recorded)))
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
            self.books.record(SESSION_OUTCOME, item.recorded.subject_sha256, assemble.outcome_json(facts))
            self.bench.view.note(f"closed the session of {item.intent.cell} that was interrupted; it is in the log")

    def _abandon(self, campaign: OpenCampaign) -> None:
        outcomes = outcomes_of(self.books.registrar.history, campaign.recorded.statement_id)
        last = outcomes[-1].predicate if outcomes else None
        abort = last.abort if isinstance(last, SessionOutcome) else None
        self.books.conclude(campaign.recorded, abort or _ABANDONED)
        self.bench.view.note(f"abandoned the open campaign of {campaign.plan.submission.submission_id}")

    def _plan(self, item: Admitted) -> str:
        submission = item.campaign.submission
        self.books.evidence.put(item.document)
        chain = self.books.registrar.vendor_chain(submission.vendor, submission.model)
        predicate = assemble.plan_json(
            item.campaign,
            self.datasets,
            self.devices,
            vendor_seq=chain.seq,
            prev_plan=chain.prev_plan,
            profile_sha256=item.profile.digest(),
            now=datetime.now(UTC),
            shards={
                name: ShardClaim(points=len(shard.points), number=shard.number, salted_sha256=shard.salted_sha256)
                for name, shard in self.shards.items()
            },
        )
        if item.signed is not None:
            logged = log_beside(self.books.registrar, item.signed, now=datetime.now(UTC))
            predicate["submissionStatement"] = logged.link.to_json()
        return self.books.record(CAMPAIGN_PLAN, item.subject, predicate).statement_id


def _lease(devices: Sequence[DeviceFacts]) -> DeviceLease | None:
    """Return what the sandbox is handed; a stand-in is no device that an engine could hand to anybody."""
    if not devices or devices[0].simulated:
        return None
    return DeviceLease(uuid=devices[0].uuid, name=devices[0].name)


def _unfinished(opened: Sequence[OpenCampaign]) -> UsageError:
    names = ", ".join(campaign.plan.submission.submission_id for campaign in opened) or "between two campaigns"
    return UsageError(
        code="UNFINISHED_BATCH",
        observed=f"an earlier run is unfinished, and it was of something else: {names}",
        expected="the same submissions and images, --points, --runs and --device, and engine as in that run",
        hint="repeat that command to finish it, or add --abandon-open to close it as abandoned",
    )
