"""Check 22, with `--policy` alone: the bundle is worth what the auditor demands, and comes from whom they name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from verifier.auditor_policy import TIERS, AuditorPolicy
from verifier.facts import Final, Logged, Story
from verifier.walk import Established, Findings, false

_HINT = "the bundle may be true, and does not do for you"


def check(
    policy: AuditorPolicy,
    *,
    tier: str,
    stories: Sequence[Story],
    signed: Sequence[Logged],
    final: Final,
    now: datetime,
) -> Established[None]:
    """Return nothing but the fact; `tier` is what the bundle earned, `now` the moment from which its age counts."""
    findings = Findings()
    if policy.tier is not None and TIERS.index(tier) < TIERS.index(policy.tier):
        _refuse(findings, "TIER_NOT_REACHED", tier, f"tier {policy.tier} or higher")
    if policy.hardware_classes is not None:
        for story in stories:
            found = story.plan.predicate.hardware_class
            if found not in policy.hardware_classes:
                _refuse(findings, "CLASS_NOT_ACCEPTED", f"hardware class {found}", _one_of(policy.hardware_classes))
    if policy.signers is not None:
        for key_id in sorted(
            {item.signer.key.key_id for item in signed if item.signer.role == "runner"} - set(policy.signers)
        ):
            _refuse(findings, "SIGNER_NOT_ACCEPTED", f"runner's key {key_id}", _one_of(policy.signers))
    if policy.maximum_age_days is not None:
        age = now - final.witnessed.latest
        if age > timedelta(days=policy.maximum_age_days):
            _refuse(findings, "TOO_OLD", f"{age.days} days", f"at most {policy.maximum_age_days} days")
    findings.settle()
    return Established(None, f"every demand of the policy sha256:{policy.sha256} is met")


def _refuse(findings: Findings, code: str, observed: str, expected: str) -> None:
    findings.add(false(code, observed=observed, expected=f"{expected}, as your policy demands", hint=_HINT))


def _one_of(allowed: Sequence[str]) -> str:
    return f"one of {', '.join(allowed) or 'none'}"
