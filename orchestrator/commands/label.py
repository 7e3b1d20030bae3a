"""`jouleseal label BUNDLE`: draw the label of one result.

A label repeats what the bundle says; it verifies nothing. Its QR code leads to the statement that can be verified.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from orchestrator.disk import make_folder, write_atomic
from orchestrator.label import LabelFacts, LabelRow, code_text, render
from protocol.attestation.bundle import read_bundle
from protocol.attestation.predicates import CampaignPlan, CampaignResult, SessionOutcome, read_predicate
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.attestation.statement import parse_statement
from protocol.errors import UsageError
from protocol.units import decimal_string, from_decimal

LABEL_TIER = "T1"  # the highest tier that this version's domains reach
_FIGURE = "itEnergyWhPer1000Queries"
_SIGNIFICANT = 3
_PLACES = 9  # as many as the figures have


def run(arguments: argparse.Namespace) -> int:
    """Write the label of the result that `--campaign` counts."""
    plan, outcomes, result_id, result = _read(arguments.bundle, arguments.campaign)
    if result.status != "completed":
        raise UsageError(
            code="NO_RESULT",
            observed=f"campaign {arguments.campaign} failed with {result.failure.code if result.failure else '?'}",
            expected="a completed campaign",
            hint="a failed campaign has no figures, and therefore no label",
        )
    make_folder(arguments.out.parent)
    write_atomic(arguments.out, render(_facts(plan, outcomes, result_id, result)).encode())
    said = {"label": str(arguments.out), "code": code_text(result_id), "model": plan.submission.model}
    print(json.dumps(said, indent=2) if arguments.json else f"label   {arguments.out}   {code_text(result_id)}")
    return 0


def _read(path: Path, number: int) -> tuple[CampaignPlan, Mapping[str, SessionOutcome], str, CampaignResult]:
    files = read_bundle(path)
    plans: list[tuple[str, CampaignPlan]] = []
    outcomes: dict[str, SessionOutcome] = {}
    results: list[tuple[str, CampaignResult]] = []
    for item in files.statements():
        envelope = parse_sigstore_bundle(item.data).envelope
        match read_predicate(parse_statement(envelope.payload)):
            case CampaignPlan() as plan:
                plans.append((envelope.statement_id, plan))
            case SessionOutcome() as outcome:
                outcomes[envelope.statement_id] = outcome
            case CampaignResult() as result:
                results.append((envelope.statement_id, result))
            case _:
                continue
    if number > len(results):
        raise UsageError(
            code="NO_SUCH_CAMPAIGN",
            observed=f"campaign {number} of a bundle with {len(results)}",
            expected=f"a number from 1 to {len(results)}",
            hint="`jouleseal-verify inspect` lists what is in the bundle",
        )
    result_id, result = results[number - 1]
    plan = dict(plans)[result.campaign]
    return plan, outcomes, result_id, result


def _facts(
    plan: CampaignPlan, outcomes: Mapping[str, SessionOutcome], result_id: str, result: CampaignResult
) -> LabelFacts:
    planned = {cell.cell_id: cell for cell in plan.cells}
    rows = []
    for cell in result.cells:
        asked = planned[cell.cell_id]
        quality = ", ".join(
            f"{name} {_short(value)}" for name, value in cell.committed.items() if name != "sampleErrors"
        )
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
    finished = max(outcome.finished_on for outcome in outcomes.values() if outcome.campaign == result.campaign)
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
