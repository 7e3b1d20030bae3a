"""The predicate `submission`: a vendor signs what it hands in, before anything is measured.

The rules:
1. Its subject is the image's configuration, which the vendor knows before the runner computes it.
2. It is signed by a key that the keyring enrols in the role `vendor` under this vendor's name. The runner logs it
   before the plan, which then names it; for a plan that names none, nobody but the operator says who handed it in.
3. It holds until `validUntil`, by the time at which the plan was witnessed: an operator cannot use it for ever.
4. `production` is what the vendor says of the service that it runs, where it says so. What stands here cannot be said
   otherwise afterwards (`protocol.attestation.equivalence`).
5. Reading is strict, as of every predicate: BAD_FIELD, and UNKNOWN_FIELD for what this version does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.claims import SubmissionClaim
from protocol.attestation.fields import Fields, Unknown
from protocol.attestation.jcs import Json
from protocol.attestation.moment import parse_moment
from protocol.attestation.refusal import refuse
from protocol.attestation.statement import SUBMISSION

MAX_PRECISIONS = 16  # twice the number formats of the wire
MAX_DIFFERENCES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionClaim:
    """What a vendor serves: the precisions, the engine, and every difference from the tested image that it declares."""

    precisions: tuple[str, ...]
    engine: str
    engine_version: str
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `production`."""
        return {
            "precisions": list(self.precisions),
            "engine": self.engine,
            "engineVersion": self.engine_version,
            "differences": list(self.differences),
        }

    @staticmethod
    def read(fields: Fields) -> ProductionClaim:
        """Read the JSON object `production`; at least one precision, each once."""
        claim = ProductionClaim(
            precisions=fields.texts("precisions", limit=MAX_PRECISIONS),
            engine=fields.text("engine"),
            engine_version=fields.text("engineVersion"),
            differences=fields.texts("differences", limit=MAX_DIFFERENCES),
        )
        fields.done()
        if not claim.precisions or len(set(claim.precisions)) != len(claim.precisions):
            observed = f"{fields.at('precisions')}: {list(claim.precisions)}"
            raise refuse("BAD_FIELD", observed=observed[:200], expected="at least one precision, each once")
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionStatement:
    """What a vendor hands in, in the words that a plan repeats; times are RFC 3339."""

    submission: SubmissionClaim
    production: ProductionClaim | None
    signed_on: str
    valid_until: str

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        return {
            "submission": self.submission.to_json(),
            "production": None if self.production is None else self.production.to_json(),
            "signedOn": self.signed_on,
            "validUntil": self.valid_until,
        }

    @classmethod
    def from_json(cls, value: object) -> SubmissionStatement:
        """Read the predicate strictly; it must hold for longer than no time."""
        fields = Fields(value, SUBMISSION, unknown=Unknown.UNJUDGED)
        statement = cls(
            submission=SubmissionClaim.read(fields.child("submission")),
            production=None if fields.is_null("production") else ProductionClaim.read(fields.child("production")),
            signed_on=fields.moment("signedOn"),
            valid_until=fields.moment("validUntil"),
        )
        fields.done()
        if parse_moment(statement.valid_until) <= parse_moment(statement.signed_on):
            observed = f"{fields.at('validUntil')}: {statement.valid_until}"
            raise refuse("BAD_FIELD", observed=observed, expected=f"a time after {statement.signed_on}")
        return statement
