"""in-toto Statement v1 as we use it: one subject, the image's configuration digest, and one of our predicates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.attestation.digest import sha256_hex
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, pae
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.refusal import refuse, unjudged

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ATTESTATION_BASE = "https://jouleseal.dev/attestation/"
ATTESTATION_VERSION = "v1"
SUBJECT_NAME = "image-config"

CAMPAIGN_PLAN = "campaign-plan"
SESSION_INTENT = "session-intent"
SESSION_OUTCOME = "session-outcome"
CAMPAIGN_RESULT = "campaign-result"
PREDICATE_NAMES = (CAMPAIGN_PLAN, SESSION_INTENT, SESSION_OUTCOME, CAMPAIGN_RESULT)

# What others than the runner say about an image, logged beside its chain (`protocol.attestation.beside`).
SUBMISSION = "submission"
PRODUCTION_EQUIVALENCE = "production-equivalence"
EQUIVALENCE_CHALLENGE = "equivalence-challenge"
EQUIVALENCE_FINDING = "equivalence-finding"
BESIDE_NAMES = (SUBMISSION, PRODUCTION_EQUIVALENCE, EQUIVALENCE_CHALLENGE, EQUIVALENCE_FINDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A claim about one image: `predicate_name` is one of ours, `predicate` its JSON object.

    `subject_sha256` is the hexadecimal SHA-256 of the image's configuration.
    """

    predicate_name: str
    subject_sha256: str
    predicate: Mapping[str, Json]

    def to_payload(self) -> bytes:
        """Return the RFC 8785 bytes that an envelope carries."""
        return dumps(
            {
                "_type": STATEMENT_TYPE,
                "subject": [{"name": SUBJECT_NAME, "digest": {"sha256": self.subject_sha256}}],
                "predicateType": predicate_type(self.predicate_name),
                "predicate": self.predicate,
            }
        )


def predicate_type(name: str) -> str:
    """Return the type URI of a predicate; it names, and need not resolve."""
    return f"{ATTESTATION_BASE}{name}/{ATTESTATION_VERSION}"


def statement_id(payload: bytes) -> str:
    """Return the id of the statement with this payload: SHA-256 of its DSSE PAE in hexadecimal."""
    return sha256_hex(pae(IN_TOTO_PAYLOAD_TYPE, payload))


def parse_statement(payload: bytes, names: Sequence[str] = PREDICATE_NAMES) -> Statement:
    """Read a payload whose bytes are canonical; the predicate itself is read by the reader of its type.

    `names` are the predicates that may stand here: those of a runner's chain, or `BESIDE_NAMES`.
    VerificationError for another statement type, several subjects, a subject that is not the image configuration, or
    fields that in-toto does not have; Unverifiable UNKNOWN_PREDICATE for a predicate type that this version lacks.
    """
    fields = Fields(loads_canonical(payload), "statement")
    fields.one_of("_type", (STATEMENT_TYPE,))
    subjects = list(fields.children("subject", limit=2))
    if len(subjects) != 1:
        raise refuse("BAD_SUBJECT", observed=f"{len(subjects)} subjects", expected="exactly one subject")
    subjects[0].one_of("name", (SUBJECT_NAME,))
    digest = subjects[0].child("digest")
    subject_sha256 = digest.sha256("sha256")
    digest.done()
    subjects[0].done()
    name = _predicate_name(fields.text("predicateType"), names)
    predicate = fields.json_object("predicate")
    fields.done()
    return Statement(predicate_name=name, subject_sha256=subject_sha256, predicate=predicate)


def _predicate_name(uri: str, names: Sequence[str]) -> str:
    for name in names:
        if uri == predicate_type(name):
            return name
    raise unjudged("UNKNOWN_PREDICATE", observed=uri[:120], expected=f"one of {', '.join(names)}")
