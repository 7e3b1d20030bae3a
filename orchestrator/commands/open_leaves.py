"""`jouleseal open BUNDLE --seed HEX --count N --out FILE`: show an auditor the answers that they drew, and no other.

The auditor's seed draws places in every run of every completed session of the bundle (`protocol.attestation.openings`).
Their answers leave the vault with their salts and proofs; what the other leaves hold cannot be guessed from them. A
bundle that names one session twice would open twice as much, and is refused: use the one that you exported.
"""

from __future__ import annotations

import argparse
import json
import re

from orchestrator.disk import write_atomic
from orchestrator.equivalence.sealed import read_campaign
from orchestrator.record.vault import Vault
from protocol.attestation.bundle import read_bundle
from protocol.attestation.claims import StatementLink
from protocol.attestation.openings import Opening, drawn_places, write_openings
from protocol.attestation.predicates import SessionOutcome, read_predicate
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import SESSION_OUTCOME, parse_statement
from protocol.errors import UsageError

_SEED = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PRIVATE = 0o600


def run(arguments: argparse.Namespace) -> int:
    """Write the drawn leaves of one bundle into a file that only its owner may read."""
    if not _SEED.fullmatch(arguments.seed):
        raise UsageError(
            observed=f"--seed {arguments.seed[:80]}",
            expected="64 lower-case hexadecimal digits",
            hint="take the seed from the auditor, whole",
        )
    chosen = _campaign(arguments)
    vault = Vault(arguments.home / "private", arguments.home / "keys" / "vault.key")
    opened: list[Opening] = []
    sessions: set[str] = set()
    for file in read_bundle(arguments.bundle).statements():
        if file.predicate_name != SESSION_OUTCOME:
            continue
        envelope = parse_sigstore_bundle(file.data).envelope
        outcome = read_predicate(parse_statement(envelope.payload))
        if isinstance(outcome, SessionOutcome) and outcome.status == "completed" and chosen in {None, outcome.campaign}:
            session = _session(outcome.intent)
            if session in sessions:
                raise _twice(session)
            sessions.add(session)
            places = _places(outcome, bytes.fromhex(arguments.seed), envelope.statement_id, arguments.count)
            opened += vault.open_leaves(session, envelope.statement_id, places)
    write_atomic(arguments.out, write_openings(opened), mode=_PRIVATE)
    if arguments.json:
        print(json.dumps({"openings": str(arguments.out), "leaves": len(opened)}, indent=2))
    else:
        print(f"opened  {len(opened)} leaves into {arguments.out}; they hold answers: give them to the auditor alone")
    return 0


def _campaign(arguments: argparse.Namespace) -> str | None:
    """Return the id of the one campaign whose leaves are asked for, None for all of them."""
    if arguments.campaign is None:
        return None
    return read_campaign(read_bundle(arguments.bundle), arguments.campaign).campaign


def _places(outcome: SessionOutcome, seed: bytes, statement_id: str, count: int) -> dict[int, tuple[int, ...]]:
    return {
        run.run: drawn_places(seed, statement_id, run.run, run.responses.leaves, count)
        for run in outcome.runs
        if run.responses is not None
    }


def _session(intent: StatementLink) -> str:
    """Return the name under which the vault keeps a session; as `orchestrator.campaign.session_id` gives it."""
    return f"{intent.log_index}-{intent.statement_id[:12]}"


def _twice(session: str) -> UsageError:
    return UsageError(
        code="SESSION_TWICE",
        observed=f"two outcomes of session {session}",
        expected="a bundle with one outcome for each session",
        hint="use the bundle that you exported, not one that somebody sent",
    )
