"""Check 10: each campaign is one plan, its sessions, one result, and what happened is what was planned.

Read in log order, under one key:
1. A plan opens a campaign; nothing else happens before, and no second plan while it is open.
2. An intent opens a session of a planned cell, and is followed by its own outcome before anything else. An intent
   without an outcome is a hidden run: the best of N.
3. Attempts at a cell count from 1, are no more than the plan allows, and end with the first completed one. Another
   attempt follows only an abort for a reason that the plan allows. A cause on the vendor's side ends the campaign.
4. A completed session has exactly the planned runs, numbered from 1, none of them discarded.
   It has the probes that its nonce draws by the planned rule, no more and no fewer, and the planned private shard.
5. The result closes the campaign. It lists every outcome in log order, and has figures of every cell with a completed
   session. A completed campaign has them of every planned cell; one that failed by the vendor names that abort.
6. Plans of one vendor and model are chained by number and by id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from protocol.attestation.claims import PlanCell
from protocol.attestation.predicates import CampaignPlan, CampaignResult, Predicate, SessionIntent, SessionOutcome
from protocol.attestation.probed import asked_of
from protocol.errors import Unverifiable, VerificationError
from protocol.methodology.figures import STATISTIC
from protocol.methodology.scenario import METHOD_VERSION, OFFICIAL_POINTS, OFFICIAL_RUNS, Scenario
from protocol.methodology.stages import PROBE_RULE, probes
from verifier.facts import Opened, Session, Story
from verifier.walk import Established, Findings, counted, false


def check(ordered: Sequence[Opened[Predicate]]) -> Established[tuple[Story, ...]]:
    """Return the campaigns of the range; the order of statements is believed, everything else is checked."""
    stories = _tell(ordered)
    findings = Findings()
    for story in stories:
        _check_plan(story.plan, findings)
        _check_sessions(story, findings)
        _check_result(story, findings)
    _check_plan_chain(stories, findings)
    findings.settle()
    sessions = [session for story in stories for session in story.sessions]
    aborted = sum(not session.completed for session in sessions)
    told = f"{counted(len(stories), 'campaign')}, {counted(len(sessions), 'session')} ({aborted} aborted)"
    return Established(stories, f"{told}, every intent with its one outcome, nothing left out")


@dataclass(slots=True)
class _Telling:
    """The state of a reading: which campaign and which session are open."""

    stories: list[Story] = field(default_factory=list)
    plan: Opened[CampaignPlan] | None = None
    intent: Opened[SessionIntent] | None = None
    sessions: list[Session] = field(default_factory=list)

    def take(self, part: Opened[Predicate]) -> None:
        """Take in the next statement; raises VerificationError where it cannot stand."""
        match part.predicate:
            case CampaignPlan():
                self._open_campaign(cast("Opened[CampaignPlan]", part))
            case SessionIntent():
                self._open_session(cast("Opened[SessionIntent]", part))
            case SessionOutcome():
                self._close_session(cast("Opened[SessionOutcome]", part))
            case CampaignResult():
                self._close_campaign(cast("Opened[CampaignResult]", part))

    def _open_campaign(self, plan: Opened[CampaignPlan]) -> None:
        if self.plan is not None:
            raise false(
                "SECOND_PLAN",
                observed=f"{plan.path} while {self.plan.path} has no result",
                expected="one campaign at a time",
            )
        self.plan, self.sessions = plan, []

    def _open_session(self, intent: Opened[SessionIntent]) -> None:
        if self.intent is not None:
            raise _open_intent(self.intent, intent.path)
        self._check_member(intent, intent.predicate.campaign)
        self.intent = intent

    def _close_session(self, outcome: Opened[SessionOutcome]) -> None:
        claimed = outcome.predicate.intent
        if self.intent is None:
            raise false(
                "OUTCOME_WITHOUT_INTENT",
                observed=f"{outcome.path} closes entry {claimed.log_index}, and no intent is open",
                expected="exactly one outcome for each intent",
            )
        intent = self.intent
        told = (claimed.log_index, claimed.statement_id, outcome.predicate.cell, outcome.predicate.attempt)
        if told != (intent.index, intent.statement_id, intent.predicate.cell, intent.predicate.attempt):
            raise false(
                "OTHER_INTENT",
                observed=f"{outcome.path} names entry {told[0]}, {told[2]} attempt {told[3]}",
                expected=f"{intent.index}, {intent.predicate.cell} attempt {intent.predicate.attempt}, which is open",
            )
        self._check_member(outcome, outcome.predicate.campaign)
        self.sessions.append(Session(intent=intent, outcome=outcome))
        self.intent = None

    def _close_campaign(self, result: Opened[CampaignResult]) -> None:
        if self.intent is not None:
            raise _open_intent(self.intent, result.path)
        plan = self._check_member(result, result.predicate.campaign)
        self.stories.append(Story(plan=plan, sessions=tuple(self.sessions), result=result))
        self.plan = None

    def _check_member(self, part: Opened[Predicate], campaign: str) -> Opened[CampaignPlan]:
        if self.plan is None or campaign != self.plan.statement_id:
            expected = "an open campaign" if self.plan is None else f"campaign {self.plan.statement_id}, which is open"
            raise false("OTHER_CAMPAIGN", observed=f"{part.path} belongs to campaign {campaign}", expected=expected)
        return self.plan


def _tell(ordered: Sequence[Opened[Predicate]]) -> tuple[Story, ...]:
    telling = _Telling()
    for part in ordered:
        telling.take(part)
    if telling.plan is not None:
        raise false("NO_RESULT", observed=f"{telling.plan.path} has no result", expected="a result for every plan")
    return tuple(telling.stories)


def _open_intent(intent: Opened[SessionIntent], before: str) -> VerificationError:
    return false(
        "OPEN_INTENT",
        observed=f"{intent.path} has no outcome before {before}",
        expected="exactly one outcome for each intent: a session without one is a run that was hidden",
    )


def _check_plan(plan: Opened[CampaignPlan], findings: Findings) -> None:
    planned = plan.predicate
    for what, found, known in (("method", planned.method, METHOD_VERSION), ("statistic", planned.statistic, STATISTIC)):
        if found != known:
            hint = "use the verifier of the release that made this bundle"
            observed = f"{plan.path} plans {what} {found!r}"
            findings.add(Unverifiable(code="UNKNOWN_METHOD", observed=observed, expected=known, hint=hint))
    if not planned.cells:
        findings.add(false("EMPTY_CAMPAIGN", observed=f"{plan.path} plans no cell", expected="at least one cell"))
    for cell in planned.cells:
        _check_cell(plan, cell, findings)


def _check_cell(plan: Opened[CampaignPlan], cell: PlanCell, findings: Findings) -> None:
    if cell.probes not in {None, PROBE_RULE}:
        hint = "use the verifier of the release that made this bundle"
        observed = f"{plan.path} plans probes by {cell.probes!r}"
        findings.add(Unverifiable(code="UNKNOWN_METHOD", observed=observed, expected=PROBE_RULE, hint=hint))
    if (cell.dataset.private_shard is not None) and not (cell.dataset.shard and cell.probes):
        findings.add(
            false(
                "SHARD_UNASKED",
                observed=f"{plan.path}: {cell.cell_id} binds a private shard and says that there is none, or asks none",
                expected="shard true and a probe rule, beside a private shard",
            )
        )
    batches = {scenario.value: scenario.batch for scenario in Scenario}
    if cell.cell_id != f"{cell.task}/{cell.scenario}/{cell.precision}" or batches.get(cell.scenario) != cell.batch:
        findings.add(
            false(
                "CELL_MALFORMED",
                observed=f"{plan.path}: cell {cell.cell_id!r} with batch {cell.batch}",
                expected=f"an id task/scenario/precision and the scenario's batch, of {batches}",
            )
        )
    if plan.predicate.official and (cell.points, cell.runs) != (OFFICIAL_POINTS, OFFICIAL_RUNS):
        findings.add(
            false(
                "NOT_OFFICIAL",
                observed=f"{plan.path} calls {cell.runs} runs of {cell.points} points official",
                expected=f"{OFFICIAL_RUNS} runs of {OFFICIAL_POINTS} points",
            )
        )


def _check_sessions(story: Story, findings: Findings) -> None:
    cells = {cell.cell_id: cell for cell in story.plan.predicate.cells}
    history: dict[str, list[Session]] = {}
    for number, session in enumerate(story.sessions):
        cell = cells.get(session.outcome.predicate.cell)
        if cell is None:
            findings.add(
                false(
                    "UNPLANNED_CELL",
                    observed=f"{session.intent.path} is of cell {session.outcome.predicate.cell}",
                    expected=f"one of the planned cells: {', '.join(cells)}",
                )
            )
            continue
        _check_attempt(story, session, history.setdefault(cell.cell_id, []), findings)
        history[cell.cell_id].append(session)
        _check_abort(story, session, last=number == len(story.sessions) - 1, findings=findings)
        if session.completed:
            _check_runs(session, cell, findings)


def _check_attempt(story: Story, session: Session, earlier: Sequence[Session], findings: Findings) -> None:
    attempt, allowed = session.outcome.predicate.attempt, story.plan.predicate.attempts_per_cell
    if attempt != len(earlier) + 1:
        findings.add(
            false(
                "ATTEMPT_NUMBER",
                observed=f"{session.intent.path} is {session.name}",
                expected=f"attempt {len(earlier) + 1}",
            )
        )
    if len(earlier) >= allowed:
        findings.add(
            false(
                "TOO_MANY_ATTEMPTS",
                observed=f"{session.intent.path} is attempt {len(earlier) + 1}",
                expected=f"at most {allowed}, as planned",
            )
        )
    if any(before.completed for before in earlier):
        findings.add(
            false(
                "RERUN",
                observed=f"{session.intent.path} repeats a cell that was completed",
                expected="no second try after a success",
            )
        )


def _check_abort(story: Story, session: Session, *, last: bool, findings: Findings) -> None:
    abort = session.outcome.predicate.abort
    if abort is None:
        return
    if abort.blame == "vendor" and not last:
        findings.add(
            false(
                "CONTINUED_AFTER_VENDOR_FAILURE",
                observed=f"{session.outcome.path} ended with {abort.code}, by the vendor, and more sessions followed",
                expected="the end of the campaign: a vendor must not be able to abort its bad runs",
            )
        )
    if abort.blame != "vendor" and not {abort.code, abort.blame} & set(story.plan.predicate.abort_reasons):
        findings.add(
            false(
                "ABORT_REASON",
                observed=f"{session.outcome.path} was aborted for {abort.code} ({abort.blame})",
                expected=f"one of the planned reasons: {', '.join(story.plan.predicate.abort_reasons)}",
            )
        )


def _check_runs(session: Session, cell: PlanCell, findings: Findings) -> None:
    outcome = session.outcome.predicate
    found = [(run.run, run.window, run.discarded) for run in outcome.runs]
    if found != [(number, f"run-{number}", False) for number in range(1, cell.runs + 1)]:
        findings.add(
            false(
                "RUNS",
                observed=f"{session.outcome.path} has {len(found)} runs, numbered otherwise, or some of them discarded",
                expected=f"runs 1 to {cell.runs}, each once and in its own window, none discarded",
            )
        )
    _check_probes(session, cell, findings)
    for run in outcome.runs:
        if run.responses is None or run.responses.leaves != cell.points * run.passes:
            findings.add(
                false(
                    "RESPONSES",
                    observed=f"{session.outcome.path}, run {run.run}: another number of response leaves than answers",
                    expected=f"{cell.points * run.passes} leaves, one a point and pass",
                )
            )
    used = {item.name: item.sha256 for item in outcome.resolved_dependencies}
    dataset = f"dataset:{cell.dataset.name}"
    if used.get(dataset) != cell.dataset.sha256:
        findings.add(
            false(
                "OTHER_DATASET",
                observed=f"{session.outcome.path} used {dataset} {used.get(dataset)}",
                expected=f"{cell.dataset.sha256}, as planned",
            )
        )


def _check_probes(session: Session, cell: PlanCell, findings: Findings) -> None:
    outcome, path = session.outcome.predicate, session.outcome.path
    drawn = probes(asked_of(cell, outcome.nonce))
    expected = [(probe.number, probe.name, probe.samples, probe.kind == "shard") for probe in drawn]
    found = [
        (claim.number, claim.name, 0 if claim.responses is None else claim.responses.leaves, claim.quality is not None)
        for claim in outcome.probes
    ]
    if found != expected or any(claim.discarded for claim in outcome.probes):
        findings.add(
            false(
                "PROBES",
                observed=f"{path} has probes {', '.join(claim.name for claim in outcome.probes) or 'none'}",
                expected=f"{', '.join(probe.name for probe in drawn) or 'none'}, whole and none discarded, "
                "as the nonce draws them",
            )
        )
    used = {item.name: item.sha256 for item in outcome.resolved_dependencies}
    name, bound = f"private-shard:{cell.dataset.name}", cell.dataset.private_shard
    if used.get(name) != (None if bound is None else bound.salted_sha256):
        findings.add(
            false(
                "OTHER_SHARD",
                observed=f"{path} used {name} {used.get(name)}",
                expected=f"{None if bound is None else bound.salted_sha256}, as planned",
            )
        )


def _check_result(story: Story, findings: Findings) -> None:
    result, path = story.result.predicate, story.result.path
    listed = [(link.log_index, link.statement_id) for link in result.outcomes]
    made = [(session.outcome.index, session.outcome.statement_id) for session in story.sessions]
    if listed != made:
        omitted = [str(index) for index, _ in made if index not in dict(listed)]
        observed = f"{path} lists {len(listed)} outcomes" + (f" and leaves out {', '.join(omitted)}" if omitted else "")
        findings.add(false("RESULT_OMITS_OUTCOME", observed=observed, expected=f"all {len(made)}, in log order"))
    completed = {session.outcome.predicate.cell: session.outcome.statement_id for session in story.completed}
    if {cell.cell_id: cell.outcome for cell in result.cells} != completed:
        findings.add(
            false(
                "RESULT_CELLS",
                observed=f"{path} gives figures of {', '.join(cell.cell_id for cell in result.cells) or 'no cell'}",
                expected=f"of each completed session and no other: {', '.join(completed) or 'none'}",
            )
        )
    if result.status == "completed":
        _check_completed(story, completed, findings)
    else:
        _check_failed(story, findings)


def _check_completed(story: Story, completed: Mapping[str, str], findings: Findings) -> None:
    missing = [cell.cell_id for cell in story.plan.predicate.cells if cell.cell_id not in completed]
    if missing:
        findings.add(
            false(
                "MISSING_CELL",
                observed=f"{story.result.path} is a completed campaign without {', '.join(missing)}",
                expected="a completed session for every planned cell",
            )
        )


def _check_failed(story: Story, findings: Findings) -> None:
    last = story.sessions[-1].outcome.predicate.abort if story.sessions else None
    failure = story.result.predicate.failure
    blamed = {part.blame for part in (last, failure) if part is not None}
    if "vendor" in blamed and failure != last:
        findings.add(
            false(
                "OTHER_FAILURE",
                observed=f"{story.result.path} failed with {failure.code if failure else 'nothing'}",
                expected=f"{last.code if last else 'no failure'}, as its last session did",
            )
        )


def _check_plan_chain(stories: Sequence[Story], findings: Findings) -> None:
    latest: dict[tuple[str, str], Opened[CampaignPlan]] = {}
    for plan in (story.plan for story in stories):
        submission = plan.predicate.submission
        before = latest.get((submission.vendor, submission.model))
        told = (plan.predicate.vendor_seq, plan.predicate.prev_plan)
        if before is not None and told != (before.predicate.vendor_seq + 1, before.statement_id):
            expected = f"{before.predicate.vendor_seq + 1} after {before.statement_id}"
            findings.add(
                false("PLAN_CHAIN", observed=f"{plan.path} is plan {told[0]} after {told[1]}", expected=expected)
            )
        if (told[0] == 1) != (told[1] is None):
            findings.add(
                false("PLAN_CHAIN", observed=f"{plan.path} is plan {told[0]} after {told[1]}", expected="1 after none")
            )
        latest[submission.vendor, submission.model] = plan
