"""Factor tables: what a kilowatt-hour and a piece of hardware cost elsewhere, dated, sourced, addressed by digest.

A figure of energy is measured here; carbon, water and what went into making the hardware are somebody else's numbers.
They are never constants of this software: they stand in a table, the table's id and digest stand beside every figure
made with it, and the same measurement is restated with another table, region or year without measuring again.

A table is strict JSON; numbers are decimal strings, every field is required:
    format    "jouleseal-factors/1"
    id        its name, such as "ecologits-0.11.3"
    date      YYYY-MM-DD, the day on which the values were read from the source
    source    where all of it is from, to the version
    licence   of the source
    grid      object of at most 512 regions by code (ISO 3166-1 alpha-3, or WOR and other names of the source), each
        carbonGramsPerKwh     gCO2e per kWh of electricity
        carbonKind            "average" of the grid's production, or "marginal"
        waterLitresPerKwh     litres withdrawn and not returned in making a kWh
        abioticKgSbPerKwh     abiotic depletion of elements, kg antimony equivalent
        primaryMjPerKwh       primary energy
        notes                 at most 8 lines: what is not this region's own (a world average, say)
    embodied  object of at most 64 kinds of hardware, each
        carbonKg, abioticKgSb, primaryMj    of making one, and bringing it
        source                              of these three
"server" is a server without its accelerators; an accelerator goes by its hardware class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from protocol.attestation.fields import Fields
from protocol.attestation.jcs import loads
from protocol.attestation.refusal import refuse
from protocol.methodology.wall_calibration import day
from protocol.units import from_decimal

FACTORS_FORMAT: Final = "jouleseal-factors/1"
MAX_FACTORS_BYTES: Final = 1 << 20
MAX_REGIONS: Final = 512
MAX_HARDWARE: Final = 64
MAX_NOTES: Final = 8
CARBON_KINDS: Final = ("average", "marginal")
SERVER: Final = "server"  # without its accelerators


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What a kilowatt-hour of a region's electricity costs; see the module for the units."""

    carbon_grams: Fraction
    carbon_kind: str
    water_litres: Fraction
    abiotic_kg_sb: Fraction
    primary_mj: Fraction
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embodied:
    """What making one piece of hardware cost: kg CO2e, kg Sb equivalent, MJ of primary energy."""

    carbon_kg: Fraction
    abiotic_kg_sb: Fraction
    primary_mj: Fraction
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorTable:
    """A table as it was read; `sha256` is the digest of its bytes, by which a figure names it."""

    table_id: str
    date: date
    source: str
    licence: str
    grid: Mapping[str, Grid]
    embodied: Mapping[str, Embodied]
    sha256: str

    def region(self, code: str) -> Grid:
        """Return a region's factors; raises VerificationError NO_SUCH_REGION, which lists what there is."""
        if code not in self.grid:
            near = [known for known in sorted(self.grid) if known[:1] == code[:1]]
            raise refuse(
                "NO_SUCH_REGION",
                observed=f"region {code!r}",
                expected=f"one of the {len(self.grid)} regions of {self.table_id}, such as {', '.join(near[:12])}",
                hint="name a region of the table, or give a table that has this one",
            )
        return self.grid[code]


def parse_factors(data: bytes) -> FactorTable:
    """Read a table; raises VerificationError (BAD_FIELD, UNKNOWN_FIELD, MALFORMED_JSON, JSON_LIMIT)."""
    fields = Fields(loads(data, limit=MAX_FACTORS_BYTES), "factors")
    fields.one_of("format", (FACTORS_FORMAT,))
    grid = fields.open_map("grid", limit=MAX_REGIONS)
    hardware = fields.open_map("embodied", limit=MAX_HARDWARE)
    found = FactorTable(
        table_id=fields.text("id"),
        date=day(fields, "date"),
        source=fields.text("source"),
        licence=fields.text("licence"),
        grid=MappingProxyType({code: _grid(grid.child(code)) for code in grid.names()}),
        embodied=MappingProxyType({name: _embodied(hardware.child(name)) for name in hardware.names()}),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    fields.done()
    return found


def _grid(fields: Fields) -> Grid:
    found = Grid(
        carbon_grams=amount(fields, "carbonGramsPerKwh"),
        carbon_kind=fields.one_of("carbonKind", CARBON_KINDS),
        water_litres=amount(fields, "waterLitresPerKwh"),
        abiotic_kg_sb=amount(fields, "abioticKgSbPerKwh"),
        primary_mj=amount(fields, "primaryMjPerKwh"),
        notes=fields.texts("notes", limit=MAX_NOTES),
    )
    fields.done()
    return found


def _embodied(fields: Fields) -> Embodied:
    found = Embodied(
        carbon_kg=amount(fields, "carbonKg"),
        abiotic_kg_sb=amount(fields, "abioticKgSb"),
        primary_mj=amount(fields, "primaryMj"),
        source=fields.text("source"),
    )
    fields.done()
    return found


def amount(fields: Fields, name: str) -> Fraction:
    """Read a decimal string that is not negative."""
    text = fields.decimal(name)
    value = from_decimal(text)
    if value < 0:
        raise refuse("BAD_FIELD", observed=f"{fields.at(name)}: {text[:40]}", expected="a number that is not negative")
    return value
