"""Verify one bundle against a pinned root: the numbered list, and the code that walks it.

What must be true, in this order. A check that stands on one that did not pass is not checked, and says so.

Foundation: who is speaking?
 1. container      The file is a canonical bundle: known paths only, within limits, no links, no traversal.
 2. root           The bundle's chain of roots contains the one that the auditor pinned, and each link is signed.
 3. keyring        The keyring is signed by a threshold of the keys to which the root delegates it.
 4. policy         The log and its witnesses are the ones that the keyring names.
 5. log            The tiles hash to the root of the final checkpoint; the log signed it, and the policy's quorum of
                   witnesses cosigned it, no witness counted twice.
 6. inclusion      Every statement is in the log, at its own index, in a checkpoint that was witnessed when it was
                   logged, and the final log still begins with that one.
 7. signatures     Every statement is signed by a runner's key that was in force at witness time and not yet revoked;
                   so were the log's and the witnesses' keys; the root had not expired.
 8. statements     What was signed is strict: canonical JSON, exactly one subject, a predicate of the type that its file
                   name says, in the scope of its signer.

Story: was everything told?
 9. completeness   Every log entry from the first plan to the last result is opened by a statement, and the statements
                   are one runner's unbroken chain.
10. campaign       Each campaign is one plan, its sessions, one result: every intent has exactly one outcome, attempts
                   are within the plan, no cell is unplanned or missing, nothing was repeated after it had succeeded,
                   and the result lists every outcome.
11. image          Every statement is about its plan's image, and it is the image that the auditor asked about.
12. nonce          Each session's nonce is the one that its witnessed intent gives, and the rule that draws the order of
                   points from it is known.

Evidence: is it true?
13. evidence       Every digest that a statement refers to is in the bundle, byte for byte, and nothing else is.
14. timeline       Every run asked every planned query once a pass, in lock step; answered equals asked.
15. trace          The meter's record of every completed session is chained, in cadence, sound, and marks its runs.
16. time           Every session ran after its intent was witnessed and before its outcome was, and overlapped no other.
17. recompute      Every figure on the recomputed list is what samples and timelines give, run by run and cell by cell,
                   over all runs that were planned.

18. continuity     What an accelerator counted between two sessions is explained by its own idling, or named.

Conclusion: what is it worth?
19. certifiability The tier is earned, and the result leaves out no flag that the evidence raises.
20. committed      Figures on the committed list (quality, token counts) are bound by response roots. A bundle does not
                   open their leaves, so this claim never passes here: it is not checked.

Said by vendors and auditors beside the runner's chain, and walked only where the bundle has such statements or a plan
names one:
21. submission     What a vendor signed before the plan is what was planned, and every plan that names it has it.
22. equivalence    A vendor's word that it serves the tested image was tried by an auditor of another organisation than
                   vendor and operator, on leaves that nobody chose, and the finding follows from the points.

Asked for by the auditor, and walked only then:
23. reproduction   A second runner's bundle has the same figures within the stated doubt (--reproduced-by).
24. demanded       The result is what the auditor's own policy demands (--policy).
25. memory         Log, root and keyring are no step back from what this auditor verified before (--state).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from protocol.attestation.bundle import BundleFiles, read_bundle
from protocol.attestation.keyring import Keyring
from verifier.checks import (
    campaign,
    certifiability,
    committed,
    completeness,
    container,
    continuity,
    demanded,
    equivalence,
    evidence,
    image,
    inclusion,
    keyring,
    log,
    memory,
    nonce,
    policy,
    recompute,
    reproduction,
    root,
    signatures,
    statements,
    submission,
    time,
    timeline,
    trace,
)
from verifier.checks.certifiability import Worth
from verifier.checks.recompute import Figures
from verifier.checks.reproduction import Reproducible
from verifier.demands import Demands
from verifier.facts import Logged, Story
from verifier.report import Verdict, VerificationReport
from verifier.state import State
from verifier.summary import summarize
from verifier.walk import Established, Fact, Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A report, and the facts behind it that other commands go on from; each is known only if its check passed."""

    report: VerificationReport
    files: Fact[BundleFiles]
    keyring: Fact[Keyring]
    signed: Fact[tuple[Logged, ...]]
    stories: Fact[tuple[Story, ...]]
    figures: Fact[Figures]
    state: Fact[State]

    @property
    def reproducible(self) -> Reproducible | None:
        """What another bundle is compared with; None unless this one is verified."""
        if self.report.verdict is not Verdict.VERIFIED:
            return None
        return Reproducible(
            tier=self.report.tier,
            stories=self.stories.value,
            signed=self.signed.value,
            figures=self.figures.value,
        )


def verify_path(path: Path, demands: Demands) -> VerificationReport:
    """Verify the bundle at `path`, a tar or a folder; raises UsageError only if there is nothing to read there."""
    return verify(lambda: read_bundle(path), demands)


def judge_path(path: Path, demands: Demands, second: Judged | None = None) -> Judged:
    """Judge the bundle at `path`; as `verify_path`, with the facts behind the report."""
    return judge(lambda: read_bundle(path), demands, second)


def verify(read: Callable[[], BundleFiles], demands: Demands) -> VerificationReport:
    """Walk the list over the files that `read` finds and report; never raises for what a bundle holds."""
    return judge(read, demands).report


def judge(read: Callable[[], BundleFiles], demands: Demands, second: Judged | None = None) -> Judged:
    """Walk the list, and what the auditor asked for beyond it; `second` is the bundle of `--reproduced-by`, judged."""
    walk = Walk()

    # Foundation.
    # (1) container
    files = walk.step("container", lambda: container.check(read))
    # (2) root
    anchor = walk.step("root", lambda: root.check(files.value, demands))
    # (3) keyring
    keys = walk.step("keyring", lambda: keyring.check(files.value, anchor.value))
    # (4) policy
    rules = walk.step("policy", lambda: policy.check(files.value, keys.value))
    # (5) log
    final = walk.step("log", lambda: log.check(files.value, rules.value, demands))
    # (6) inclusion
    logged = walk.step("inclusion", lambda: inclusion.check(files.value, keys.value, rules.value, final.value))
    # (7) signatures
    signed = walk.step(
        "signatures", lambda: signatures.check(logged.value, keys.value, rules.value, anchor.value, final.value)
    )
    # (8) statements
    opened = walk.step("statements", lambda: statements.check(signed.value))

    # Story.
    # (9) completeness
    ordered = walk.step("completeness", lambda: completeness.check(opened.value.runner, opened.value.beside))
    # (10) campaign
    stories = walk.step("campaign", lambda: campaign.check(ordered.value))
    # (11) image
    walk.step("image", lambda: image.check(stories.value, demands))
    # (12) nonce
    walk.step("nonce", lambda: nonce.check(stories.value))

    # Evidence.
    # (13) evidence
    found = walk.step("evidence", lambda: evidence.check(files.value, stories.value))
    # (14) timeline
    timelines = walk.step("timeline", lambda: timeline.check(stories.value, found.value))
    # (15) trace
    traces = walk.step("trace", lambda: trace.check(stories.value, found.value))
    # (16) time
    walk.step("time", lambda: time.check(stories.value, traces.value))
    # (17) recompute
    figures = walk.step("recompute", lambda: recompute.check(stories.value, traces.value, timelines.value, found.value))

    # (18) continuity
    left = walk.step("continuity", lambda: continuity.check(stories.value, traces.value, found.value))

    # Conclusion.
    # (19) certifiability
    worth = walk.step(
        "certifiability",
        lambda: certifiability.check(stories.value, keys.value, rules.value, figures.value, left.value),
    )
    # (20) committed
    walk.step("committed", lambda: committed.check(stories.value, figures.value))

    # Said beside the runner's chain.
    if opened.known and submission.concerns(opened.value):
        # (21) submission
        walk.step("submission", lambda: submission.check(stories.value, opened.value.beside))
    if opened.known and equivalence.concerns(opened.value):
        # (22) equivalence
        alone = worth
        worth = walk.step(
            "equivalence",
            lambda: equivalence.check(
                alone.value, stories.value, opened.value.beside, keyring=keys.value, final=final.value
            ),
        )

    # Asked for.
    # (23) reproduction
    if second is not None:
        worth = _reproduced(walk, worth, second, stories=stories, signed=signed, figures=figures)
    # (24) demanded
    own = demands.policy
    if own is not None:
        now = demands.as_of or demands.now
        walk.step(
            "demanded",
            lambda: demanded.check(
                own,
                tier=worth.value.tier,
                stories=stories.value,
                signed=signed.value,
                final=final.value,
                now=now or final.value.judged_at,
            ),
        )
    # (25) memory
    state: Fact[State] = Fact("memory")
    known = demands.state
    if known is not None:
        state = walk.step(
            "memory",
            lambda: memory.check(
                known, files.value, pin=demands.root, root=anchor.value, keyring=keys.value, final=final.value
            ),
        )

    report = summarize(
        walk,
        root=demands.root,
        keyring=keys,
        policy=rules,
        final=final,
        signed=signed,
        stories=stories,
        figures=figures,
        worth=worth,
    )
    return Judged(
        report=report, files=files, keyring=keys, signed=signed, stories=stories, figures=figures, state=state
    )


def _reproduced(
    walk: Walk,
    worth: Fact[Worth],
    second: Judged,
    *,
    stories: Fact[tuple[Story, ...]],
    signed: Fact[tuple[Logged, ...]],
    figures: Fact[Figures],
) -> Fact[Worth]:
    """Return what the bundle is worth with the second one beside it."""

    def check() -> Established[Worth]:
        first = Reproducible(tier=worth.value.tier, stories=stories.value, signed=signed.value, figures=figures.value)
        found = reproduction.check(first, second.reproducible)
        raised = Worth(found.value, worth.value.flags, certifiable=worth.value.certifiable)
        return Established(raised, found.detail)

    return walk.step("reproduction", check)
