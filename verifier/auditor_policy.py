"""What an auditor asks of a result beyond its being true: a small file of their own, read before the bundle is opened.

    {"format": "jouleseal-auditor-policy/1", "tier": "T2", "hardwareClasses": ["h100-80gb"],
     "signers": ["<key id>"], "maximumAgeDays": 180}

Rules:
1. Every demand may be left out, and a policy without any is refused: it would look like one that was met.
2. `tier` is the lowest that will do. `hardwareClasses` and `signers` (key ids of runners) list all that will do.
3. `maximumAgeDays` counts from the time at which the bundle's last checkpoint was witnessed to `--as-of`, or to now.
4. A demand that is not met makes the verdict false for this auditor, with a code of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol.attestation.digest import sha256_hex
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import loads
from protocol.errors import UsageError, VerificationError

POLICY_FORMAT = "jouleseal-auditor-policy/1"
MAX_POLICY_BYTES = 1 << 20
TIERS = ("T0", "T1", "T2", "T3", "T4")
_MAX_ITEMS = 1024
_MAX_AGE_DAYS = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditorPolicy:
    """The demands of one policy file; None where it does not ask. `sha256` is the file's digest in hexadecimal."""

    sha256: str
    tier: str | None = None
    hardware_classes: tuple[str, ...] | None = None
    signers: tuple[str, ...] | None = None
    maximum_age_days: int | None = None


def parse_auditor_policy(data: bytes) -> AuditorPolicy:
    """Read a policy; VerificationError BAD_FIELD, UNKNOWN_FIELD or EMPTY_POLICY where it is none."""
    fields = Fields(loads(data, limit=MAX_POLICY_BYTES), "policy")
    fields.one_of("format", (POLICY_FORMAT,))
    asked = set(fields.names())
    policy = AuditorPolicy(
        sha256=sha256_hex(data),
        tier=fields.one_of("tier", TIERS) if "tier" in asked else None,
        hardware_classes=fields.texts("hardwareClasses", limit=_MAX_ITEMS) if "hardwareClasses" in asked else None,
        signers=fields.texts("signers", limit=_MAX_ITEMS) if "signers" in asked else None,
        maximum_age_days=fields.integer("maximumAgeDays", minimum=1, maximum=_MAX_AGE_DAYS)
        if "maximumAgeDays" in asked
        else None,
    )
    fields.done()
    if asked == {"format"}:
        raise VerificationError(
            code="EMPTY_POLICY",
            observed="a policy that demands nothing",
            expected="at least one of tier, hardwareClasses, signers, maximumAgeDays",
            hint="write down what you demand, or leave --policy out",
        )
    return policy


def read_auditor_policy(path: Path) -> AuditorPolicy:
    """Return the policy in a file; UsageError POLICY_UNREADABLE where there is none."""
    try:
        with path.open("rb") as file:
            return parse_auditor_policy(file.read(MAX_POLICY_BYTES + 1))
    except (OSError, VerificationError) as error:
        observed = error.observed if isinstance(error, VerificationError) else str(error.strerror or error)
        raise UsageError(
            code="POLICY_UNREADABLE",
            observed=f"--policy {path}: {observed}",
            expected=f"a JSON file of format {POLICY_FORMAT} with at least one demand",
            hint="docs/auditor.md shows one",
        ) from error
