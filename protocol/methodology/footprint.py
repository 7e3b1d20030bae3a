"""Footprint: what a measured energy costs elsewhere, from a named factor table and the operator's site profile.

Rules (all per some stretch of work that took `joules` of IT energy and kept the machine for `seconds`)
1. E = joules / 3.6e6 kWh of IT energy, over its scope. What is Unmeasured is in no figure and is named beside each.
2. Carbon = E x PUE x grid carbon; whether the grid's factor is an average or marginal is said.
3. Water = E x (WUE + PUE x grid water). WUE is defined per kWh of *IT* energy (The Green Grid, White Paper 35), so
   it is not multiplied by PUE; tools that start from E x PUE are wrong by exactly PUE.
4. Abiotic depletion and primary energy of use = E x PUE x the grid's.
5. Embodied = seconds x (server x used / held + used x accelerator) / (lifetime x utilisation), `used` of the `held`
   accelerators of a server; without accelerators the whole server. Hardware older than its lifetime is written off: 0,
   and said.
6. Cost = E x PUE x price.
7. A figure whose factor, region or profile entry is not known is absent with its reason, and never zero.
8. Everything here is estimated, however well E was measured (simulated where E is): factors are yearly means of others.
Source of 2 to 5: EcoLogits 0.11.3 (ecologits/impacts/llm.py); a test holds rule 3 to it, and to 0.9.1 but for PUE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from protocol.methodology.factors import SERVER, Embodied, FactorTable, Grid
from protocol.methodology.site import Hardware, SiteProfile

JOULES_PER_KWH: Final = 3_600_000
SECONDS_PER_YEAR: Final = 365 * 24 * 3600  # as EcoLogits counts them
GRAMS_PER_KG: Final = 1000

UNITS: Mapping[str, str] = MappingProxyType(
    {
        "carbon": "gCO2e",
        "water": "L",
        "abiotic": "kgSbeq",
        "primary": "MJ",
        "embodiedCarbon": "gCO2e",
        "embodiedAbiotic": "kgSbeq",
        "embodiedPrimary": "MJ",
        "cost": "",  # the profile's currency
    }
)
"""The names of a footprint's figures, in the order in which they are shown, and their units."""

NO_REGION: Final = "the site profile names no region"
NO_WUE: Final = "the site profile has no WUE"
NO_HARDWARE: Final = "the site profile says nothing of the hardware's lifetime"
NO_PRICE: Final = "the site profile has no price"
WRITTEN_OFF: Final = "the hardware is older than its lifetime: written off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is accounted for: its IT energy, how long it kept the machine, and how many accelerators of which class."""

    joules: Fraction
    seconds: Fraction
    accelerator: str | None = None
    accelerators: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """One figure, or why there is none: `value` None has a `reason`. `note` qualifies a value."""

    value: Fraction | None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """All figures of UNITS, by name, with what they stand on: the table, the region, and the kind of its carbon."""

    amounts: Mapping[str, Amount]
    table_id: str
    table_sha256: str
    region: str | None
    carbon_kind: str | None
    currency: str | None
    notes: tuple[str, ...]


def footprint(work: Work, site: SiteProfile, table: FactorTable) -> Footprint:
    """Return the footprint of some work; raises VerificationError NO_SUCH_REGION where the table lacks the region."""
    grid = None if site.region is None else table.region(site.region.code)
    kwh = work.joules / JOULES_PER_KWH
    amounts = {**dict(_use(kwh, site, grid)), **_embodied(work, site.hardware, table), "cost": _cost(kwh, site)}
    return Footprint(
        amounts=MappingProxyType({name: amounts[name] for name in UNITS}),
        table_id=table.table_id,
        table_sha256=table.sha256,
        region=None if site.region is None else site.region.code,
        carbon_kind=None if grid is None else grid.carbon_kind,
        currency=None if site.price is None else site.price.currency,
        notes=() if grid is None else grid.notes,
    )


def water_litres(kwh: Fraction, *, pue: Fraction, wue: Fraction, grid_litres: Fraction) -> Fraction:
    """Return the litres of rule 3 for IT energy in kWh; `wue` and `grid_litres` are per kWh."""
    return kwh * (wue + pue * grid_litres)


def _use(kwh: Fraction, site: SiteProfile, grid: Grid | None) -> Iterator[tuple[str, Amount]]:
    """Yield the figures of use, by name: rules 2 to 4."""
    if grid is None:
        for name in ("carbon", "water", "abiotic", "primary"):
            yield name, Amount(value=None, reason=NO_REGION)
        return
    at_meter = kwh * site.pue
    yield "carbon", Amount(value=at_meter * grid.carbon_grams, note=grid.carbon_kind)
    if site.wue is None:
        yield "water", Amount(value=None, reason=NO_WUE)
    else:
        litres = water_litres(kwh, pue=site.pue, wue=site.wue.litres_per_kwh, grid_litres=grid.water_litres)
        yield "water", Amount(value=litres)
    yield "abiotic", Amount(value=at_meter * grid.abiotic_kg_sb)
    yield "primary", Amount(value=at_meter * grid.primary_mj)


def _embodied(work: Work, hardware: Hardware | None, table: FactorTable) -> dict[str, Amount]:
    names = ("embodiedCarbon", "embodiedAbiotic", "embodiedPrimary")
    parts = _parts(work, hardware, table)
    if isinstance(parts, str) or hardware is None:
        return dict.fromkeys(names, Amount(value=None, reason=parts if isinstance(parts, str) else NO_HARDWARE))
    if hardware.age_years > hardware.lifetime_years:
        return dict.fromkeys(names, Amount(value=Fraction(0), note=WRITTEN_OFF))
    share = work.seconds / (hardware.lifetime_years * SECONDS_PER_YEAR * hardware.utilisation)
    server, device = parts
    of_server = Fraction(work.accelerators, hardware.accelerators) if work.accelerators else Fraction(1)
    carbon = of_server * server.carbon_kg + work.accelerators * device.carbon_kg
    abiotic = of_server * server.abiotic_kg_sb + work.accelerators * device.abiotic_kg_sb
    primary = of_server * server.primary_mj + work.accelerators * device.primary_mj
    values = (share * carbon * GRAMS_PER_KG, share * abiotic, share * primary)
    return {name: Amount(value=value) for name, value in zip(names, values, strict=True)}


def _parts(work: Work, hardware: Hardware | None, table: FactorTable) -> tuple[Embodied, Embodied] | str:
    """Return what the server and one of its accelerators cost to make, or why that is not known."""
    if hardware is None:
        return NO_HARDWARE
    if work.accelerators > hardware.accelerators:
        return f"{work.accelerators} accelerators were used of a server that holds {hardware.accelerators}"
    for name in (SERVER, *([work.accelerator] if work.accelerators and work.accelerator else [])):
        if name not in table.embodied:
            return f"{table.table_id} has nothing on {name}"
    server = table.embodied[SERVER]
    return server, table.embodied[work.accelerator] if work.accelerators and work.accelerator else server


def _cost(kwh: Fraction, site: SiteProfile) -> Amount:
    if site.price is None:
        return Amount(value=None, reason=NO_PRICE)
    return Amount(value=kwh * site.pue * site.price.per_kwh)
