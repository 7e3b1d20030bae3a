"""What a bundle says about itself, read without trusting any of it: no signature, no log, no figure is checked here.

Damaged parts are shown as what they are, with the reason, so that an auditor can look into a bundle that fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protocol.attestation.beside import open_beside
from protocol.attestation.bundle import (
    CHECKPOINT_PATH,
    EVIDENCE_PREFIX,
    BundleFiles,
    StatementFile,
    read_bundle,
)
from protocol.attestation.digest import sha256_hex
from protocol.attestation.predicates import (
    CampaignPlan,
    CampaignResult,
    Predicate,
    SessionIntent,
    SessionOutcome,
    read_predicate,
)
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.errors import Unverifiable, VerificationError

NOTICE = "NOT VERIFIED: this is what the bundle says about itself; none of it was checked"


def inspect_path(path: Path) -> dict[str, Any]:
    """Return what the bundle at `path` says, as plain JSON; raises VerificationError only if it is no bundle at all."""
    return inspect(read_bundle(path))


def inspect(files: BundleFiles) -> dict[str, Any]:
    """Return what the files say: roots by fingerprint, the checkpoint's text, every statement, the evidence by size."""
    return {
        "notice": NOTICE,
        "verified": False,
        "roots": [f"sha256:{sha256_hex(data)}" for data in files.roots()],
        "checkpoint": _checkpoint(files.files.get(CHECKPOINT_PATH, b"")),
        "statements": [_statement(file) for file in files.statements()],
        "beside": [_beside(file) for file in files.beside()],
        "evidence": {digest: len(files.files[EVIDENCE_PREFIX + digest]) for digest in sorted(files.evidence_digests())},
    }


def _checkpoint(data: bytes) -> list[str]:
    return data.decode("utf-8", errors="replace").splitlines()


def _statement(file: StatementFile) -> dict[str, Any]:
    seen: dict[str, Any] = {"index": file.log_index, "file": file.path}
    try:
        envelope = parse_sigstore_bundle(file.data).envelope
        statement = parse_statement(envelope.payload)
        predicate = read_predicate(statement)
    except (VerificationError, Unverifiable) as error:
        return {**seen, "unreadable": f"{error.code}: {error.observed}"}
    return {**seen, "id": envelope.statement_id, "image": f"sha256:{statement.subject_sha256}", **_predicate(predicate)}


def _beside(file: StatementFile) -> dict[str, Any]:
    """Return what a vendor or an auditor says, as it is written: it holds digests, names and indexes alone."""
    seen: dict[str, Any] = {"index": file.log_index, "file": file.path}
    try:
        envelope = parse_sigstore_bundle(file.data).envelope
        statement, predicate = open_beside(envelope)
    except (VerificationError, Unverifiable) as error:
        return {**seen, "unreadable": f"{error.code}: {error.observed}"}
    image = f"sha256:{statement.subject_sha256}"
    return {
        **seen,
        "id": envelope.statement_id,
        "image": image,
        "says": statement.predicate_name,
        **predicate.to_json(),
    }


def _predicate(predicate: Predicate) -> dict[str, Any]:
    match predicate:
        case CampaignPlan():
            submission = predicate.submission
            return {
                "says": "campaign plan",
                "vendor": submission.vendor,
                "model": f"{submission.model} {submission.model_version}",
                "official": predicate.official,
                "hardwareClass": predicate.hardware_class,
                "cells": [f"{cell.cell_id}, {cell.runs} runs of {cell.points} points" for cell in predicate.cells],
                "deadline": predicate.deadline,
            }
        case SessionIntent():
            return {"says": "session intent", "cell": predicate.cell, "attempt": predicate.attempt}
        case SessionOutcome():
            return {
                "says": "session outcome",
                "cell": predicate.cell,
                "attempt": predicate.attempt,
                "status": predicate.status if predicate.abort is None else f"aborted: {predicate.abort.code}",
                "runs": len(predicate.runs),
                "startedOn": predicate.started_on,
                "finishedOn": predicate.finished_on,
            }
        case CampaignResult():
            return {
                "says": "campaign result",
                "status": predicate.status if predicate.failure is None else f"failed: {predicate.failure.code}",
                "certifiable": predicate.certifiable,
                "flags": list(predicate.flags),
                "cells": {
                    cell.cell_id: {"recomputed": dict(cell.recomputed), "committed": dict(cell.committed)}
                    for cell in predicate.cells
                },
            }
