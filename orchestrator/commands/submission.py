"""`jouleseal submission sign`: a vendor signs what it hands in, before anybody measures it."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta

from orchestrator import assemble
from orchestrator.commands.passphrase import unlocker
from orchestrator.datasets.store import DEFAULT_DATASETS, by_task
from orchestrator.disk import write_atomic
from orchestrator.record.keys import load_key
from orchestrator.submission import read_submission
from protocol.attestation.beside import read_beside_file, sign_beside
from protocol.attestation.digest import IMAGE_DIGEST_PREFIX, is_image_digest
from protocol.attestation.moment import format_moment
from protocol.attestation.submission_statement import ProductionClaim, SubmissionStatement
from protocol.errors import UsageError

MAX_DAYS = 365


def run(arguments: argparse.Namespace) -> int:
    """Write the signed submission; it is read again as strictly as a verifier will."""
    if not is_image_digest(arguments.image) or not 1 <= arguments.days <= MAX_DAYS:
        raise UsageError(
            observed=f"--image {arguments.image} --days {arguments.days}",
            expected=f"sha256: and 64 lower-case hexadecimal digits, and 1 to {MAX_DAYS} days",
            hint="docker image inspect --format '{{.Id}}' IMAGE prints the digest",
        )
    submission, _ = read_submission(arguments.submission, DEFAULT_DATASETS, by_task(arguments.datasets))
    now = datetime.now(UTC)
    statement = SubmissionStatement(
        submission=assemble.submission_claim(submission),
        production=production_of(arguments),
        signed_on=format_moment(now),
        valid_until=format_moment(now + timedelta(days=arguments.days)),
    )
    signer = load_key(arguments.key, unlocker(arguments.passphrase_file))
    data = sign_beside(statement, arguments.image.removeprefix(IMAGE_DIGEST_PREFIX), signer)
    read_beside_file(data)
    write_atomic(arguments.out, data)
    if arguments.json:
        print(json.dumps({"signed": str(arguments.out), "keyId": signer.public_key.key_id}, indent=2))
    else:
        print(f"signed  {arguments.out}: {submission.vendor}, {submission.model} {submission.model_version}")
        print(f"holds   until {statement.valid_until}")
    return 0


def production_of(arguments: argparse.Namespace) -> ProductionClaim | None:
    """Return what the vendor says of production; None where it says nothing; UsageError for half of it."""
    said = (arguments.engine, arguments.engine_version, arguments.precision)
    if not any(said) and not arguments.difference:
        return None
    if not all(said):
        raise UsageError(
            observed="a part of what production is",
            expected="--engine, --engine-version and --precision, all of them or none",
            hint="say what you serve the model with, or say nothing yet",
        )
    return ProductionClaim(
        precisions=tuple(arguments.precision),
        engine=arguments.engine,
        engine_version=arguments.engine_version,
        differences=tuple(arguments.difference),
    )
