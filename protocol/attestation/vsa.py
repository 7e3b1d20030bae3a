"""An auditor's verdict as a SLSA Verification Summary v1 (https://slsa.dev/spec/v1.0/verification_summary), signed.

The rules:
1. It is an in-toto Statement in a DSSE envelope with one signature, by a verifier whom the reader listed beforehand: a
   key and the id that goes with it. A verdict by anybody else is no verdict.
2. The first subject is the bundle, by the digest of its tar. A verdict that passed has the images after it, by their
   config digests. One that failed has none: anybody can name an image in a forged bundle.
3. `policy` is the digest of what was demanded, `inputAttestations` is complete: every bundle that was read.
4. `verifiedLevels` are our tiers, `JOULESEAL_T1` to `JOULESEAL_T4`, and `JOULESEAL_CERTIFIABLE` where it is; or
   `FAILED`.
5. The reader is strict: canonical JSON, no field but the specification's, and none twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, read_envelope, sign
from protocol.attestation.fields import Fields, Unknown
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.keys import PublicKey, Signer
from protocol.attestation.moment import parse_moment
from protocol.attestation.refusal import refuse
from protocol.attestation.statement import STATEMENT_TYPE, SUBJECT_NAME
from protocol.errors import VerificationError

VSA_TYPE = "https://slsa.dev/verification_summary/v1"
BUNDLE_SUBJECT = "bundle"
BUNDLE_URI = "https://jouleseal.dev/bundle/sha256:"
DEMANDS_URI = "https://jouleseal.dev/verifier/demands/v1"
VERIFIER_URI = "https://jouleseal.dev/verifier/"
LEVEL_PREFIX = "JOULESEAL_"
CERTIFIABLE = f"{LEVEL_PREFIX}CERTIFIABLE"
PASSED, FAILED = "PASSED", "FAILED"
MAX_VSA_BYTES = 1 << 20  # with a thousand images it takes a tenth of it
_MAX_ITEMS = 1024

_HINT = "ask the verifier for their key over another channel, or verify the bundle yourself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A verdict: who judged what when, under which demands, and what it is worth.

    `bundle_sha256`, `inputs` (every bundle that was read, the judged one first), `images` and `policy_sha256` are
    hexadecimal digests. `levels` is empty where the bundle failed. `version` names the verifier's parts.
    """

    verifier_id: str
    version: Mapping[str, str]
    time_verified: str
    inputs: tuple[str, ...]
    images: tuple[str, ...]
    policy_sha256: str
    passed: bool
    levels: tuple[str, ...]

    @property
    def bundle_sha256(self) -> str:
        """The digest of the bundle that was judged."""
        return self.inputs[0]

    def to_payload(self) -> bytes:
        """Return the RFC 8785 bytes that are signed."""
        subjects = [_subject(BUNDLE_SUBJECT, self.bundle_sha256), *(_subject(SUBJECT_NAME, d) for d in self.images)]
        predicate: dict[str, Json] = {
            "verifier": {"id": self.verifier_id, "version": dict(self.version)},
            "timeVerified": self.time_verified,
            "resourceUri": f"{BUNDLE_URI}{self.bundle_sha256}",
            "policy": {"uri": DEMANDS_URI, "digest": {"sha256": self.policy_sha256}},
            "inputAttestations": [_input(digest) for digest in self.inputs],
            "verificationResult": PASSED if self.passed else FAILED,
            "verifiedLevels": list(self.levels) if self.passed else [FAILED],
        }
        return dumps({"_type": STATEMENT_TYPE, "subject": subjects, "predicateType": VSA_TYPE, "predicate": predicate})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVerifier:
    """A verifier whose verdicts count for the reader: id, key, and the RFC 3339 window in which it may judge."""

    verifier_id: str
    key: PublicKey
    not_before: str | None = None
    not_after: str | None = None
    revoked: bool = False


def verifier_id_of(key: PublicKey) -> str:
    """Return the id of a verifier who has no other name than their key."""
    return f"{VERIFIER_URI}{key.key_id}"


def sign_summary(summary: Summary, signer: Signer) -> bytes:
    """Return the bytes of the verdict's file."""
    return dumps(sign(IN_TOTO_PAYLOAD_TYPE, summary.to_payload(), signer).to_json())


def open_summary(data: bytes, listed: Sequence[ListedVerifier]) -> Summary:
    """Return the verdict in a file, if a listed verifier signed it.

    VerificationError VERIFIER_UNLISTED, VERIFIER_ID where a listed key speaks under another id, VERIFIER_NOT_IN_FORCE,
    and what a malformed file raises. The verdict itself may be FAILED.
    """
    envelope = read_envelope(
        Fields(loads_canonical(data, limit=MAX_VSA_BYTES), "verdict"), payload_type=IN_TOTO_PAYLOAD_TYPE
    )
    signers = [verifier for verifier in listed if _signed(envelope.only_signature().signature, envelope.pae, verifier)]
    if not signers:
        raise refuse(
            "VERIFIER_UNLISTED",
            observed="a verdict that no verifier of your list signed",
            expected=f"a signature by {', '.join(item.key.key_id[:16] for item in listed) or 'somebody you list'}",
            hint=_HINT,
        )
    summary = parse_summary(envelope.payload)
    verifier = next((item for item in signers if item.verifier_id == summary.verifier_id), None)
    if verifier is None:
        raise refuse(
            "VERIFIER_ID",
            observed=f"verifier {summary.verifier_id!r}",
            expected=f"{signers[0].verifier_id!r}, who holds this key",
            hint=_HINT,
        )
    _check_in_force(verifier, summary)
    return summary


def parse_summary(payload: bytes) -> Summary:
    """Read a verdict whose bytes are canonical, without asking who signed it."""
    fields = Fields(loads_canonical(payload, limit=MAX_VSA_BYTES), "verdict", unknown=Unknown.UNJUDGED)
    fields.one_of("_type", (STATEMENT_TYPE,))
    fields.one_of("predicateType", (VSA_TYPE,))
    subjects = [_read_subject(item) for item in fields.children("subject", limit=_MAX_ITEMS)]
    predicate = fields.child("predicate")
    verifier = predicate.child("verifier")
    policy = predicate.child("policy")
    policy.one_of("uri", (DEMANDS_URI,))
    result = predicate.one_of("verificationResult", (PASSED, FAILED))
    levels = predicate.texts("verifiedLevels", limit=_MAX_ITEMS)
    inputs = tuple(_read_input(item) for item in predicate.children("inputAttestations", limit=_MAX_ITEMS))
    resource = predicate.text("resourceUri")
    summary = Summary(
        verifier_id=verifier.text("id"),
        version=verifier.text_map("version", limit=_MAX_ITEMS),
        time_verified=predicate.moment("timeVerified"),
        inputs=inputs,
        images=tuple(digest for name, digest in subjects if name == SUBJECT_NAME),
        policy_sha256=_read_digest(policy),
        passed=result == PASSED,
        levels=levels if result == PASSED else (),
    )
    for part in (verifier, policy, predicate, fields):
        part.done()
    if not inputs or summary.to_payload() != payload or resource != f"{BUNDLE_URI}{summary.bundle_sha256}":
        raise refuse(
            "VERDICT_CONTRADICTS",
            observed="subjects, inputs, result and levels that do not fit one another",
            expected="the bundle first, then images; FAILED without levels and images, or PASSED with a tier",
        )
    if summary.passed != any(level.startswith(f"{LEVEL_PREFIX}T") for level in summary.levels) or (
        summary.images and not summary.passed
    ):
        raise refuse(
            "VERDICT_CONTRADICTS", observed=f"{result} with {list(levels)}"[:200], expected="a tier iff PASSED"
        )
    return summary


def _signed(signature: bytes, message: bytes, verifier: ListedVerifier) -> bool:
    try:
        verifier.key.verify(signature, message)
    except VerificationError:
        return False
    return True


def _check_in_force(verifier: ListedVerifier, summary: Summary) -> None:
    then = parse_moment(summary.time_verified)
    early = verifier.not_before is not None and then < parse_moment(verifier.not_before)
    late = verifier.not_after is not None and then > parse_moment(verifier.not_after)
    if early or late or verifier.revoked:
        raise refuse(
            "VERIFIER_NOT_IN_FORCE",
            observed=f"a verdict of {summary.time_verified}" + (" under a revoked key" if verifier.revoked else ""),
            expected=f"one between {verifier.not_before} and {verifier.not_after}, under a key in force",
            hint=_HINT,
        )


def _subject(name: str, digest: str) -> dict[str, Json]:
    return {"name": name, "digest": {"sha256": digest}}


def _input(digest: str) -> dict[str, Json]:
    return {"uri": f"{BUNDLE_URI}{digest}", "digest": {"sha256": digest}}


def _read_subject(fields: Fields) -> tuple[str, str]:
    found = (fields.one_of("name", (BUNDLE_SUBJECT, SUBJECT_NAME)), _read_digest(fields))
    fields.done()
    return found


def _read_input(fields: Fields) -> str:
    digest = _read_digest(fields)
    fields.one_of("uri", (f"{BUNDLE_URI}{digest}",))
    fields.done()
    return digest


def _read_digest(fields: Fields) -> str:
    digest = fields.child("digest")
    found = digest.sha256("sha256")
    digest.done()
    return found
