"""Restating: what a signed result's energy means at another site, grid or year, without measuring again.

The energy is the one that is signed, Wh per 1,000 queries over its scope; channels that nobody measured are named
beside every figure. Only factors change, so every figure here is as (un)certain as they are: estimated, or simulated.
Formulas: protocol.methodology.footprint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from orchestrator.results import Campaign
from protocol.attestation.bundle import BundleFiles
from protocol.attestation.claims import CellResult
from protocol.attestation.jcs import Json
from protocol.attestation.predicates import CampaignResult, SessionOutcome
from protocol.errors import UsageError
from protocol.methodology.beside import SITE
from protocol.methodology.factors import FactorTable
from protocol.methodology.footprint import Amount, Footprint, Work, footprint
from protocol.methodology.site import SiteProfile, parse_site
from protocol.methodology.trace import CHANNELS
from protocol.units import J_PER_WH, decimal_string, from_decimal

QUERIES: Final = 1000
_ENERGY: Final = "itEnergyWhPer1000Queries"
_SIMULATED: Final = "simulated"
_ESTIMATED: Final = "estimated"
_DIGITS: Final = 4  # significant, on the screen and in JSON: yearly factors carry no more
_MOST_PLACES: Final = 24
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "carbon": "carbonGrams",
        "water": "waterLitres",
        "abiotic": "abioticKgSb",
        "primary": "primaryMj",
        "embodiedCarbon": "embodiedCarbonGrams",
        "embodiedAbiotic": "embodiedAbioticKgSb",
        "embodiedPrimary": "embodiedPrimaryMj",
        "cost": "cost",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restated:
    """One cell per 1,000 queries: its signed energy, the footprint as signed (None without a site), and as restated.

    `kind` is of every footprint figure; `missing` are the channels that nobody measured or estimated.
    """

    cell: str
    energy_wh: str
    scope: str
    kind: str
    missing: tuple[str, ...]
    signed: Footprint | None
    restated: Footprint


def signed_site(files: BundleFiles, campaign: Campaign) -> SiteProfile | None:
    """Return the site profile that was signed into the campaign's sessions, None where there was none.

    Raises VerificationError where it cannot be read.
    """
    digests = {item.sha256 for session in campaign.sessions for item in session.outcome.byproducts if item.name == SITE}
    return parse_site(files.evidence(min(digests))) if digests else None


def restate(
    campaign: Campaign, result: CampaignResult, table: FactorTable, site: SiteProfile, before: SiteProfile | None
) -> tuple[Restated, ...]:
    """Return every cell of a completed campaign, restated at a site by a table.

    `before` is the signed site, shown beside by the same table. Raises UsageError NO_ENERGY where a cell has none, and
    VerificationError NO_SUCH_REGION.
    """
    outcomes = {session.statement_id: session.outcome for session in campaign.sessions}
    found = []
    for cell in result.cells:
        work = _work(campaign, cell)
        found.append(
            Restated(
                cell=cell.cell_id,
                energy_wh=cell.recomputed[_ENERGY],
                scope=cell.recomputed["energyScope"],
                kind=_SIMULATED if cell.recomputed["energyKind"] == _SIMULATED else _ESTIMATED,
                missing=_missing(outcomes.get(cell.outcome), cell.recomputed["energyScope"]),
                signed=None if before is None else footprint(work, before, table),
                restated=footprint(work, site, table),
            )
        )
    return tuple(found)


def figure_name(name: str) -> str:
    """Return a footprint figure's name in JSON and CSV: the quantity, its unit, and what it is per."""
    return f"{_NAMES[name]}Per{QUERIES}Queries"


def number(value: Fraction) -> str:
    """Return a value to four significant digits, as a plain decimal."""
    places = 0
    while places < _MOST_PLACES and 0 < abs(value) * 10**places < 10 ** (_DIGITS - 1):
        places += 1
    return decimal_string(value, places)


def to_json(cells: Sequence[Restated]) -> list[Json]:
    """Return the cells as JSON: units in the names, absent figures as null with their reasons beside."""
    return [
        {
            "cell": cell.cell,
            "energyWhPer1000Queries": cell.energy_wh,
            "energyScope": cell.scope,
            "unmeasured": list(cell.missing),
            "kind": cell.kind,
            "asSigned": None if cell.signed is None else _footprint_json(cell.signed),
            "restated": _footprint_json(cell.restated),
        }
        for cell in cells
    ]


def _footprint_json(found: Footprint) -> Json:
    absent = {name: amount.reason for name, amount in found.amounts.items() if amount.value is None}
    noted = {name: amount.note for name, amount in found.amounts.items() if amount.note is not None}
    return {
        "figures": {figure_name(name): _value(amount) for name, amount in found.amounts.items()},
        "absent": dict(absent),
        "notes": {**noted, **({"grid": "; ".join(found.notes)} if found.notes else {})},
        "factors": {"id": found.table_id, "sha256": found.table_sha256},
        "region": found.region,
        "currency": found.currency,
    }


def _value(amount: Amount) -> str | None:
    return None if amount.value is None else number(amount.value)


def _work(campaign: Campaign, cell: CellResult) -> Work:
    figures: Mapping[str, str] = cell.recomputed
    if _ENERGY not in figures:
        raise UsageError(
            code="NO_ENERGY",
            observed=f"{cell.cell_id} states no energy",
            expected=f"a figure {_ENERGY}",
            hint="a result whose energy is unmeasured has no footprint either",
        )
    rate = from_decimal(figures["queriesPerSecond"])
    if rate <= 0:
        raise UsageError(
            code="NO_ENERGY",
            observed=f"{cell.cell_id} states {figures['queriesPerSecond']} queries per second",
            expected="a rate above zero",
            hint="verify the bundle with jouleseal-verify",
        )
    devices = campaign.plan.devices
    accelerator = campaign.plan.hardware_class.rpartition("-x")[0] or campaign.plan.hardware_class
    return Work(
        joules=from_decimal(figures[_ENERGY]) * J_PER_WH,
        seconds=QUERIES / rate,
        accelerator=accelerator if devices else None,
        accelerators=len(devices),
    )


def _missing(outcome: SessionOutcome | None, scope: str) -> tuple[str, ...]:
    """Return the channels that are unmeasured; those that do not apply (a sealed sandbox's network) are not missing."""
    counted = scope.split("+")
    kinds: dict[str, str] = {}
    for run in () if outcome is None else outcome.runs:
        channels = (run.figures or {}).get("energyMj")
        if isinstance(channels, Mapping):
            kinds |= {name: str(found.get("kind")) for name, found in channels.items() if isinstance(found, Mapping)}
    return tuple(name for name in CHANNELS if name not in counted and kinds.get(name) != "not-applicable")
