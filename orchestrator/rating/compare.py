"""Comparing signed results of one hardware class: quality, energy, latency, throughput and memory beside each other.

Rules
1. Only like is compared with like: one hardware class, one version of the method, and cell by cell the same dataset (by
   digest), points and batch. Anything else is refused by name; nothing is scaled or corrected.
2. The classes `cpu`, `other`, `mixed` and `simulated` name no machine. Results of them are compared where one runner
   made them, and refused otherwise.
3. A cell is compared where at least two of the results have it, at any precision: that is what differs between them.
4. The first result is the base. A difference of energy per 1,000 queries comes with Welch's 95 % interval over the runs
   (`statistics.difference_95`), and is called clear where that interval leaves out zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from orchestrator.results import Campaign
from protocol.attestation.claims import COUNTS, CellResult, PlanCell, RunClaim
from protocol.attestation.jcs import Json
from protocol.errors import UsageError
from protocol.methodology import statistics
from protocol.methodology.hardware import CLASS_CPU, CLASS_MIXED, CLASS_OTHER, CLASS_SIMULATED
from protocol.units import J_PER_WH, MJ_PER_J, decimal_string, from_decimal

ENERGY: Final = "itEnergyWhPer1000Queries"
NO_MACHINE: Final = frozenset({CLASS_CPU, CLASS_MIXED, CLASS_OTHER, CLASS_SIMULATED})
_QUERIES: Final = 1000
_SHARE_PLACES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One completed campaign that is compared: `name` is what the table calls it."""

    name: str
    campaign: Campaign
    cells: Mapping[str, CellResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The base's energy against this one's: (this - base) / base, its 95 % half-width, and whether it leaves out zero.

    `half_width` is None where the runs do not give one; `clear` is then false.
    """

    share: Fraction
    half_width: Fraction | None
    clear: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender's cell: the published figures, and the difference from the base (None for the base itself)."""

    contender: str
    framework: str
    precision: str
    figures: Mapping[str, str]
    committed: Mapping[str, str]
    difference: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One cell of the standard (task and scenario), compared: at least two rows, the base first."""

    task: str
    scenario: str
    batch: int
    dataset: str
    rows: tuple[Row, ...]


def contender(campaign: Campaign) -> Contender:
    """Return a completed campaign as it is compared, named by its model, version and framework."""
    plan = campaign.plan
    cells = () if campaign.result is None else campaign.result.cells
    return Contender(
        name=f"{plan.submission.model} {plan.submission.model_version} ({plan.submission.framework})",
        campaign=campaign,
        cells={cell.cell_id: cell for cell in cells},
    )


def compare(contenders: Sequence[Contender]) -> tuple[Comparison, ...]:
    """Compare completed campaigns by the rules above.

    Raises UsageError TOO_FEW_RESULTS, MIXED_CLASSES, MIXED_RUNNERS, MIXED_METHODS, MIXED_DATASETS or NOTHING_IN_COMMON.
    """
    if len(contenders) < 2:  # noqa: PLR2004 - a comparison needs two
        raise _refused("TOO_FEW_RESULTS", f"{len(contenders)} completed result", "at least two completed results")
    _refuse_mixed(contenders)
    groups: dict[tuple[str, str], list[tuple[Contender, PlanCell]]] = {}
    for one in contenders:
        for planned in one.campaign.plan.cells:
            if planned.cell_id in one.cells:
                groups.setdefault((planned.task, planned.scenario), []).append((one, planned))
    shared = [group for group in groups.values() if len(group) > 1]
    if not shared:
        raise _refused(
            "NOTHING_IN_COMMON", "no task and scenario that two results share", "at least one cell in common"
        )
    return tuple(_comparison(group) for group in shared)


def to_json(found: Iterable[Comparison]) -> list[Json]:
    """Return comparisons as JSON; figures keep the names and units under which they are signed."""
    return [
        {
            "task": one.task,
            "scenario": one.scenario,
            "batch": one.batch,
            "dataset": one.dataset,
            "results": [
                {
                    "name": row.contender,
                    "framework": row.framework,
                    "precision": row.precision,
                    "figures": dict(row.figures),
                    "quality": dict(row.committed),
                    "energyDifference": None if row.difference is None else _difference_json(row.difference),
                }
                for row in one.rows
            ],
        }
        for one in found
    ]


def _difference_json(found: Difference) -> Json:
    return {
        "share": decimal_string(found.share, _SHARE_PLACES),
        "halfWidth95": None if found.half_width is None else decimal_string(found.half_width, _SHARE_PLACES),
        "clear": found.clear,
    }


def _refuse_mixed(contenders: Sequence[Contender]) -> None:
    plans = [one.campaign.plan for one in contenders]
    classes = sorted({plan.hardware_class for plan in plans})
    if len(classes) > 1:
        raise _refused("MIXED_CLASSES", f"hardware classes {', '.join(classes)}", "results of one hardware class")
    runners = sorted({plan.runner.runner_id for plan in plans})
    if classes[0] in NO_MACHINE and len(runners) > 1:
        observed = f"class {classes[0]} on {', '.join(runners)}"
        raise _refused("MIXED_RUNNERS", observed, "one runner: this class says nothing of the machine")
    methods = sorted({plan.method for plan in plans})
    if len(methods) > 1:
        raise _refused("MIXED_METHODS", f"methods {', '.join(methods)}", "results of one version of the method")


def _comparison(group: Sequence[tuple[Contender, PlanCell]]) -> Comparison:
    first = group[0][1]
    for one, planned in group[1:]:
        if (planned.dataset.sha256, planned.points, planned.batch) != (first.dataset.sha256, first.points, first.batch):
            raise _refused(
                "MIXED_DATASETS",
                f"{one.name}: {planned.cell_id} on {planned.points} points of {planned.dataset.sha256[:16]}, batch "
                f"{planned.batch}",
                f"{first.points} points of {first.dataset.sha256[:16]}, batch {first.batch}, as the first result",
            )
    base = _costs(*group[0])
    return Comparison(
        task=first.task,
        scenario=first.scenario,
        batch=first.batch,
        dataset=first.dataset.name,
        rows=tuple(
            Row(
                contender=one.name,
                framework=one.campaign.plan.submission.framework,
                precision=planned.precision,
                figures=one.cells[planned.cell_id].recomputed,
                committed=one.cells[planned.cell_id].committed,
                difference=None if place == 0 else _difference(base, _costs(one, planned)),
            )
            for place, (one, planned) in enumerate(group)
        ),
    )


def _costs(one: Contender, planned: PlanCell) -> list[Fraction]:
    """Return Wh per 1,000 queries of each run, from the signed outcome; none where an energy is not stated."""
    outcome = one.cells[planned.cell_id].outcome
    runs = next((s.outcome.runs for s in one.campaign.sessions if s.statement_id == outcome), ())
    found = [_cost(run) for run in runs]
    return [cost for cost in found if cost is not None] if None not in found else []


def _cost(run: RunClaim) -> Fraction | None:
    energy = (run.figures or {}).get("itEnergy")
    millijoules = energy.get("mj") if isinstance(energy, Mapping) else None
    if not isinstance(millijoules, int) or run.samples < 1:
        return None
    return Fraction(millijoules, MJ_PER_J * J_PER_WH) * _QUERIES / run.samples


def _difference(base: Sequence[Fraction], other: Sequence[Fraction]) -> Difference | None:
    if not base or not other or statistics.mean(base) == 0:
        return None
    centre = statistics.mean(base)
    share = (statistics.mean(other) - centre) / centre
    width = statistics.difference_95(base, other)
    half_width = None if width is None else width / centre
    return Difference(share=share, half_width=half_width, clear=half_width is not None and abs(share) > half_width)


def metrics_of(row: Row) -> tuple[str, ...]:
    """Return the names of a row's metrics of quality, every one that has a value."""
    return tuple(name for name, value in row.committed.items() if name not in COUNTS and _is_number(value))


def _is_number(text: str) -> bool:
    try:
        from_decimal(text)
    except ValueError:
        return False
    return True


def _refused(code: str, observed: str, expected: str) -> UsageError:
    hint = "compare results of one runner or class, one method and one dataset; `jouleseal-verify inspect` shows them"
    return UsageError(code=code, observed=observed, expected=expected, hint=hint)
