"""The auditor's verdict: from a judged bundle to a signed summary, and from somebody's summary to an exit code.

What was demanded is a document of its own, whose digest is the verdict's policy, so that anybody who knows the demands
can tell whether a verdict was given under them:

    {"asOf": null, "format": "jouleseal-demands/1", "image": null, "policySha256": null, "root": "sha256:<hex>"}
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from protocol.attestation.bundle import BundleFiles, write_tar
from protocol.attestation.digest import IMAGE_DIGEST_PREFIX
from protocol.attestation.jcs import dumps
from protocol.attestation.keyring import open_keyring
from protocol.attestation.moment import format_moment
from protocol.attestation.pem import MAX_PEM_BYTES, PemSigner, pem_public_key, pem_signer
from protocol.attestation.root import verify_chain
from protocol.attestation.vsa import (
    CERTIFIABLE,
    LEVEL_PREFIX,
    MAX_VSA_BYTES,
    ListedVerifier,
    Summary,
    open_summary,
    sign_summary,
    verifier_id_of,
)
from protocol.errors import Unverifiable, UsageError, VerificationError
from protocol.methodology.scenario import METHOD_VERSION
from verifier.demands import MAX_ROOT_BYTES, Demands
from verifier.files import read_small, write_whole
from verifier.report import Verdict
from verifier.verify import Judged

DEMANDS_FORMAT = "jouleseal-demands/1"
MAX_KEYRING_BYTES = 1 << 20
_CHUNK = 1 << 20


def demands_document(demands: Demands) -> bytes:
    """Return the canonical bytes of what was demanded."""
    return dumps(
        {
            "format": DEMANDS_FORMAT,
            "root": demands.root,
            "image": demands.image,
            "asOf": None if demands.as_of is None else demands.as_of.isoformat().replace("+00:00", "Z"),
            "policySha256": None if demands.policy is None else demands.policy.sha256,
        }
    )


def bundle_digest(path: Path, judged: Judged) -> str:
    """Return the SHA-256 of the bundle's tar in hexadecimal, of the files that were judged where it has any."""
    if judged.files.known:
        return tar_digest(judged.files.value)
    if path.is_dir():
        raise Unverifiable(
            code="NO_SUBJECT",
            observed=f"{path}: a folder that is no bundle",
            expected="a file, or a folder whose files make a bundle",
            hint="give the tar as you received it; a verdict needs something to be about",
        )
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def tar_digest(files: BundleFiles) -> str:
    """Return the SHA-256 of the one tar of these files in hexadecimal."""
    found = hashlib.sha256()
    for block in write_tar(files.files):
        found.update(block)
    return found.hexdigest()


def summary_of(judged: Judged, inputs: Sequence[str], demands: Demands, *, verifier_id: str, now: datetime) -> Summary:
    """Return the verdict on a judged bundle; Unverifiable NO_VERDICT where it cannot be judged."""
    report = judged.report
    if report.verdict is Verdict.UNJUDGED:
        raise Unverifiable(
            code="NO_VERDICT",
            observed="a bundle that this verifier cannot judge",
            expected="a bundle that is verified or false",
            hint="use a newer verifier; nothing was signed",
        )
    passed = report.verdict is Verdict.VERIFIED
    images = {story.plan.predicate.image.config_digest for story in judged.stories.value} if passed else set()
    levels = [f"{LEVEL_PREFIX}{report.tier}", *([CERTIFIABLE] if report.certifiable else [])] if passed else []
    return Summary(
        verifier_id=verifier_id,
        version={"jouleseal-verify": METHOD_VERSION},
        time_verified=format_moment(now),
        inputs=tuple(inputs),
        images=tuple(sorted(image.removeprefix(IMAGE_DIGEST_PREFIX) for image in images)),
        policy_sha256=hashlib.sha256(demands_document(demands)).hexdigest(),
        passed=passed,
        levels=tuple(levels),
    )


def sign_verdict(
    out: Path,
    key: Path,
    *,
    verifier_id: str | None,
    demands: Demands,
    bundles: Sequence[tuple[Path, Judged]],
    now: datetime,
) -> None:
    """Write the signed verdict on the first of these bundles; without an id, the verifier is named by their key."""
    signer = read_signer(key)
    inputs = [bundle_digest(path, judged) for path, judged in bundles]
    named = verifier_id or verifier_id_of(signer.public_key)
    summary = summary_of(bundles[0][1], inputs, demands, verifier_id=named, now=now)
    write_whole(out, sign_summary(summary, signer), option="--vsa")


def read_signer(path: Path) -> PemSigner:
    """Return the auditor's signing key; UsageError KEY_EXPOSED, FILE_UNREADABLE or KEY_UNREADABLE."""
    pem = read_small(path, option="--key", limit=MAX_PEM_BYTES, private=True)
    try:
        return pem_signer(pem)
    except VerificationError as error:
        raise _key_error("--key", path, error) from error


def listed_by_key(path: Path, verifier_id: str | None) -> tuple[ListedVerifier, ...]:
    """Return the one verifier whose public key the reader has, under this id or the id of the key."""
    pem = read_small(path, option="--verifier-key", limit=MAX_PEM_BYTES)
    try:
        key = pem_public_key(pem)
    except VerificationError as error:
        raise _key_error("--verifier-key", path, error) from error
    return (ListedVerifier(verifier_id=verifier_id or verifier_id_of(key), key=key),)


def listed_by_keyring(path: Path, root: Path) -> tuple[ListedVerifier, ...]:
    """Return the auditors of a keyring that this root vouches for; VerificationError where it does not."""
    data = read_small(root, option="--root", limit=MAX_ROOT_BYTES)
    trusted = verify_chain([data], hashlib.sha256(data).hexdigest())
    keyring = open_keyring(read_small(path, option="--keyring", limit=MAX_KEYRING_BYTES), trusted)
    return tuple(
        ListedVerifier(
            verifier_id=key.name,
            key=key.key,
            not_before=key.not_before,
            not_after=key.not_after,
            revoked=key.last_valid_index is not None,
        )
        for key in keyring.in_role("auditor")
    )


def read_verdict(path: Path, listed: Sequence[ListedVerifier]) -> Summary:
    """Return somebody's verdict; VerificationError where nobody listed signed it."""
    return open_summary(read_small(path, option="FILE", limit=MAX_VSA_BYTES), listed)


def check_about(summary: Summary, *, bundle_sha256: str | None, image: str | None, root: str | None) -> None:
    """Return if a verdict passed, and is about what the reader asked; VerificationError with its own code if not."""
    if not summary.passed:
        raise _about(
            "VERDICT_FAILED", f"a verdict of {summary.time_verified} that the bundle is false", "one that passed"
        )
    if bundle_sha256 is not None and bundle_sha256 != summary.bundle_sha256:
        raise _about("OTHER_BUNDLE", f"a verdict about bundle {summary.bundle_sha256}", bundle_sha256)
    if image is not None and image.removeprefix(IMAGE_DIGEST_PREFIX) not in summary.images:
        raise _about("IMAGE_NOT_ASKED_FOR", f"a verdict about {', '.join(summary.images)}", image)
    if root is not None:
        expected = hashlib.sha256(demands_document(Demands(root=root))).hexdigest()
        with_image = hashlib.sha256(demands_document(Demands(root=root, image=image))).hexdigest()
        if summary.policy_sha256 not in {expected, with_image}:
            observed = f"a verdict under demands with digest {summary.policy_sha256}"
            raise _about("OTHER_DEMANDS", observed, f"{with_image}: this root and nothing else")


def verdict_json(summary: Summary) -> dict[str, Any]:
    """Return a verdict as plain JSON for programs."""
    return {
        "verifier": summary.verifier_id,
        "timeVerified": summary.time_verified,
        "result": "PASSED" if summary.passed else "FAILED",
        "levels": list(summary.levels),
        "bundle": f"{IMAGE_DIGEST_PREFIX}{summary.bundle_sha256}",
        "images": [f"{IMAGE_DIGEST_PREFIX}{digest}" for digest in summary.images],
        "policy": f"{IMAGE_DIGEST_PREFIX}{summary.policy_sha256}",
    }


def _about(code: str, observed: str, expected: str) -> VerificationError:
    return VerificationError(
        code=code,
        observed=observed,
        expected=f"{expected}, as you asked",
        hint="this verdict does not answer your question; verify the bundle yourself",
    )


def _key_error(option: str, path: Path, error: VerificationError) -> UsageError:
    return UsageError(
        code="KEY_UNREADABLE",
        observed=f"{option} {path}: {error.observed}",
        expected=error.expected,
        hint="make one with: openssl genpkey -algorithm ed25519 -out auditor.pem && chmod 600 auditor.pem",
    )
