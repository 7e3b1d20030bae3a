"""Check 12: each session's nonce is the one that its witnessed intent gives, so its evidence is of no earlier session.

The nonce hashes the intent's leaf and the checkpoint that was cosigned before the session started. The checkpoint must
end before the session's outcome, or the nonce could have been drawn after the fact. Which point a query carried is
not in the timeline (it would give the points away); that the drawn order was followed shows only in opened leaves.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.attestation.nonce import session_nonce
from protocol.errors import Unverifiable
from protocol.methodology.order import ORDER_RULE
from verifier.facts import Session, Story
from verifier.walk import Established, Findings, counted, false


def check(stories: Sequence[Story]) -> Established[tuple[str, ...]]:
    """Return the nonces of all sessions, each as 64 hexadecimal digits."""
    findings = Findings()
    for story in stories:
        _check_rule(story, findings)
        for session in story.sessions:
            _check_session(session, findings)
    findings.settle()
    nonces = tuple(session.outcome.predicate.nonce for story in stories for session in story.sessions)
    return Established(
        nonces, f"{counted(len(nonces), 'session')}, the order drawn from the witnessed intent of each ({ORDER_RULE})"
    )


def _check_rule(story: Story, findings: Findings) -> None:
    if story.plan.predicate.order_rule != ORDER_RULE:
        findings.add(
            Unverifiable(
                code="UNKNOWN_ORDER_RULE",
                observed=f"{story.plan.path} plans order rule {story.plan.predicate.order_rule!r}",
                expected=ORDER_RULE,
                hint="use the verifier of the release that made this bundle",
            )
        )


def _check_session(session: Session, findings: Findings) -> None:
    intent, outcome = session.intent, session.outcome
    seen = intent.logged.seen
    derived = session_nonce(intent.logged.leaf_hash, seen.note.text)
    if outcome.predicate.nonce != derived:
        findings.add(
            false(
                "NONCE",
                observed=f"{outcome.path} ran under nonce {outcome.predicate.nonce}",
                expected=f"{derived}, of its intent",
            )
        )
    if seen.checkpoint.size > outcome.index:
        findings.add(
            false(
                "NONCE_TOO_LATE",
                observed=f"the checkpoint of {intent.path} already holds {seen.checkpoint.size} entries",
                expected=f"a checkpoint from before the outcome at {outcome.index} was logged",
            )
        )
