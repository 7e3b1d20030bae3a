"""`jouleseal restate BUNDLE`: a signed result's carbon, water, embodied impact and cost, by named factors, anywhere.

It repeats the bundle's energy and verifies nothing: `jouleseal-verify` does.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.rating.restate import QUERIES, Restated, number, restate, signed_site, to_json
from orchestrator.rating.tables import load_table
from orchestrator.results import completed, read_campaign
from protocol.attestation.bundle import read_bundle
from protocol.attestation.jcs import Json
from protocol.errors import UsageError
from protocol.methodology.factors import FactorTable
from protocol.methodology.footprint import UNITS, Footprint
from protocol.methodology.site import MAX_PUE, MAX_WUE, Region, SiteProfile, WaterUse, parse_site
from protocol.units import from_decimal

_SAID = "the command line"


def run(arguments: argparse.Namespace) -> int:
    """Print the footprint of every cell as signed and as restated, and what changed."""
    files = read_bundle(arguments.bundle)
    campaign = read_campaign(files, arguments.campaign)
    _, result = completed(campaign, arguments.campaign)
    before = signed_site(files, campaign)
    site = _site(arguments, before)
    table = load_table(arguments.factors)
    cells = restate(campaign, result, table, site, before)
    if arguments.json:
        document: dict[str, Json] = {
            "model": campaign.plan.submission.model,
            "site": _site_json(site),
            "signedSite": None if before is None else _site_json(before),
            "cells": to_json(cells),
            "verified": False,
        }
        print(json.dumps(document, indent=2))
    else:
        _show(Console(), cells, site, before, table)
    return 0


def _site(arguments: argparse.Namespace, before: SiteProfile | None) -> SiteProfile:
    """Return the profile to restate for: the one given, else the signed one, with what the command line overrides."""
    site = before if arguments.site is None else parse_site(_read(arguments.site))
    pue = None if arguments.pue is None else _decimal("--pue", arguments.pue, Fraction(1), MAX_PUE)
    if site is None and pue is None:
        raise UsageError(
            code="NO_SITE",
            observed="a bundle without a site profile, and neither --site nor --pue",
            expected="a PUE, which has no default",
            hint="add --pue 1.2 --grid FRA, or --site FILE; docs/footprint.md has the profile's format",
        )
    today = datetime.now(UTC).date()
    changed = site or SiteProfile(name=_SAID, pue=Fraction(1), pue_text="1", source=_SAID, date=today, sha256="")
    return _overridden(changed, arguments, pue, today)


def _overridden(site: SiteProfile, arguments: argparse.Namespace, pue: Fraction | None, today: date) -> SiteProfile:
    region, water = site.region, site.wue
    if arguments.grid is not None:
        region = Region(code=arguments.grid, source=_SAID, date=today)
    if arguments.wue is not None:
        litres = _decimal("--wue", arguments.wue, Fraction(0), MAX_WUE)
        water = WaterUse(litres_per_kwh=litres, source=_SAID, date=today)
    return SiteProfile(
        name=site.name,
        pue=site.pue if pue is None else pue,
        pue_text=site.pue_text if pue is None else arguments.pue,
        source=site.source if pue is None else _SAID,
        date=site.date if pue is None else today,
        sha256=site.sha256,
        region=region,
        wue=water,
        hardware=site.hardware,
        price=site.price,
    )


def _decimal(flag: str, text: str, least: Fraction, most: Fraction) -> Fraction:
    try:
        value = from_decimal(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise UsageError(
            code="BAD_OPTION",
            observed=f"{flag} {text}",
            expected=f"a number from {least} to {most}",
            hint="write it as a plain decimal, such as 1.2",
        )
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            code="SITE_UNREADABLE",
            observed=f"{path}: {error.strerror}",
            expected="a site profile in a readable file",
            hint="docs/footprint.md has the profile's format",
        ) from error


def _site_json(site: SiteProfile) -> Json:
    return {
        "name": site.name,
        "pue": site.pue_text,
        "region": None if site.region is None else site.region.code,
        "wueLitresPerKwh": None if site.wue is None else number(site.wue.litres_per_kwh),
        "sha256": site.sha256 or None,
    }


def _show(
    console: Console, cells: tuple[Restated, ...], site: SiteProfile, before: SiteProfile | None, table: FactorTable
) -> None:
    console.print(f"factors   {table.table_id}, read {table.date}, sha256 {table.sha256[:16]}", highlight=False)
    console.print(f"restated  {_words(site)}", highlight=False)
    console.print(f"signed    {_words(before) if before else 'no site profile was signed'}", highlight=False)
    for cell in cells:
        missing = f"; unmeasured: {', '.join(cell.missing)}" if cell.missing else ""
        shown = Table(title=f"{cell.cell}: {cell.energy_wh} Wh per {QUERIES:,} queries ({cell.scope}{missing})")
        shown.add_column(f"per {QUERIES:,} queries, {cell.kind}")
        if cell.signed is not None:
            shown.add_column("as signed", justify="right")
        shown.add_column("restated", justify="right")
        for name in UNITS:
            columns = [] if cell.signed is None else [_shown(cell.signed, name)]
            shown.add_row(f"{name} {_unit(cell.restated, name)}".rstrip(), *columns, _shown(cell.restated, name))
        console.print(shown)
    for reason, names in _absent(cells[0].restated).items():
        console.print(f"  absent: {', '.join(names)}: {reason}", highlight=False)
    if cells[0].restated.notes:
        console.print(f"  of this grid: {'; '.join(cells[0].restated.notes)}", highlight=False)
    console.print(
        "Only factors changed; the energy is the signed one. Nothing was verified: jouleseal-verify does that."
    )


def _absent(found: Footprint) -> dict[str, list[str]]:
    """Return the absent figures by the reason why; a site's profile is the same for every cell."""
    reasons: dict[str, list[str]] = {}
    for name, amount in found.amounts.items():
        if amount.reason is not None:
            reasons.setdefault(amount.reason, []).append(name)
    return reasons


def _words(site: SiteProfile) -> str:
    water = "unknown" if site.wue is None else f"{number(site.wue.litres_per_kwh)} L/kWh"
    region = "unknown" if site.region is None else site.region.code
    return f"{site.name}: PUE {site.pue_text}, grid {region}, WUE {water}"


def _unit(found: Footprint, name: str) -> str:
    return UNITS[name] or found.currency or ""


def _shown(found: Footprint, name: str) -> str:
    amount = found.amounts[name]
    if amount.value is None:
        return "–"  # noqa: RUF001 - an en dash is how "no value" is written
    return number(amount.value) + (f" ({amount.note})" if amount.note else "")
