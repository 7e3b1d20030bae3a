"""What keeps a result from being certifiable: one named flag a reason, computed alike by who signs and who doubts.

A result is certifiable if and only if no flag is open. Every flag here follows from signed facts, so a verifier
refuses a result that leaves one out. More flags than these may be raised: a flag can only lower what a result is worth.

    estimated-energy            the headline is Estimated in some cell
    simulated-energy            the headline of some cell comes from a stand-in device
    unmeasured-energy           some cell has no headline, or runs of different kinds
    cached-answers              the runs or passes of a cell cost less and less, as answers that were kept do
    prepared-answers            private points cost more than public ones, or are answered worse
    repeated-answers            a point that is asked again costs less than different ones do
    probes-not-judged           a dataset has a private shard, and one of the three verdicts is missing
    deferred-work               over 1 % of a run's energy came after its last answer
    unexplained-energy          an accelerator counted something between sessions that its idling does not explain
    wall-range-changed          the wall meter changed its range inside a run
    tier-below-t3               the record was not witnessed by a quorum with parties outside the operator
    unofficial                  points or runs were shortened
    own-dataset                 a dataset is a user's own, which is measured and never rated
    hardware-class-unrated      the machine is of no rated class
    dataset-without-thirds      a dataset is not drawn in thirds from three named sources
    dataset-without-shard       a dataset has no private shard that the plan binds
    quality-below-floor         a cell's quality is worse than its task's floor
    quality-without-floor       a task has no floor yet, or no quality is stated
    no-production-equivalence   a proprietary model without a vendor's word, tried by an auditor, that the tested image
                                is what is served; no result is without it, for this is said after the result
    production-differs          an auditor found that production answers otherwise than the tested image
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from protocol.methodology.continuity import UNEXPLAINED_ENERGY
from protocol.methodology.dataset import is_own
from protocol.methodology.probes import NOT_JUDGED_FLAG
from protocol.methodology.tasks import REGISTRY, Task, TaskSpec
from protocol.units import from_decimal

ESTIMATED_ENERGY: Final = "estimated-energy"
SIMULATED_ENERGY: Final = "simulated-energy"
UNMEASURED_ENERGY: Final = "unmeasured-energy"
TIER_BELOW_T3: Final = "tier-below-t3"
UNOFFICIAL: Final = "unofficial"
OWN_DATASET: Final = "own-dataset"
CLASS_UNRATED: Final = "hardware-class-unrated"
WITHOUT_THIRDS: Final = "dataset-without-thirds"
WITHOUT_SHARD: Final = "dataset-without-shard"
BELOW_FLOOR: Final = "quality-below-floor"
WITHOUT_FLOOR: Final = "quality-without-floor"
NO_EQUIVALENCE: Final = "no-production-equivalence"
PRODUCTION_DIFFERS: Final = "production-differs"

RATED_CLASSES: Final = frozenset({"h100-80gb"})  # the reference class; others are measured and never ranked with it
CERTIFIABLE_TIERS: Final = frozenset({"T3", "T4"})
MEASURED: Final = "measured"
_KINDS: Final = {"estimated": ESTIMATED_ENERGY, "simulated": SIMULATED_ENERGY}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFacts:
    """What a cell's flags depend on; `quality` is the task's metric if it is stated.

    `energy_kind` and `measurement_flags` are as in its figures, `judged` says whether all three
    verdicts of its probes are there.
    """

    task: str
    dataset: str
    energy_kind: str
    measurement_flags: tuple[str, ...]
    thirds: bool
    shard: bool
    quality: str | None
    judged: bool = False


def open_flags(
    *,
    official: bool,
    hardware_class: str,
    proprietary: bool,
    tier: str,
    cells: Sequence[CellFacts],
    unexplained: bool = False,
) -> tuple[str, ...]:
    """Return the open flags in alphabetical order; `cells` are those with published figures.

    `unexplained` is whether `continuity` left a gap open.
    """
    flags = {flag for cell in cells for flag in _cell_flags(cell)}
    if unexplained:
        flags.add(UNEXPLAINED_ENERGY)
    if not official:
        flags.add(UNOFFICIAL)
    if hardware_class not in RATED_CLASSES:
        flags.add(CLASS_UNRATED)
    if proprietary:
        flags.add(NO_EQUIVALENCE)
    if tier not in CERTIFIABLE_TIERS:
        flags.add(TIER_BELOW_T3)
    return tuple(sorted(flags))


def _cell_flags(cell: CellFacts) -> set[str]:
    flags = set(cell.measurement_flags)
    if is_own(cell.dataset):
        flags.add(OWN_DATASET)
    if cell.energy_kind != MEASURED:
        flags.add(_KINDS.get(cell.energy_kind, UNMEASURED_ENERGY))
    if not cell.thirds:
        flags.add(WITHOUT_THIRDS)
    if not cell.shard:
        flags.add(WITHOUT_SHARD)
    elif not cell.judged:
        flags.add(NOT_JUDGED_FLAG)
    spec = _spec(cell.task)
    quality = _fraction(cell.quality)
    if spec is None or spec.quality_floor is None or quality is None:
        flags.add(WITHOUT_FLOOR)
    elif not spec.meets_floor(quality):
        flags.add(BELOW_FLOOR)
    return flags


def _spec(task: str) -> TaskSpec | None:
    return next((REGISTRY[known] for known in Task if known.value == task), None)


def _fraction(text: str | None) -> Fraction | None:
    try:
        return None if text is None else from_decimal(text)
    except ValueError:
        return None
