"""Check 21, with `--reproduced-by` alone: a second enrolled runner measured the same, which is tier T4.

Both bundles must earn T3 under the one root that the auditor pinned. Then, for every campaign of the first one, the
second must have one with:
1. another runner, another key, and no device in common;
2. the same image, cells (points, runs, dataset digests), method, statistic and hardware class;
3. in every cell energy per 1,000 queries of the same kind that agrees: |a - b| <= sqrt(U_a^2 + U_b^2), U being the
   published expanded uncertainty (k = 2), or, where an instrument states none, the 95 % interval over the runs. This is
   |E_n| <= 1 of ISO 13528, section 9.6. A difference of at most 5 % of the larger figure agrees too: that is the
   accuracy to which accelerators of one model are built and metered (this house's choice).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocol.attestation.predicates import CampaignPlan
from protocol.errors import VerificationError
from protocol.methodology.statistics import square_root
from protocol.units import decimal_string, from_decimal
from verifier.facts import Logged, Story
from verifier.report import CellFigures
from verifier.walk import Established, Findings, counted, false

T3, T4 = "T3", "T4"
TOLERANCE = Fraction(5, 100)
_DECIMALS = 6
# The headline and what it may be off by, the first pair that both bundles publish.
_HEADLINES = (
    ("gpuEnergyWhPer1000Queries", "gpuEnergyUncertaintyWhPer1000Queries"),
    ("itEnergyWhPer1000Queries", "itEnergyWhPer1000QueriesInterval95"),
)
_HINT = "the first result stands by itself; it was not reproduced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproducible:
    """What of a verified bundle is compared: its tier, its campaigns, who signed, and its figures."""

    tier: str
    stories: tuple[Story, ...]
    signed: tuple[Logged, ...]
    figures: Mapping[str, Mapping[str, CellFigures]]


def check(first: Reproducible, second: Reproducible | None) -> Established[str]:
    """Return tier T4; VerificationError where the second bundle does not reproduce the first one."""
    if second is None or {first.tier, second.tier} != {T3}:
        tiers = f"tier {first.tier} and {'a bundle that is not verified' if second is None else f'tier {second.tier}'}"
        raise _not("NOT_BOTH_T3", tiers, "two bundles of tier T3 under the same root")
    _check_parties(first, second)
    findings = Findings()
    cells = 0
    for story in first.stories:
        other = _counterpart(story, second.stories)
        if other is None:
            findings.add(
                _not(
                    "NOT_REPRODUCED",
                    f"no campaign that repeats {story.plan.path}",
                    "one of the same image, cells, datasets, method and hardware class",
                )
            )
            continue
        ours, theirs = first.figures[story.campaign], second.figures[other.campaign]
        for cell in ours:
            cells += 1
            with findings.collecting():
                _check_cell(cell, ours[cell].recomputed, theirs[cell].recomputed)
    findings.settle()
    names = ", ".join(sorted(_runners(second)))
    told = f"runner {names} measured {counted(cells, 'cell')} again: within the stated doubt, or within 5 %"
    return Established(T4, f"tier {T4}: {told}")


def _check_parties(first: Reproducible, second: Reproducible) -> None:
    for what, of in (("key", _keys), ("runner", _runners), ("device", _devices)):
        shared = of(first) & of(second)
        if shared:
            raise _not("SAME_RUNNER", f"{what} {min(shared)[:60]} in both bundles", f"another {what} in each")


def _keys(bundle: Reproducible) -> set[str]:
    return {item.signer.key.key_id for item in bundle.signed if item.signer.role == "runner"}


def _runners(bundle: Reproducible) -> set[str]:
    return {item.signer.name for item in bundle.signed if item.signer.role == "runner"}


def _devices(bundle: Reproducible) -> set[str]:
    return {device.uuid for story in bundle.stories for device in story.plan.predicate.devices}


def _counterpart(story: Story, others: Sequence[Story]) -> Story | None:
    """Return the campaign that planned the same; both must have completed."""
    wanted = _planned(story.plan.predicate)
    found = [other for other in others if _planned(other.plan.predicate) == wanted]
    completed = [other for other in found if other.result.predicate.status == "completed"]
    return completed[-1] if completed and story.result.predicate.status == "completed" else None


def _planned(plan: CampaignPlan) -> tuple[object, ...]:
    cells = sorted((cell.cell_id, cell.points, cell.runs, cell.dataset.sha256) for cell in plan.cells)
    return (plan.image.config_digest, tuple(cells), plan.method, plan.statistic, plan.hardware_class, plan.official)


def _check_cell(cell: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    kinds = (ours.get("energyKind"), theirs.get("energyKind"))
    headline = next(((name, doubt) for name, doubt in _HEADLINES if name in ours and name in theirs), None)
    if kinds[0] != kinds[1] or headline is None:
        raise _not("NOT_COMPARABLE", f"{cell}: energy of kind {kinds[0]} and {kinds[1]}", "energy of one kind")
    name, doubt = headline
    a, b = from_decimal(ours[name]), from_decimal(theirs[name])
    spread = square_root(sum((from_decimal(each.get(doubt, "0")) ** 2 for each in (ours, theirs)), Fraction(0)))
    allowed = max(spread, TOLERANCE * max(a, b))
    if abs(a - b) > allowed:
        raise _not(
            "NOT_REPRODUCED",
            f"{cell}: {name} {ours[name]} and {theirs[name]}",
            f"a difference of at most {decimal_string(allowed, _DECIMALS)}",
        )


def _not(code: str, observed: str, expected: str) -> VerificationError:
    return false(code, observed=observed, expected=expected, hint=_HINT)
