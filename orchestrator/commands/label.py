"""`jouleseal label BUNDLE`: draw the label of one result.

A label repeats what the bundle says; it verifies nothing. Its QR code leads to the statement that can be verified.
"""

from __future__ import annotations

import argparse
import json

from orchestrator.disk import make_folder, write_atomic
from orchestrator.label import LabelFacts, LabelRow, code_text, render
from orchestrator.results import Campaign, completed, read_campaign
from protocol.attestation.bundle import read_bundle
from protocol.attestation.claims import COUNTS
from protocol.attestation.predicates import CampaignResult
from protocol.units import decimal_string, from_decimal

LABEL_TIER = "T1"  # the highest tier that this version's domains reach
_FIGURE = "itEnergyWhPer1000Queries"
_SIGNIFICANT = 3
_PLACES = 9  # as many as the figures have


def run(arguments: argparse.Namespace) -> int:
    """Write the label of the result that `--campaign` counts."""
    campaign = read_campaign(read_bundle(arguments.bundle), arguments.campaign)
    result_id, result = completed(campaign, arguments.campaign)
    make_folder(arguments.out.parent)
    write_atomic(arguments.out, render(_facts(campaign, result_id, result)).encode())
    said = {"label": str(arguments.out), "code": code_text(result_id), "model": campaign.plan.submission.model}
    print(json.dumps(said, indent=2) if arguments.json else f"label   {arguments.out}   {code_text(result_id)}")
    return 0


def _facts(campaign: Campaign, result_id: str, result: CampaignResult) -> LabelFacts:
    plan = campaign.plan
    planned = {cell.cell_id: cell for cell in plan.cells}
    rows = []
    for cell in result.cells:
        asked = planned[cell.cell_id]
        quality = ", ".join(f"{name} {_short(value)}" for name, value in cell.committed.items() if name not in COUNTS)
        interval = cell.recomputed.get(f"{_FIGURE}Interval95")
        energy, spread = _rounded(cell.recomputed[_FIGURE], interval)
        rows.append(
            LabelRow(
                task=asked.task,
                setting=f"{asked.scenario} (batch {asked.batch}), {asked.precision}",
                energy=energy,
                interval=spread,
                kind=cell.recomputed["energyKind"],
                scope=cell.recomputed["energyScope"],
                quality=f"{quality} (committed)",
            )
        )
    finished = max(session.outcome.finished_on for session in campaign.sessions)
    return LabelFacts(
        vendor=plan.submission.vendor,
        model=f"{plan.submission.model} {plan.submission.model_version}",
        date=finished[:10],
        hardware_class=plan.hardware_class,
        method=plan.method,
        tier=LABEL_TIER,
        official=plan.official,
        certifiable=result.certifiable,
        rows=tuple(rows),
        statement=result_id,
    )


def _rounded(energy: str, interval: str | None) -> tuple[str, str | None]:
    """Return an energy to three significant digits, and its interval to as many places."""
    size = from_decimal(energy)
    places = 0
    while places < _PLACES and 0 < size * 10**places < 10 ** (_SIGNIFICANT - 1):
        places += 1
    spread = None if interval is None else decimal_string(from_decimal(interval), places)
    return decimal_string(from_decimal(energy), places), spread


def _short(value: str) -> str:
    return decimal_string(from_decimal(value), _SIGNIFICANT)
