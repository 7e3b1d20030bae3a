"""The files and arguments of `open-leaves`: a seed, references, and the leaves that the operator opened."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from protocol.attestation.jcs import loads
from protocol.attestation.openings import MAX_OPENINGS_BYTES, parse_openings
from protocol.errors import UsageError, VerificationError
from verifier.files import read_small
from verifier.openings import Draw, OpenedLeaves, check_openings, trees
from verifier.verify import Judged

MAX_REFERENCES_BYTES = 8 << 20
_SEED = re.compile(r"[0-9a-f]{64}")


def read_draw(seed: str, count: int) -> Draw:
    """Return what the auditor drew; UsageError SEED_MALFORMED where the seed is not 64 hexadecimal digits."""
    if not _SEED.fullmatch(seed):
        raise UsageError(
            code="SEED_MALFORMED",
            observed=f"--seed {seed[:80]}",
            expected="64 lower-case hexadecimal digits",
            hint="draw one with: openssl rand -hex 32",
        )
    return Draw(seed=bytes.fromhex(seed), count=count)


def read_references(path: Path) -> tuple[str, ...]:
    """Return the labels of a JSON array of strings, at least one; UsageError REFERENCES_MALFORMED for anything else."""
    data = read_small(path, option="--references", limit=MAX_REFERENCES_BYTES)
    try:
        value = loads(data)
    except VerificationError as error:
        raise _malformed(path, error.observed) from error
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise _malformed(path, "something else")
    return tuple(value)


def judge_openings(path: Path, judged: Judged, *, draw: Draw | None, references: Sequence[str]) -> OpenedLeaves:
    """Return how an opening of a verified bundle went; the first VerificationError where a leaf does not fit."""
    openings = parse_openings(read_small(path, option="--openings", limit=MAX_OPENINGS_BYTES))
    try:
        return check_openings(openings, trees(judged.stories.value), draw=draw, references=references)
    except ExceptionGroup as several:
        raise several.exceptions[0] from several


def _malformed(path: Path, observed: str) -> UsageError:
    return UsageError(
        code="REFERENCES_MALFORMED",
        observed=f"--references {path}: {observed}",
        expected="a JSON array of labels, in the order of the dataset's points",
        hint="write the labels of the dataset that the plan names",
    )
