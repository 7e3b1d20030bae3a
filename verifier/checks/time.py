"""Check 16: every session lies after its intent was witnessed, before its outcome was, and overlaps no other session.

Three clocks speak: the witnesses' (whole seconds), the statements' (whole seconds), and the meter's record, whose
monotonic nanoseconds are tied to the calendar by an anchor at either end. They are of different machines in general, so
calendar times are compared with an allowance; two sessions of one boot are compared on the monotonic clock, without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from protocol.attestation.moment import parse_moment
from protocol.methodology.trace import PowerTrace
from protocol.units import NS_PER_S, NS_PER_US
from verifier.facts import Session, Story, Traces
from verifier.walk import Established, Findings, counted, false

CLOCK_ALLOWANCE = timedelta(
    seconds=5
)  # between a witness's clock and the runner's; NTP keeps machines within one second

_EPOCH = datetime.fromtimestamp(0, UTC)
_SPAN = datetime.max.replace(tzinfo=UTC) - _EPOCH  # a record may claim any time; the calendar ends in the year 9999
_LAST_SECOND = int(_SPAN.total_seconds())


def check(stories: Sequence[Story], traces: Traces) -> Established[None]:
    """Return nothing but the fact; `traces` are of the completed sessions."""
    findings = Findings()
    for story in stories:
        _check_campaign(story, findings)
        for session in story.sessions:
            _check_session(session, findings)
            trace = traces.get(session.outcome.statement_id)
            if trace is not None:
                _check_record(session, trace, findings)
    sessions = [session for story in stories for session in story.sessions]
    _check_overlap(sessions, traces, findings)
    findings.settle()
    told = counted(len(sessions), "session")
    return Established(None, f"{told}, each between its witnessed intent and its witnessed outcome, one at a time")


def _check_campaign(story: Story, findings: Findings) -> None:
    plan, deadline = story.plan.predicate, parse_moment(story.plan.predicate.deadline)
    latest = max((parse_moment(s.outcome.predicate.finished_on) for s in story.sessions), default=deadline)
    for what, moment in (("the last session", latest), ("the result, as witnessed,", story.result.witnessed.earliest)):
        if moment > deadline + CLOCK_ALLOWANCE:
            findings.add(
                false(
                    "AFTER_DEADLINE",
                    observed=f"{what} came at {_text(moment)}",
                    expected=f"by {plan.deadline}, as planned",
                )
            )


def _check_session(session: Session, findings: Findings) -> None:
    outcome = session.outcome.predicate
    started, finished = parse_moment(outcome.started_on), parse_moment(outcome.finished_on)
    _check_order(
        session,
        "SESSION_BEFORE_INTENT",
        ("intent witnessed", session.intent.witnessed.earliest),
        ("session started", started),
        findings,
    )
    _check_order(
        session, "SESSION_ENDS_BEFORE_START", ("session started", started), ("session finished", finished), findings
    )
    _check_order(
        session,
        "SESSION_AFTER_OUTCOME",
        ("session finished", finished),
        ("outcome witnessed", session.outcome.witnessed.latest),
        findings,
    )


def _check_record(session: Session, trace: PowerTrace, findings: Findings) -> None:
    outcome = session.outcome.predicate
    first, last = _calendar(trace, trace.windows[0].open_ns), _calendar(trace, trace.windows[-1].close_ns)
    code = "RECORD_OUTSIDE_SESSION"
    _check_order(
        session, code, ("session started", parse_moment(outcome.started_on)), ("first window opened", first), findings
    )
    _check_order(
        session, code, ("last window closed", last), ("session finished", parse_moment(outcome.finished_on)), findings
    )


def _check_order(
    session: Session, code: str, before: tuple[str, datetime], after: tuple[str, datetime], findings: Findings
) -> None:
    if after[1] < before[1] - CLOCK_ALLOWANCE:
        findings.add(
            false(
                code,
                observed=f"{session.name}: {after[0]} at {_text(after[1])}",
                expected=f"not before {before[0]}, at {_text(before[1])}",
            )
        )


def _check_overlap(sessions: Sequence[Session], traces: Mapping[str, PowerTrace], findings: Findings) -> None:
    measured = [session for session in sessions if session.outcome.statement_id in traces]
    for before, after in pairwise(measured):
        early, late = traces[before.outcome.statement_id], traces[after.outcome.statement_id]
        same_boot = before.outcome.predicate.runner.boot_id == after.outcome.predicate.runner.boot_id
        ended, began = early.windows[-1].close_ns, late.windows[0].open_ns
        if began < ended if same_boot else _calendar(late, began) < _calendar(early, ended) - CLOCK_ALLOWANCE:
            findings.add(
                false(
                    "SESSIONS_OVERLAP",
                    observed=f"{after.name} began before {before.name} had ended",
                    expected="one session at a time under one runner's key",
                )
            )


def _calendar(trace: PowerTrace, monotonic_ns: int) -> datetime:
    """Return the calendar time of an instant of a record, by its first anchor."""
    realtime_ns = trace.anchor_start.realtime_ns + monotonic_ns - trace.anchor_start.monotonic_ns
    whole, rest = divmod(max(realtime_ns, 0), NS_PER_S)
    return _EPOCH + min(timedelta(seconds=min(whole, _LAST_SECOND), microseconds=rest // NS_PER_US), _SPAN)


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
