"""How a reader of untrusted bytes says no: one sentence each of what was seen and what the format demands."""

from __future__ import annotations

from protocol.errors import Unverifiable, VerificationError

_DAMAGED = "do not rely on this copy; ask its publisher for an undamaged one"
_NEWER = "use a verifier of the version that wrote it"


def refuse(code: str, *, observed: str, expected: str, hint: str = _DAMAGED) -> VerificationError:
    """Return the error for bytes that break their format or a signature that does not hold."""
    return VerificationError(code=code, observed=observed, expected=expected, hint=hint)


def unjudged(code: str, *, observed: str, expected: str, hint: str = _NEWER) -> Unverifiable:
    """Return the error for a version or a format that is well formed and unknown to us."""
    return Unverifiable(code=code, observed=observed, expected=expected, hint=hint)
