"""The predicates of production equivalence: a vendor's word, an auditor's challenge, and what the auditor found.

    campaign-result -> production-equivalence -> equivalence-challenge -> (leaves are opened) -> equivalence-finding

The rules:
1. `production-equivalence` is the vendor's: the tested image is what it serves, at these precisions, under this
   engine, apart from the differences that it declares.
2. `equivalence-challenge` is an auditor's: it commits to a secret of 32 bytes by SHA-256 and says how many leaves of
   every run will be drawn. The challenge is logged after the vendor's word and the campaign's result.
3. Rule `sha256-draw-equivalence/1`: the draw's seed is SHA-256("jouleseal/equivalence-draw/v1" 0x00 || secret ||
   nonce), the nonce being that of the logged challenge (`protocol.attestation.nonce`). Who commits does not know the
   nonce yet, and who makes the checkpoint does not know the secret, so neither chooses. Leaves are drawn as for every
   opening, by `protocol.attestation.openings`, from every run of every completed session.
4. `equivalence-finding` reveals the secret and says which of the drawn answers production gives otherwise: indexes and
   verdicts, never an answer. Two answers are compared by rule `jouleseal-equivalence/1`
   (`protocol.methodology.equivalence`).
5. Production agrees if in every cell at most 5 % of the drawn answers differ (`REQUIRED_SHARE`). At least 60 are drawn
   of a cell, or all that there are. Of 60, three may differ: a service that gives one answer in eight otherwise passes
   in 5 % of draws, one that gives one in five otherwise in 0.1 %.
6. Reading is strict, as of every predicate. docs/manifest.md specifies every field.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from protocol.attestation.claims import MAX_RUNS, StatementLink
from protocol.attestation.digest import sha256, sha256_hex
from protocol.attestation.fields import Fields, Unknown
from protocol.attestation.jcs import Json
from protocol.attestation.openings import SEED_BYTES
from protocol.attestation.predicates import MAX_CELLS
from protocol.attestation.refusal import refuse
from protocol.attestation.statement import EQUIVALENCE_CHALLENGE, EQUIVALENCE_FINDING, PRODUCTION_EQUIVALENCE
from protocol.attestation.submission_statement import ProductionClaim
from protocol.methodology.equivalence import COMPARISON_RULE

EQUIVALENCE_DRAW_RULE: Final = "sha256-draw-equivalence/1"
REQUIRED_SHARE: Final = Fraction(95, 100)
LEAST_LEAVES: Final = 60
MAX_LEAVES_PER_RUN = 1000
_DRAW_PREFIX = b"jouleseal/equivalence-draw/v1\x00"
_COMMIT_PREFIX = b"jouleseal/equivalence-secret/v1\x00"

Verdict = Literal["agree", "differ"]
VERDICTS: tuple[Verdict, ...] = ("agree", "differ")
EndpointKind = Literal["wire", "recorded"]
ENDPOINT_KINDS: tuple[EndpointKind, ...] = ("wire", "recorded")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionEquivalence:
    """A vendor's word on one campaign (by its plan's id): its image is what is served, as `production` says."""

    campaign: str
    vendor: str
    model: str
    model_version: str
    production: ProductionClaim
    declared_on: str

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        return {
            "campaign": self.campaign,
            "vendor": self.vendor,
            "model": self.model,
            "modelVersion": self.model_version,
            "production": self.production.to_json(),
            "declaredOn": self.declared_on,
        }

    @classmethod
    def from_json(cls, value: object) -> ProductionEquivalence:
        """Read the predicate strictly."""
        fields = Fields(value, PRODUCTION_EQUIVALENCE, unknown=Unknown.UNJUDGED)
        word = cls(
            campaign=fields.sha256("campaign"),
            vendor=fields.text("vendor"),
            model=fields.text("model"),
            model_version=fields.text("modelVersion"),
            production=ProductionClaim.read(fields.child("production")),
            declared_on=fields.moment("declaredOn"),
        )
        fields.done()
        return word


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalenceChallenge:
    """What an auditor will draw, before anybody can know which leaves that will be.

    `declaration` is the id of the vendor's `production-equivalence`, `commitment` the one to the auditor's secret.
    """

    campaign: str
    declaration: str
    commitment: str
    draw_rule: str
    leaves_per_run: int
    challenged_on: str

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        return {
            "campaign": self.campaign,
            "declaration": self.declaration,
            "commitment": self.commitment,
            "drawRule": self.draw_rule,
            "leavesPerRun": self.leaves_per_run,
            "challengedOn": self.challenged_on,
        }

    @classmethod
    def from_json(cls, value: object) -> EquivalenceChallenge:
        """Read the predicate strictly."""
        fields = Fields(value, EQUIVALENCE_CHALLENGE, unknown=Unknown.UNJUDGED)
        challenge = cls(
            campaign=fields.sha256("campaign"),
            declaration=fields.sha256("declaration"),
            commitment=fields.sha256("commitment"),
            draw_rule=fields.one_of("drawRule", (EQUIVALENCE_DRAW_RULE,)),
            leaves_per_run=fields.integer("leavesPerRun", minimum=1, maximum=MAX_LEAVES_PER_RUN),
            challenged_on=fields.moment("challengedOn"),
        )
        fields.done()
        return challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointClaim:
    """What was asked: a service of our wire and what it says of itself, or a recorded set by its digest."""

    kind: EndpointKind
    model: str
    model_version: str
    engine: str
    engine_version: str
    recorded_sha256: str | None

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `endpoint`."""
        return {
            "kind": self.kind,
            "model": self.model,
            "modelVersion": self.model_version,
            "engine": self.engine,
            "engineVersion": self.engine_version,
            "recordedSha256": self.recorded_sha256,
        }

    @staticmethod
    def read(fields: Fields) -> EndpointClaim:
        """Read the JSON object `endpoint`; only a recorded set has a digest."""
        kind = fields.one_of("kind", ENDPOINT_KINDS)
        if fields.is_null("recordedSha256") == (kind == "recorded"):
            observed = f"{fields.at('recordedSha256')} of kind {kind}"
            raise refuse("BAD_FIELD", observed=observed, expected="a digest for a recorded set alone")
        claim = EndpointClaim(
            kind=kind,
            model=fields.text("model"),
            model_version=fields.text("modelVersion"),
            engine=fields.text("engine"),
            engine_version=fields.text("engineVersion"),
            recorded_sha256=None if fields.is_null("recordedSha256") else fields.sha256("recordedSha256"),
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """The drawn places of one run, in order, and those of them at which production answers otherwise."""

    run: int
    places: tuple[int, ...]
    differing: tuple[int, ...]

    def to_json(self) -> dict[str, Json]:
        """Return one object of `runs`."""
        return {"run": self.run, "places": list(self.places), "differing": list(self.differing)}

    @staticmethod
    def read(fields: Fields) -> ComparedRun:
        """Read one object of `runs`; places are in order, each once, and what differs was drawn."""
        compared = ComparedRun(
            run=fields.integer("run", minimum=1, maximum=MAX_RUNS),
            places=_places(fields, "places"),
            differing=_places(fields, "differing"),
        )
        fields.done()
        if not set(compared.differing) <= set(compared.places):
            raise refuse("BAD_FIELD", observed=f"{fields.at('differing')}: a place not drawn", expected="drawn places")
        return compared


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedCell:
    """One cell's comparison: by the id of its completed outcome, run by run."""

    cell_id: str
    outcome: str
    runs: tuple[ComparedRun, ...]

    @property
    def drawn(self) -> int:
        """How many leaves were drawn."""
        return sum(len(run.places) for run in self.runs)

    @property
    def differing(self) -> int:
        """How many of them production answers otherwise."""
        return sum(len(run.differing) for run in self.runs)

    @property
    def agrees(self) -> bool:
        """Whether this is few enough."""
        return self.drawn > 0 and Fraction(self.drawn - self.differing, self.drawn) >= REQUIRED_SHARE

    def to_json(self) -> dict[str, Json]:
        """Return one object of `cells`."""
        return {"id": self.cell_id, "outcome": self.outcome, "runs": [run.to_json() for run in self.runs]}

    @staticmethod
    def read(fields: Fields) -> ComparedCell:
        """Read one object of `cells`."""
        cell = ComparedCell(
            cell_id=fields.text("id"),
            outcome=fields.sha256("outcome"),
            runs=tuple(ComparedRun.read(item) for item in fields.children("runs", limit=MAX_RUNS)),
        )
        fields.done()
        numbers = [run.run for run in cell.runs]
        if numbers != sorted(set(numbers)):
            raise refuse("BAD_FIELD", observed=f"{fields.at('runs')}: out of order or twice", expected="each run once")
        return cell


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivalenceFinding:
    """What an auditor found under a challenge: the revealed secret, the nonce as it was, and every drawn place."""

    campaign: str
    challenge: StatementLink
    secret: str
    nonce: str
    comparison_rule: str
    endpoint: EndpointClaim
    cells: tuple[ComparedCell, ...]
    verdict: Verdict
    found_on: str

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        return {
            "campaign": self.campaign,
            "challenge": self.challenge.to_json(),
            "secret": self.secret,
            "nonce": self.nonce,
            "comparisonRule": self.comparison_rule,
            "endpoint": self.endpoint.to_json(),
            "cells": [cell.to_json() for cell in self.cells],
            "verdict": self.verdict,
            "foundOn": self.found_on,
        }

    @classmethod
    def from_json(cls, value: object) -> EquivalenceFinding:
        """Read the predicate strictly; whether the verdict follows from the cells is for whoever verifies it."""
        fields = Fields(value, EQUIVALENCE_FINDING, unknown=Unknown.UNJUDGED)
        finding = cls(
            campaign=fields.sha256("campaign"),
            challenge=StatementLink.read(fields.child("challenge")),
            secret=fields.sha256("secret"),
            nonce=fields.sha256("nonce"),
            comparison_rule=fields.one_of("comparisonRule", (COMPARISON_RULE,)),
            endpoint=EndpointClaim.read(fields.child("endpoint")),
            cells=tuple(ComparedCell.read(item) for item in fields.children("cells", limit=MAX_CELLS)),
            verdict=fields.one_of("verdict", VERDICTS),
            found_on=fields.moment("foundOn"),
        )
        fields.done()
        ids = [cell.cell_id for cell in finding.cells]
        if len(set(ids)) != len(ids):
            raise refuse("BAD_FIELD", observed=f"{fields.at('cells')}: a cell twice", expected="each cell once")
        return finding


def commitment_of(secret: bytes) -> str:
    """Return what a challenge says of the auditor's 32-byte secret, in hexadecimal."""
    if len(secret) != SEED_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes")
    return sha256_hex(_COMMIT_PREFIX + secret)


def draw_seed(secret: bytes, nonce: str) -> bytes:
    """Return the 32 bytes by which the leaves are drawn, from the secret and the logged challenge's nonce (rule 3)."""
    if len(secret) != SEED_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes")
    return sha256(_DRAW_PREFIX + secret + bytes.fromhex(nonce))


def verdict_of(cells: tuple[ComparedCell, ...]) -> Verdict:
    """Return what the compared cells come to (rule 5); no cell at all is no agreement."""
    return "agree" if cells and all(cell.agrees for cell in cells) else "differ"


def leaves_wanted(runs: int) -> int:
    """Return how many leaves of every run make at least `LEAST_LEAVES` of a session of so many runs."""
    return -(-LEAST_LEAVES // runs)


def _places(fields: Fields, name: str) -> tuple[int, ...]:
    items = fields.array(name, limit=MAX_LEAVES_PER_RUN)
    wrapped = (Fields({"place": item}, f"{fields.at(name)}[{n}]") for n, item in enumerate(items))
    places = tuple(item.integer("place", maximum=(1 << 32) - 1) for item in wrapped)
    if list(places) != sorted(set(places)):
        raise refuse("BAD_FIELD", observed=f"{fields.at(name)}: out of order or twice", expected="each place once")
    return places
