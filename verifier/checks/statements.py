"""Check 8: what was signed is read strictly: canonical JSON, one subject, the predicate of the file's name, in scope.

Only bytes whose signature holds are read, so a statement of a version that is unknown here was really made, and cannot
be judged, instead of being damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from protocol.attestation.beside import SPEAKERS, Beside, open_beside
from protocol.attestation.predicates import CampaignPlan, Predicate, read_predicate
from protocol.attestation.statement import parse_statement
from protocol.errors import Unverifiable, VerificationError
from verifier.facts import Logged, Opened, Spoken
from verifier.walk import Established, Findings, false


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Every statement, read: the runner's, and those of vendors and auditors beside its chain, in log order."""

    runner: tuple[Opened[Predicate], ...]
    beside: tuple[Spoken[Beside], ...]


def check(logged: Sequence[Logged]) -> Established[Read]:
    """Return the statements, read."""
    findings = Findings()
    opened: list[Opened[Predicate]] = []
    spoken: list[Spoken[Beside]] = []
    for item in logged:
        with findings.collecting():
            if item.predicate_name in SPEAKERS:
                spoken.append(_open_beside(item))
            else:
                opened.append(_open(item))
    findings.settle()
    return Established(
        Read(runner=tuple(opened), beside=tuple(spoken)),
        f"{len(logged)} statements, each of the type that its file is named by, in its signer's scope",
    )


def _open_beside(logged: Logged) -> Spoken[Beside]:
    with _naming(logged):
        statement, predicate = open_beside(logged.envelope)
        _check_name(logged, statement.predicate_name)
    return Spoken(logged=logged, statement=statement, predicate=predicate)


def _open(logged: Logged) -> Opened[Predicate]:
    with _naming(logged):
        statement = parse_statement(logged.envelope.payload)
        predicate = read_predicate(statement)
        _check_name(logged, statement.predicate_name)
        _check_scope(logged, statement.predicate_name, predicate)
    return Opened(logged=logged, statement=statement, predicate=predicate)


@contextmanager
def _naming(logged: Logged) -> Iterator[None]:
    """Say of which file an error is."""
    try:
        yield
    except (VerificationError, Unverifiable) as error:
        observed = f"{logged.path}: {error.observed}"
        raise type(error)(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error


def _check_name(logged: Logged, name: str) -> None:
    if name != logged.predicate_name:
        raise false("PREDICATE_TYPE", observed=f"a {name}", expected=f"a {logged.predicate_name}, as the file is named")


def _check_scope(logged: Logged, name: str, predicate: Predicate) -> None:
    signer, link = logged.signer, predicate.runner
    if link.key_id != signer.key.key_id:
        raise false(
            "OTHER_KEY",
            observed=f"a statement that says key {link.key_id[:16]}",
            expected=f"key {signer.key.key_id[:16]}, which signed it",
        )
    scope = signer.scope
    if scope is None or link.runner_id != scope.runner_id or name not in scope.predicate_names:
        raise false(
            "OUT_OF_SCOPE",
            observed=f"a {name} by runner {link.runner_id!r}",
            expected=f"what the keyring lets key {signer.key.key_id[:16]} say",
        )
    if isinstance(predicate, CampaignPlan):
        strange = {device.uuid for device in predicate.devices} - set(scope.devices)
        if strange:
            raise false(
                "DEVICE_OUT_OF_SCOPE",
                observed=f"device {min(strange)}",
                expected=f"one of {', '.join(scope.devices) or 'none'}",
            )
