"""Check 9: nothing that the runner logged between its first plan and its last result is left out.

An inclusion proof shows presence, never absence. So every log entry in the range must be opened by a statement of the
bundle, and the statements must form the runner's own chain: one key, sequence numbers without a gap, each naming the
one before it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

from protocol.attestation.beside import Beside
from protocol.attestation.predicates import CampaignPlan, CampaignResult, Predicate
from verifier.facts import Opened, Spoken
from verifier.walk import Established, Findings, false


def check(
    opened: Sequence[Opened[Predicate]], beside: Sequence[Spoken[Beside]] = ()
) -> Established[tuple[Opened[Predicate], ...]]:
    """Return the statements in log order, without a gap from the first plan to the last result.

    `beside` opens entries of vendors and auditors, which may stand between those of the runner.
    """
    if not opened:
        raise false("NO_STATEMENTS", observed="a bundle without a statement", expected="at least one whole campaign")
    ordered = tuple(sorted(opened, key=lambda statement: statement.index))
    findings = Findings()
    _check_ends(ordered, findings)
    _check_range(ordered, {item.index for item in beside}, findings)
    _check_chain(ordered, findings)
    findings.settle()
    first, last = ordered[0].index, ordered[-1].index
    return Established(
        ordered, f"all {len(ordered)} log entries from {first} to {last} are opened, in one unbroken chain"
    )


def _check_ends(ordered: Sequence[Opened[Predicate]], findings: Findings) -> None:
    first, last = ordered[0], ordered[-1]
    if not isinstance(first.predicate, CampaignPlan):
        findings.add(
            false(
                "RANGE_WITHOUT_PLAN",
                observed=f"{first.path} is the earliest statement and no plan",
                expected="a range that begins with a campaign-plan",
            )
        )
    if not isinstance(last.predicate, CampaignResult):
        findings.add(
            false(
                "RANGE_WITHOUT_RESULT",
                observed=f"{last.path} is the last statement and no result",
                expected="a range that ends with a campaign-result",
            )
        )


def _check_range(ordered: Sequence[Opened[Predicate]], beside: Collection[int], findings: Findings) -> None:
    for before, after in pairwise(ordered):
        between = sorted(index for index in beside if before.index < index < after.index)
        if len(between) != after.index - before.index - 1:
            stops = [before.index, *between, after.index]
            first, last = next((a + 1, b - 1) for a, b in pairwise(stops) if b > a + 1)
            shown = f"{first}" if first == last else f"{first} to {last}"
            findings.add(
                false(
                    "MISSING_STATEMENT",
                    observed=f"log entry {shown} is not opened by any statement in the bundle",
                    expected="every entry between the plan and the result, so that no run can be left out",
                )
            )


def _check_chain(ordered: Sequence[Opened[Predicate]], findings: Findings) -> None:
    for before, after in pairwise(ordered):
        link, previous = after.predicate.runner, before.predicate.runner
        if (link.key_id, link.runner_id) != (previous.key_id, previous.runner_id):
            findings.add(
                false(
                    "SECOND_RUNNER",
                    observed=f"{after.path} is by runner {link.runner_id!r}, key {link.key_id[:16]}",
                    expected=f"runner {previous.runner_id!r}, key {previous.key_id[:16]}, in the whole range",
                )
            )
        elif (link.seq, link.prev) != (previous.seq + 1, before.statement_id):
            findings.add(
                false(
                    "CHAIN_BROKEN",
                    observed=f"{after.path} has seq {link.seq} after {link.prev}",
                    expected=f"seq {previous.seq + 1} after {before.statement_id}",
                )
            )
