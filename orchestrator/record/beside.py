"""Logging what vendors and auditors say: checked against the keyring, in the log once, and kept in the folder `beside`.

The rules:
1. A statement is logged only if a key of its role signed it, is in force by this machine's clock, and is not revoked.
2. What was logged is not logged again: its file, with the checkpoint that first covered it, is what everybody gets. For
   a challenge that checkpoint is what the draw stands on.
3. Nothing is logged while a campaign is open: what stands between its plan and its result must be the runner's.
4. A bundle carries the submissions that its plans name, and what was said of production in its campaigns, with whatever
   auditors had logged up to the last finding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, write_atomic
from orchestrator.record.domain import Domain
from orchestrator.record.registrar import Registrar
from protocol.attestation.beside import SPEAKERS, Beside, open_beside, read_beside_file
from protocol.attestation.bundle import statement_path
from protocol.attestation.claims import StatementLink, SubmissionClaim
from protocol.attestation.envelope import Envelope
from protocol.attestation.equivalence import EquivalenceChallenge, EquivalenceFinding, ProductionEquivalence
from protocol.attestation.keyring import EnrolledKey
from protocol.attestation.moment import format_moment, parse_moment
from protocol.attestation.sigstore_bundle import SigstoreBundle, parse_sigstore_bundle
from protocol.attestation.submission_statement import SubmissionStatement
from protocol.errors import InvalidSubmission, RecordUnsound, Unverifiable, UsageError, VerificationError

BESIDE = "beside"
_SUFFIX = ".sigstore.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One logged statement of a vendor or an auditor: its file's name, its place, and what it says."""

    name: str
    link: StatementLink
    predicate: Beside
    data: bytes


def log_beside(voice: Registrar, data: bytes, *, now: datetime) -> Kept:
    """Log what a vendor or an auditor handed over, have it witnessed, and return it as it is kept.

    UsageError NOT_A_STATEMENT, CAMPAIGN_OPEN, and NOT_ENROLLED where no key of its role signed it that is in force.
    RecordUnsound as of `Registrar.append`.
    """
    try:
        envelope, statement, _ = read_beside_file(data)
    except (VerificationError, Unverifiable) as error:
        raise UsageError(
            code="NOT_A_STATEMENT",
            observed=f"{error.code}: {error.observed}",
            expected="what a vendor or an auditor signed",
            hint="log the file that `jouleseal submission sign` or `jouleseal equivalence` wrote",
        ) from error
    known = [item for item in kept(voice.domain.home) if item.link.statement_id == envelope.statement_id]
    if known:
        return known[0]
    for campaign in voice.open_campaigns():
        raise campaign_open(campaign.plan.submission.submission_id)
    signer = signer_of(voice.domain, envelope, statement.predicate_name, now=now, index=voice.log_size)
    bundle = voice.append(envelope, signer.key)
    folder = voice.domain.home / BESIDE
    make_folder(folder)
    name = Path(statement_path(bundle.entry.log_index, statement.predicate_name)).name
    write_atomic(folder / name, bundle.to_bytes())
    return _kept(name, bundle.to_bytes())


def signer_of(domain: Domain, envelope: Envelope, name: str, *, now: datetime, index: int) -> EnrolledKey:
    """Return the enrolled key that signed a statement of this name; UsageError NOT_ENROLLED."""
    for enrolled in domain.keyring.in_role(SPEAKERS[name]):
        revoked = enrolled.last_valid_index is not None and index > enrolled.last_valid_index
        in_force = parse_moment(enrolled.not_before) <= now <= parse_moment(enrolled.not_after)
        if in_force and not revoked and _signed(envelope, enrolled):
            return enrolled
    raise UsageError(
        code="NOT_ENROLLED",
        observed=f"a {name} signed by {envelope.only_signature().key_hint[:16]!r} at {format_moment(now)}",
        expected=f"a signature by a key in force in the role {SPEAKERS[name]}",
        hint="enrol it first: jouleseal keys prove, then jouleseal keys enrol",
    )


def check_submission(
    domain: Domain, data: bytes, claim: SubmissionClaim, image_sha256: str, *, now: datetime, index: int
) -> None:
    """Return if a vendor signed just this submission of this image, and it still holds.

    InvalidSubmission SUBMISSION_DIFFERS, SUBMISSION_IMAGE, SUBMISSION_EXPIRED, SUBMISSION_SIGNER; UsageError
    NOT_ENROLLED or NOT_A_STATEMENT.
    """
    try:
        envelope, statement, said = read_beside_file(data)
    except (VerificationError, Unverifiable) as error:
        raise _other("NOT_A_STATEMENT", f"{error.code}: {error.observed}", "a signed submission") from error
    if not isinstance(said, SubmissionStatement):
        raise _other("NOT_A_STATEMENT", f"a {statement.predicate_name}", "a signed submission")
    signer = signer_of(domain, envelope, statement.predicate_name, now=now, index=index)
    if signer.name != claim.vendor:
        raise _other("SUBMISSION_SIGNER", f"signed as vendor {signer.name!r}", f"by vendor {claim.vendor!r}")
    if statement.subject_sha256 != image_sha256:
        raise _other("SUBMISSION_IMAGE", f"image {statement.subject_sha256}", f"{image_sha256}, as the engine has it")
    if said.submission != claim:
        raise _other("SUBMISSION_DIFFERS", f"signed: {said.submission}"[:200], f"{claim}"[:200])
    if now > parse_moment(said.valid_until):
        raise _other("SUBMISSION_EXPIRED", f"it is {format_moment(now)}", f"a time until {said.valid_until}")


def kept(home: Path) -> tuple[Kept, ...]:
    """Return everything that was logged beside the runner's chain, in log order; RecordUnsound STATEMENT_LOST."""
    found = []
    for path in sorted((home / BESIDE).glob(f"*{_SUFFIX}")):
        with disk_errors(path.name):
            data = path.read_bytes()
        try:
            found.append(_kept(path.name, data))
        except (VerificationError, Unverifiable) as error:
            raise RecordUnsound(
                code="STATEMENT_LOST",
                observed=f"{BESIDE}/{path.name}: {error.observed}",
                expected="the statement as it was logged",
                hint="restore the folder beside from a backup of this home",
            ) from error
    return tuple(found)


def of_campaigns(home: Path, campaigns: Sequence[str], named: Sequence[StatementLink], first: int) -> tuple[Kept, ...]:
    """Return what belongs into a bundle of these campaigns, whose plans name these submissions, from index `first`."""
    everything = kept(home)
    words = (ProductionEquivalence, EquivalenceChallenge, EquivalenceFinding)
    own = [item for item in everything if isinstance(item.predicate, words) and item.predicate.campaign in campaigns]
    last = max((item.link.log_index for item in own if isinstance(item.predicate, EquivalenceFinding)), default=first)
    between = [
        item
        for item in everything
        if isinstance(item.predicate, EquivalenceChallenge | EquivalenceFinding) and first < item.link.log_index < last
    ]
    handed_in = [item for item in everything if item.link in named]
    return tuple(sorted({item.name: item for item in (*handed_in, *own, *between)}.values(), key=lambda i: i.name))


def campaign_open(name: str) -> UsageError:
    """Return the error of somebody who speaks while the runner is not done speaking."""
    return UsageError(
        code="CAMPAIGN_OPEN",
        observed=f"{name} is not measured to its end",
        expected="no campaign between its plan and its result, and no unfinished jouleseal run",
        hint="finish it with the same jouleseal run, or close it with --abandon-open; then log this",
    )


def _signed(envelope: Envelope, enrolled: EnrolledKey) -> bool:
    try:
        envelope.verify(enrolled.key)
    except VerificationError:
        return False
    return True


def _kept(name: str, data: bytes) -> Kept:
    bundle: SigstoreBundle = parse_sigstore_bundle(data)
    _, predicate = open_beside(bundle.envelope)
    link = StatementLink(log_index=bundle.entry.log_index, statement_id=bundle.envelope.statement_id)
    return Kept(name=name, link=link, predicate=predicate, data=data)


def _other(code: str, observed: str, expected: str) -> InvalidSubmission:
    return InvalidSubmission(
        code=code,
        observed=observed,
        expected=expected,
        hint="sign what you hand in, as it is: jouleseal submission sign; or hand it in without a signature",
    )
