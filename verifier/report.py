"""What the verifier says: one result per claim, a verdict over all of them, and nothing that was not looked at.

    passed        the claim was checked and holds
    failed        the claim was checked and is false: code, observed, expected, next step
    not-checked   the claim was not looked at, and the reason; never counts as passed

The verdict is `false` if any check failed, else `unjudged` if any check met a version or format that is unknown to this
verifier, else `verified`. A claim that is left unchecked because another one failed stays `not-checked`, with that
reason. A claim that nobody can check from a bundle alone (committed figures) is `not-checked` in every report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from protocol.errors import EXIT_VERIFIED, JoulesealError, Unverifiable, VerificationError


class Status(Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not-checked"


class Verdict(Enum):
    """What the whole report says about the bundle."""

    VERIFIED = "verified"
    FALSE = "false"
    UNJUDGED = "unjudged"

    @property
    def exit_code(self) -> int:
        """The command's exit code: 0 verified, 1 false, 6 cannot be judged."""
        return {
            Verdict.VERIFIED: EXIT_VERIFIED,
            Verdict.FALSE: VerificationError.exit_code,
            Verdict.UNJUDGED: Unverifiable.exit_code,
        }[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """How one claim fared.

    `detail` is one sentence: what was checked, or why not. `code`, `observed`, `expected` and `next` are empty unless
    the claim is false or cannot be judged.
    """

    check: str
    status: Status
    detail: str
    code: str = ""
    observed: str = ""
    expected: str = ""
    next: str = ""

    @classmethod
    def refused(cls, check: str, status: Status, error: JoulesealError) -> CheckResult:
        """Return the result of a check that met `error`."""
        return cls(
            check=check,
            status=status,
            detail=f"{error.observed} (expected: {error.expected})",
            code=error.code,
            observed=error.observed,
            expected=error.expected,
            next=error.hint,
        )

    def to_json(self) -> dict[str, str]:
        """Return the result as a flat mapping of strings."""
        return {
            "id": self.check,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
            "observed": self.observed,
            "expected": self.expected,
            "next": self.next,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A key whose signature in this bundle was checked, and what the keyring says about it."""

    role: str
    name: str
    key_id: str
    statements: int

    def to_json(self) -> dict[str, Any]:
        """Return the signer as plain JSON."""
        return {"role": self.role, "name": self.name, "keyId": self.key_id, "statements": self.statements}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """A cell's published figures on their two lists, each a flat mapping of decimal strings.

    `recomputed` was derived here from raw samples and timelines; `committed` is only bound by the response root.
    """

    recomputed: Mapping[str, str]
    committed: Mapping[str, str]

    def to_json(self) -> dict[str, dict[str, str]]:
        """Return both lists as plain JSON."""
        return {"recomputed": dict(self.recomputed), "committed": dict(self.committed)}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """Everything that the verifier found out about one bundle.

    `checks` are in the order of the numbered list; a check with several failures has one result for each. `tier` is the
    highest tier that was fully checked. `figures` are by campaign and cell. Tier and figures are empty unless
    verified. `root`, `quorum` and `judged_at` say under whose eyes, and when, this was so.
    """

    checks: tuple[CheckResult, ...]
    tier: str = ""
    certifiable: bool = False
    flags: tuple[str, ...] = ()
    figures: Mapping[str, Mapping[str, CellFigures]] = field(default_factory=dict)
    campaigns: Mapping[str, str] = field(default_factory=dict)
    signers: tuple[Signer, ...] = ()
    root: str = ""
    quorum: str = ""
    judged_at: str = ""

    @property
    def verdict(self) -> Verdict:
        """False before unjudged before verified; a report without a single passed check verifies nothing."""
        if any(result.status is Status.FAILED for result in self.checks):
            return Verdict.FALSE
        unjudged = any(result.status is Status.NOT_CHECKED and result.code for result in self.checks)
        if unjudged or not any(result.status is Status.PASSED for result in self.checks):
            return Verdict.UNJUDGED
        return Verdict.VERIFIED

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        return {
            "verdict": self.verdict.value,
            "tier": self.tier,
            "certifiable": self.certifiable,
            "flags": list(self.flags),
            "root": self.root,
            "quorum": self.quorum,
            "judgedAt": self.judged_at,
            "signers": [signer.to_json() for signer in self.signers],
            "checks": [result.to_json() for result in self.checks],
            "campaigns": dict(self.campaigns),
            "figures": {
                campaign: {cell: figures.to_json() for cell, figures in cells.items()}
                for campaign, cells in self.figures.items()
            },
        }
