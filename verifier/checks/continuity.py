"""Check 18: what each accelerator counted between two sessions is explained by its own idling, or named.

A session that was aborted counts with its own record where that can be read. What is left over is unlogged work: a
rehearsal, or somebody else's. It makes the result not certifiable, and a result that calls itself certifiable false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.errors import Unverifiable, VerificationError
from protocol.methodology.continuity import Gap, RecordedSession, gaps
from protocol.methodology.trace import PowerTrace, parse_trace
from verifier.checks.trace import check_magnitude
from verifier.facts import Session, Story, Traces
from verifier.walk import Established, counted, false


def check(stories: Sequence[Story], traces: Traces, files: Mapping[str, bytes]) -> Established[tuple[Gap, ...]]:
    """Return the gaps that are left unexplained; `files` are the evidence by hexadecimal digest."""
    sessions = [session for story in stories for session in story.sessions]
    found = gaps([_recorded(session, traces, files) for session in sessions])
    left = tuple(gap for gap in found if gap.open)
    boasting = [story.result.path for story in stories if story.result.predicate.certifiable]
    if left and boasting:
        raise false(
            "UNEXPLAINED_ENERGY",
            observed=f"{'; '.join(gap.to_text() for gap in left)}; and {boasting[0]} calls itself certifiable",
            expected="a counter that the logged sessions and the device's own idling explain",
            hint="ask the operator what ran on this device between those entries; it was not logged",
        )
    told = f"{counted(len(found), 'gap')} between records of one device and boot"
    return Established(left, f"{told}; {'; '.join(gap.to_text() for gap in left) or 'nothing left unexplained'}")


def _recorded(session: Session, traces: Traces, files: Mapping[str, bytes]) -> RecordedSession:
    outcome = session.outcome
    return RecordedSession(
        intent=session.intent.index,
        outcome=outcome.index,
        boot_id=outcome.predicate.runner.boot_id,
        trace=traces.get(outcome.statement_id) or _of_aborted(outcome.predicate.trace_sha256, files),
    )


def _of_aborted(digest: str | None, files: Mapping[str, bytes]) -> PowerTrace | None:
    """Return the record of a session that was aborted; None where it has none that can be read."""
    if digest is None or digest not in files:
        return None
    try:
        trace = parse_trace(files[digest])
        check_magnitude(trace)
    except (VerificationError, Unverifiable):
        return None
    return trace
