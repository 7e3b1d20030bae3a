"""Check 19: the tier is earned, and the result's flags leave out nothing that the evidence raises.

The tier follows from who witnessed: a quorum that the operator's own witnesses can make by themselves is T1, however
many keys it has. One that needs a party of another organisation is T2, and T3 where everything before this passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.attestation.keyring import Keyring
from protocol.attestation.tier import T3, earned_tier
from protocol.methodology.continuity import UNEXPLAINED_ENERGY, Gap
from protocol.methodology.figures import measurement_flags
from protocol.methodology.flags import CellFacts, open_flags
from protocol.methodology.probes import judged
from protocol.methodology.tasks import REGISTRY, Task
from protocol.tlog.policy import Policy
from verifier.facts import Story
from verifier.report import CellFigures
from verifier.walk import Established, Findings, false

_NEEDS = "T2 needs a quorum that the operator's own witnesses cannot make, T3 that and all that was checked above"


class Worth:
    """What the bundle is worth: its tier, all open flags, and whether every campaign is certifiable."""

    def __init__(self, tier: str, flags: tuple[str, ...], *, certifiable: bool) -> None:
        self.tier = tier
        self.flags = flags
        self.certifiable = certifiable


def check(
    stories: Sequence[Story],
    keyring: Keyring,
    policy: Policy,
    figures: Mapping[str, Mapping[str, CellFigures]],
    unexplained: Sequence[Gap] = (),
) -> Established[Worth]:
    """Return the tier and the flags; raises VerificationError where a result claims to be worth more.

    `unexplained` is what accelerators counted between sessions and no record explains; it raises a flag of its own.
    """
    tier = earned_tier(keyring, policy)
    findings = Findings()
    flags: set[str] = {UNEXPLAINED_ENERGY} if unexplained else set()
    for story in stories:
        raised = _flags(story, tier, figures[story.campaign])
        claimed = set(story.result.predicate.flags)
        flags |= raised | claimed
        _check_claims(story, raised, findings)
    findings.settle()
    certifiable = not flags
    word = "certifiable" if certifiable else f"not certifiable: {', '.join(sorted(flags))}"
    needs = "" if tier == T3 else f"; {_NEEDS}"
    return Established(Worth(tier, tuple(sorted(flags)), certifiable=certifiable), f"tier {tier}{needs}; {word}")


def _flags(story: Story, tier: str, figures: Mapping[str, CellFigures]) -> set[str]:
    plan = story.plan.predicate
    cells = [
        CellFacts(
            task=cell.task,
            dataset=cell.dataset.name,
            energy_kind=figures[cell.cell_id].recomputed["energyKind"],
            measurement_flags=measurement_flags(figures[cell.cell_id].recomputed),
            thirds=cell.dataset.thirds,
            shard=cell.private_points > 0,
            judged=judged(figures[cell.cell_id].recomputed),
            quality=figures[cell.cell_id].committed.get(_metric(cell.task)),
        )
        for cell in plan.cells
        if cell.cell_id in figures
    ]
    return set(
        open_flags(
            official=plan.official,
            hardware_class=plan.hardware_class,
            proprietary=plan.submission.proprietary,
            tier=tier,
            cells=cells,
        )
    )


def _metric(task: str) -> str:
    return next((REGISTRY[known].quality_metric for known in Task if known.value == task), "")


def _check_claims(story: Story, raised: set[str], findings: Findings) -> None:
    result, path = story.result.predicate, story.result.path
    omitted = sorted(raised - set(result.flags))
    if omitted:
        findings.add(
            false(
                "FLAG_LEFT_OUT",
                observed=f"{path} leaves out {', '.join(omitted)}",
                expected="every flag that the evidence raises",
            )
        )
    certifiable = result.status == "completed" and not raised and not result.flags
    if result.certifiable and not certifiable:
        findings.add(
            false(
                "NOT_CERTIFIABLE",
                observed=f"{path} calls itself certifiable",
                expected="no open flag, in a completed campaign",
            )
        )
