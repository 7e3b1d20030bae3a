"""The total by PUE: IT energy times the site's power usage effectiveness, with its scope named.

Rules
1. Total = (GPU + CPU + DRAM + network + storage) x PUE. A term is Measured, Estimated, Simulated, or NotApplicable and
   then absent. A term that is Unmeasured is missing: the sum is then of the named scope only, and is no total.
2. Where a wall meter read the whole node, node x PUE is a total under its own name: `node` is not added to its parts.
3. PUE comes from the operator's site profile, with source and date; there is no default. A PUE of 1 must be said.
4. PUE (ISO/IEC 30134-2) is a site's energy over its IT energy, as a rule of a year: nobody measured it in this window.
   The total is therefore estimated, however well the IT energy was measured, or simulated where a term is. Its doubt
   is that of the IT energy times PUE, and says nothing of PUE's own.

The profile is strict JSON:
    format  "jouleseal-site/1"
    name    the site
    pue     decimal string, 1 to 5
    source  where the PUE is from: a report, a meter, a contract
    date    YYYY-MM-DD, of the source
and, each where it is known, with the source and date of its own:
    region    {code, source, date}: whose electricity this is, as a factor table names it (`factors`)
    wue       {litresPerKwh, source, date}: the site's own water, per kWh of *IT* energy (The Green Grid, WP 35)
    hardware  {lifetimeYears, ageYears, utilisation, accelerators, source, date}: for what its making costs. Years and
              the share of time in use (above 0, at most 1) are decimal strings; `accelerators` is how many the server
              holds, 0 for none
    price     {perKwh, currency, source, date}: of a kWh at the meter; the currency by its three letters
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

from protocol.attestation.fields import Fields
from protocol.attestation.jcs import loads
from protocol.attestation.refusal import refuse
from protocol.methodology import energy
from protocol.methodology.energy import NotApplicable, Reading, Unmeasured
from protocol.methodology.trace import CHANNELS
from protocol.methodology.wall_calibration import bounded, day, positive
from protocol.methodology.wall_log import NODE

SITE_FORMAT: Final = "jouleseal-site/1"
MAX_SITE_BYTES: Final = 65_536
MAX_PUE: Final = Fraction(5)  # a site that wastes four times its IT energy is a slip of the pen
MAX_WUE: Final = Fraction(100)  # litres per kWh: evaporating water takes 1.5 litres away with a kWh of heat
MAX_YEARS: Final = Fraction(50)
MAX_ACCELERATORS: Final = 1024
MAX_PRICE: Final = Fraction(1_000_000)  # of whatever currency
_CURRENCY: Final = 3  # letters
NO_PROFILE: Final = "no site profile was given, and PUE has no default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """Where a value of the profile is from, and of which day."""

    source: str
    date: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Region(Sourced):
    """Whose electricity the site uses, by the code of a factor table."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterUse(Sourced):
    """The site's water usage effectiveness, in litres per kWh of IT energy."""

    litres_per_kwh: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware(Sourced):
    """How long the hardware is kept and how much of the time in use; `accelerators` is how many a server holds."""

    lifetime_years: Fraction
    age_years: Fraction
    utilisation: Fraction
    accelerators: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(Sourced):
    """What a kWh costs at the meter."""

    per_kwh: Fraction
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteProfile:
    """Where the node stands: its PUE (as written, and as a number), and where that is from."""

    name: str
    pue: Fraction
    pue_text: str
    source: str
    date: date
    sha256: str
    region: Region | None = None
    wue: WaterUse | None = None
    hardware: Hardware | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTotal:
    """A total by PUE, or why there is none.

    `name` is `total` for the sum of the parts and `node-total` for the wall meter's. `joules` is IT energy x PUE over
    the channels of `scope`; `uncertainty` is expanded (k = 2), None where a term states none. It is *the* total only
    if `complete`: otherwise channels are `missing`, and the figure may only be shown with its scope.
    """

    name: str
    kind: str
    joules: Fraction | None
    uncertainty: Fraction | None
    scope: tuple[str, ...]
    missing: tuple[str, ...]
    absent: tuple[str, ...]
    pue: str | None
    reason: str

    @property
    def complete(self) -> bool:
        """Whether this is a total, and not a sum over a part of the node."""
        return self.joules is not None and not self.missing


def parse_site(data: bytes) -> SiteProfile:
    """Read a profile; raises VerificationError (BAD_FIELD, UNKNOWN_FIELD, MALFORMED_JSON, JSON_LIMIT)."""
    fields = Fields(loads(data, limit=MAX_SITE_BYTES), "site")
    fields.one_of("format", (SITE_FORMAT,))
    found = SiteProfile(
        name=fields.text("name"),
        pue=bounded(fields, "pue", Fraction(1), MAX_PUE),
        pue_text=fields.decimal("pue"),
        source=fields.text("source"),
        date=day(fields, "date"),
        sha256=hashlib.sha256(data).hexdigest(),
        region=_region(fields.child("region")) if fields.has("region") else None,
        wue=_water_use(fields.child("wue")) if fields.has("wue") else None,
        hardware=_hardware(fields.child("hardware")) if fields.has("hardware") else None,
        price=_price(fields.child("price")) if fields.has("price") else None,
    )
    fields.done()
    return found


def _region(fields: Fields) -> Region:
    found = Region(code=fields.text("code"), source=fields.text("source"), date=day(fields, "date"))
    fields.done()
    return found


def _water_use(fields: Fields) -> WaterUse:
    found = WaterUse(
        litres_per_kwh=bounded(fields, "litresPerKwh", Fraction(0), MAX_WUE),
        source=fields.text("source"),
        date=day(fields, "date"),
    )
    fields.done()
    return found


def _hardware(fields: Fields) -> Hardware:
    found = Hardware(
        lifetime_years=positive(fields, "lifetimeYears", MAX_YEARS),
        age_years=bounded(fields, "ageYears", Fraction(0), MAX_YEARS),
        utilisation=positive(fields, "utilisation", Fraction(1)),
        accelerators=fields.integer("accelerators", maximum=MAX_ACCELERATORS),
        source=fields.text("source"),
        date=day(fields, "date"),
    )
    fields.done()
    return found


def _price(fields: Fields) -> Price:
    currency = fields.text("currency")
    if not (len(currency) == _CURRENCY and currency.isascii() and currency.isalpha() and currency.isupper()):
        raise refuse(
            "BAD_FIELD", observed=f"{fields.at('currency')}: {currency[:40]!r}", expected="three capitals (ISO 4217)"
        )
    found = Price(
        per_kwh=bounded(fields, "perKwh", Fraction(0), MAX_PRICE),
        currency=currency,
        source=fields.text("source"),
        date=day(fields, "date"),
    )
    fields.done()
    return found


def total(readings: Mapping[str, Reading], profile: SiteProfile | None) -> SiteTotal:
    """Return rule 1's total over the five channels; a channel that is not in `readings` counts as missing."""
    parts = {name: readings.get(name, Unmeasured(reason="not read")) for name in CHANNELS}
    return _times_pue("total", parts, profile)


def node_total(node: Reading, profile: SiteProfile | None) -> SiteTotal:
    """Return rule 2's total of a node that a wall meter read."""
    return _times_pue("node-total", {NODE: node}, profile)


def _times_pue(name: str, parts: Mapping[str, Reading], profile: SiteProfile | None) -> SiteTotal:
    missing = _names(parts, Unmeasured)
    absent = _names(parts, NotApplicable)
    scope = tuple(part for part in parts if part not in {*missing, *absent})
    it_energy = energy.total(parts[part] for part in scope)
    joules: Fraction | None = None
    uncertainty: Fraction | None = None
    if profile is not None and not isinstance(it_energy, Unmeasured | NotApplicable):
        joules = it_energy.joules * profile.pue
        doubt: Fraction | None = getattr(it_energy, "uncertainty", None)
        uncertainty = None if doubt is None else doubt * profile.pue
    return SiteTotal(
        name=name,
        kind=_kind(it_energy, joules),
        joules=joules,
        uncertainty=uncertainty,
        scope=scope,
        missing=missing,
        absent=absent,
        pue=None if profile is None else profile.pue_text,
        reason=_reason(scope, missing, profile),
    )


def _kind(it_energy: Reading, joules: Fraction | None) -> str:
    if joules is None:
        return Unmeasured.kind
    return it_energy.kind if it_energy.kind == "simulated" else energy.Estimated.kind


def _names(parts: Mapping[str, Reading], kind: type) -> tuple[str, ...]:
    return tuple(name for name, reading in parts.items() if isinstance(reading, kind))


def _reason(scope: Iterable[str], missing: Iterable[str], profile: SiteProfile | None) -> str:
    if profile is None:
        return NO_PROFILE
    if not tuple(scope):
        return "no channel was read"
    left = ", ".join(missing)
    return f"{left}: unmeasured, so this is the sum over the named scope only" if left else ""
