"""What vendors and auditors say about an image, logged beside the runner's chain: who may say what, and its readers.

    submission                a vendor hands something in
    production-equivalence    a vendor says that the tested image is what it serves
    equivalence-challenge     an auditor commits to a draw of sealed answers
    equivalence-finding       an auditor says whether production gives them, too

Each is one DSSE envelope with one signature by a key of the role below. Vendor and auditor hand it to the operator, who
logs it; it stands in no runner's chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, Envelope, read_envelope, sign
from protocol.attestation.equivalence import EquivalenceChallenge, EquivalenceFinding, ProductionEquivalence
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import dumps, loads_canonical
from protocol.attestation.keyring import Role
from protocol.attestation.keys import Signer
from protocol.attestation.statement import (
    BESIDE_NAMES,
    EQUIVALENCE_CHALLENGE,
    EQUIVALENCE_FINDING,
    PRODUCTION_EQUIVALENCE,
    SUBMISSION,
    Statement,
    parse_statement,
)
from protocol.attestation.submission_statement import SubmissionStatement

Beside: TypeAlias = SubmissionStatement | ProductionEquivalence | EquivalenceChallenge | EquivalenceFinding

SPEAKERS: Mapping[str, Role] = MappingProxyType(
    {
        SUBMISSION: "vendor",
        PRODUCTION_EQUIVALENCE: "vendor",
        EQUIVALENCE_CHALLENGE: "auditor",
        EQUIVALENCE_FINDING: "auditor",
    }
)


def read_beside(statement: Statement) -> Beside:
    """Return the statement's predicate, read strictly by the reader of its type."""
    match statement.predicate_name:
        case "submission":
            return SubmissionStatement.from_json(statement.predicate)
        case "production-equivalence":
            return ProductionEquivalence.from_json(statement.predicate)
        case "equivalence-challenge":
            return EquivalenceChallenge.from_json(statement.predicate)
        case _:
            return EquivalenceFinding.from_json(statement.predicate)


def beside_name(predicate: Beside) -> str:
    """Return the name of the predicate's type, as `Statement.predicate_name` has it."""
    match predicate:
        case SubmissionStatement():
            return SUBMISSION
        case ProductionEquivalence():
            return PRODUCTION_EQUIVALENCE
        case EquivalenceChallenge():
            return EQUIVALENCE_CHALLENGE
        case EquivalenceFinding():
            return EQUIVALENCE_FINDING


def sign_beside(predicate: Beside, subject_sha256: str, signer: Signer) -> bytes:
    """Return the file that a vendor or an auditor hands to the operator: one envelope about one image."""
    name = beside_name(predicate)
    statement = Statement(predicate_name=name, subject_sha256=subject_sha256, predicate=predicate.to_json())
    return dumps(sign(IN_TOTO_PAYLOAD_TYPE, statement.to_payload(), signer).to_json())


def read_beside_file(data: bytes) -> tuple[Envelope, Statement, Beside]:
    """Read such a file strictly, without asking who signed it; VerificationError or Unverifiable where it is none."""
    envelope = read_envelope(Fields(loads_canonical(data), "file"), payload_type=IN_TOTO_PAYLOAD_TYPE)
    envelope.only_signature()
    statement, predicate = open_beside(envelope)
    return envelope, statement, predicate


def open_beside(envelope: Envelope) -> tuple[Statement, Beside]:
    """Return what an envelope says, read strictly, without asking who signed it."""
    statement = parse_statement(envelope.payload, BESIDE_NAMES)
    return statement, read_beside(statement)
