"""Check 7: every statement is signed by the key of its log entry, in its role, while keys and root were in force.

A runner speaks in its own chain, a vendor and an auditor beside it (`protocol.attestation.beside`).

A key is in force at *witness* time, never at a time that its holder could claim, and up to the log index at which it
was revoked. The log's and the witnesses' keys are judged likewise, the root at the judged time. The algorithm is the
keyring's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from protocol.attestation.beside import SPEAKERS
from protocol.attestation.keyring import EnrolledKey, Keyring
from protocol.attestation.moment import parse_moment
from protocol.attestation.root import Root
from protocol.errors import VerificationError
from protocol.tlog.policy import Policy
from verifier.facts import Final, Logged, Witnessed
from verifier.walk import Established, Findings, false


def check(
    logged: Sequence[Logged], keyring: Keyring, policy: Policy, root: Root, final: Final
) -> Established[tuple[Logged, ...]]:
    """Return the same statements, now signed."""
    findings = Findings()
    if parse_moment(root.expires) < final.judged_at:
        findings.add(
            false(
                "ROOT_EXPIRED",
                observed=f"a root that expired at {root.expires}",
                expected=f"one in force at {final.judged_at.isoformat()}",
            )
        )
    for statement in logged:
        with findings.collecting():
            _check_signature(statement)
    moments = [(f"log index {item.index}", item.witnessed) for item in logged] + [
        ("the final checkpoint", final.witnessed)
    ]
    infrastructure = [policy.log.public_key, *(witness.public_key for witness in policy.witnesses.values())]
    for key in infrastructure:
        enrolled = keyring.find(key.key_id)
        if enrolled is not None:
            _check_window(enrolled, moments, findings)
    for signer in {item.signer.key.key_id: item.signer for item in logged}.values():
        own = [(f"log index {item.index}", item.witnessed) for item in logged if item.signer is signer]
        _check_window(signer, own, findings)
    findings.settle()
    names = ", ".join(sorted({item.signer.name for item in logged}))
    return Established(
        tuple(logged),
        f"{len(logged)} statements signed by {names}, with keys that were in force when witnesses saw them",
    )


def _check_signature(statement: Logged) -> None:
    signer = statement.signer
    role = SPEAKERS.get(statement.predicate_name, "runner")
    if signer.role != role:
        observed = f"{statement.path} is signed by a key of the role {signer.role}"
        raise false("WRONG_ROLE", observed=observed, expected=f"a key of the role {role}")
    try:
        statement.envelope.verify(signer.key)
    except VerificationError as error:
        observed = f"{statement.path}: {error.observed}"
        raise VerificationError(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error
    if signer.last_valid_index is not None and statement.index > signer.last_valid_index:
        raise false(
            "KEY_REVOKED",
            observed=f"{statement.path} is signed by key {signer.key.key_id[:16]} at index {statement.index}",
            expected=f"at most index {signer.last_valid_index}, where that key was revoked",
        )


def _check_window(key: EnrolledKey, moments: Sequence[tuple[str, Witnessed]], findings: Findings) -> None:
    start, end = parse_moment(key.not_before), parse_moment(key.not_after)
    for what, witnessed in moments:
        if not start <= witnessed.earliest <= end:
            findings.add(_outside(key, what, witnessed.earliest))
            return


def _outside(key: EnrolledKey, what: str, moment: datetime) -> VerificationError:
    return false(
        "KEY_NOT_IN_FORCE",
        observed=f"the {key.role}'s key {key.key.key_id[:16]} was used at {moment.isoformat()} ({what})",
        expected=f"between {key.not_before} and {key.not_after}",
    )
