"""What the auditor brings: the pinned root, and what the bundle must be about; the bundle cannot speak for itself.

Rules:
1. Without a pinned root nothing can be verified: anybody can make a whole world of keys, and a bundle in it.
2. A pin is the fingerprint of the root's file, `sha256:<64 lower-case hex>`, or that file itself.
3. `--image` names the image that the auditor cares about; a result about another image is false for them.
4. `--as-of` judges keys and times as of a past moment. Without it, a bundle is judged at the time at which its last
   checkpoint was witnessed, so that keys which expired since do not make yesterday's truth false.
5. What the auditor remembers (`--state`), demands of a result (`--policy`) and compares it with (`--reproduced-by`) are
   checks of their own, walked only where they are asked for.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from protocol.attestation.moment import parse_moment
from protocol.errors import UsageError, VerificationError
from verifier.auditor_policy import AuditorPolicy
from verifier.state import State

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MAX_ROOT_BYTES = 512_000  # python-tuf's bound for root metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """The auditor's demands: `root` and `image` are `sha256:<hex>`, `as_of` is in UTC.

    `now` is the moment from which a policy counts a bundle's age; it must be given with one.
    """

    root: str
    image: str | None = None
    as_of: datetime | None = None
    state: State | None = None
    policy: AuditorPolicy | None = None
    now: datetime | None = None


def root_pin(text: str) -> str:
    """Return the fingerprint that `--root` names: itself, or that of the file at this path.

    Raises UsageError if it is neither.
    """
    if text.startswith("sha256:"):
        return digest(text, option="--root")
    path = Path(text)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ROOT_BYTES + 1)
    except OSError as error:
        raise UsageError(
            code="ROOT_UNREADABLE",
            observed=f"--root {text}: {error.strerror or error}",
            expected="the root's file, or sha256:<fingerprint>",
            hint="ask the operator for root.json or its fingerprint, over a channel other than the bundle's",
        ) from error
    if not data or len(data) > MAX_ROOT_BYTES:
        raise UsageError(
            code="ROOT_UNREADABLE",
            observed=f"--root {text}: {len(data)} bytes or more",
            expected=f"between 1 and {MAX_ROOT_BYTES} bytes",
            hint="give the root.json of the trust domain",
        )
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest(text: str, *, option: str) -> str:
    """Return a `sha256:<hex>` argument; raises UsageError if it is not one."""
    if not _DIGEST.fullmatch(text):
        raise UsageError(
            code="DIGEST_MALFORMED",
            observed=f"{option} {text}",
            expected="sha256: and 64 lower-case hexadecimal digits",
            hint="copy the digest whole",
        )
    return text


def moment(text: str) -> datetime:
    """Return an RFC 3339 time in UTC; raises UsageError if it is not one."""
    try:
        return parse_moment(text)
    except VerificationError as error:
        raise UsageError(
            code="TIME_MALFORMED",
            observed=f"--as-of {text}",
            expected="a time such as 2026-11-23T12:00:00Z",
            hint="write the time in UTC, with a trailing Z",
        ) from error
