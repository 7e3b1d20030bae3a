"""From the walk to the report: who signed, under which quorum, when it was judged, and what each campaign is of."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.attestation.keyring import EnrolledKey, Keyring
from protocol.attestation.keys import PublicKey
from protocol.tlog.policy import Policy
from verifier.checks.certifiability import Worth
from verifier.checks.recompute import Figures
from verifier.facts import Final, Logged, Story
from verifier.report import Signer, Verdict, VerificationReport
from verifier.walk import Fact, Walk


def summarize(
    walk: Walk,
    *,
    root: str,
    keyring: Fact[Keyring],
    policy: Fact[Policy],
    final: Fact[Final],
    signed: Fact[tuple[Logged, ...]],
    stories: Fact[tuple[Story, ...]],
    figures: Fact[Figures],
    worth: Fact[Worth],
) -> VerificationReport:
    """Return the report; tier and figures are empty unless it is verified: no figure stands beside a false claim."""
    checks = tuple(walk.results)
    verified = VerificationReport(checks=checks).verdict is Verdict.VERIFIED
    return VerificationReport(
        checks=checks,
        tier=worth.value.tier if verified else "",
        certifiable=worth.value.certifiable if verified else False,
        flags=worth.value.flags if worth.known else (),
        figures=figures.value if verified else {},
        campaigns={story.campaign: _title(story) for story in stories.value} if stories.known else {},
        signers=_signers(keyring.value, policy.value, signed.value) if signed.known else (),
        root=root,
        quorum=_quorum(final.value, policy.value) if final.known else "",
        judged_at=final.value.judged_at.isoformat().replace("+00:00", "Z") if final.known else "",
    )


def _title(story: Story) -> str:
    plan = story.plan.predicate
    submission = plan.submission
    word = "official" if plan.official else "unofficial"
    name = f"{submission.vendor}: {submission.model} {submission.model_version}"
    return f"{name}, {word} campaign {plan.vendor_seq} on class {plan.hardware_class}, image {plan.image.config_digest}"


def _signers(keyring: Keyring, policy: Policy, signed: Sequence[Logged]) -> tuple[Signer, ...]:
    runners = {item.signer.key.key_id: item.signer for item in signed}
    found = [_signer(key, sum(item.signer is key for item in signed)) for key in runners.values()]
    others = [policy.log.public_key, *(witness.public_key for witness in policy.witnesses.values())]
    return (*found, *(_signer(key, 0) for key in map(keyring.find, map(_key_id, others)) if key is not None))


def _key_id(key: PublicKey) -> str:
    return key.key_id


def _signer(key: EnrolledKey, statements: int) -> Signer:
    name = f"{key.name} of {key.organisation}"
    return Signer(role=key.role, name=name, key_id=key.key.key_id, statements=statements)


def _quorum(final: Final, policy: Policy) -> str:
    names = ", ".join(sorted(line.name for line in final.seen.cosigned))
    return (
        f"cosigned by {names} ({len(final.seen.cosigned)} of {len(policy.witnesses)} witnesses, quorum {policy.quorum})"
    )
