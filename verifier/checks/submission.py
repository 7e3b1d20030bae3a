"""Check 21, where a vendor spoke: what was planned is what the vendor signed beforehand.

1. A plan that names a submission statement has it in the bundle, at that place, logged before the plan.
2. A key of the role vendor, enrolled under this vendor's name, signed it (`verifier.checks.signatures` judged the key).
3. It is about the plan's image, says of the submission what the plan says, and held when the plan was witnessed.
4. A submission statement that no plan names is refused: it would be about something else.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.attestation.beside import Beside
from protocol.attestation.moment import parse_moment
from protocol.attestation.predicates import CampaignPlan
from protocol.attestation.submission_statement import SubmissionStatement
from protocol.errors import VerificationError
from verifier.checks.statements import Read
from verifier.facts import Spoken, Story
from verifier.walk import Established, Findings, counted, false


def concerns(read: Read) -> bool:
    """Return whether there is anything to check: a vendor's submission, or a plan that names one."""
    told = any(isinstance(item.predicate, SubmissionStatement) for item in read.beside)
    return told or any(
        isinstance(item.predicate, CampaignPlan) and item.predicate.submission_statement is not None
        for item in read.runner
    )


def check(stories: Sequence[Story], beside: Sequence[Spoken[Beside]]) -> Established[None]:
    """Return nothing but the fact; raises VerificationError where a plan and its vendor's word differ."""
    findings = Findings()
    told = {item.link: item for item in beside if isinstance(item.predicate, SubmissionStatement)}
    named = set()
    for story in stories:
        link = story.plan.predicate.submission_statement
        if link is None:
            continue
        named.add(link)
        with findings.collecting():
            if link not in told:
                raise _false("SUBMISSION_MISSING", f"no submission at log index {link.log_index}", _named(story))
            _check(story, told[link])
    for link in told.keys() - named:
        observed = f"{told[link].path}, which no plan of the bundle names"
        findings.add(_false("SUBMISSION_UNNAMED", observed, "a submission that its plan names"))
    findings.settle()
    alone = len(stories) - sum(story.plan.predicate.submission_statement is not None for story in stories)
    words = f"{counted(len(named), 'submission')} as its vendor signed it"
    if alone:
        words += f"; {counted(alone, 'campaign')} without a vendor's signature: who handed it in, the operator says"
    return Established(None, words)


def _check(story: Story, spoken: Spoken[Beside]) -> None:
    plan, said = story.plan.predicate, spoken.predicate
    if not isinstance(said, SubmissionStatement):
        raise TypeError(f"{spoken.path} is no submission")
    signer = spoken.logged.signer
    if spoken.index >= story.plan.index:
        raise _false("SUBMISSION_ORDER", f"{spoken.path} after {story.plan.path}", "a submission before its plan")
    if signer.name != plan.submission.vendor:
        raise _false("SUBMISSION_SIGNER", f"signed as vendor {signer.name!r}", f"by vendor {plan.submission.vendor!r}")
    if spoken.statement.subject_sha256 != story.plan.statement.subject_sha256:
        observed = f"{spoken.path} is about image {spoken.statement.subject_sha256}"
        raise _false("SUBMISSION_IMAGE", observed, f"{story.plan.statement.subject_sha256}, as planned")
    if said.submission != plan.submission:
        theirs, ours = said.submission.to_json(), plan.submission.to_json()
        other = [name for name in ours if ours[name] != theirs[name]]
        raise _false(
            "SUBMISSION_DIFFERS",
            f"the vendor signed {other[0]} {theirs[other[0]]!r}",
            f"{ours[other[0]]!r}, as planned",
        )
    if story.plan.witnessed.earliest > parse_moment(said.valid_until):
        observed = f"a plan of {story.plan.witnessed.earliest.isoformat()}"
        raise _false("SUBMISSION_EXPIRED", observed, f"one until {said.valid_until}, as the vendor signed")


def _named(story: Story) -> str:
    return f"the one that {story.plan.path} names"


def _false(code: str, observed: str, expected: str) -> VerificationError:
    return false(code, observed=observed, expected=expected, hint="ask the vendor what it handed in")
