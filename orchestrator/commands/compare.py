"""`jouleseal compare BUNDLE...`: the completed results of bundles beside each other, on one hardware class.

It repeats what the bundles say and verifies nothing: `jouleseal-verify` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.rating.compare import ENERGY, Comparison, Contender, Row, compare, contender, metrics_of, to_json
from orchestrator.rating.restate import number
from orchestrator.results import read_campaigns
from protocol.attestation.bundle import read_bundle
from protocol.units import MIB, from_decimal

_PERCENT = 100
_FIGURES = {
    "queries / s": "queriesPerSecond",
    "latency mean ms": "latencyMeanMs",
    "latency p50 ms": "latencyP50Ms",
    "latency p90 ms": "latencyP90Ms",
    "latency p99 ms": "latencyP99Ms",
}
_DASH = "–"  # noqa: RUF001 - an en dash is how "no value" is written


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison of all completed results of the bundles, in the order given."""
    found = compare([one for path in arguments.bundles for one in _contenders(path)])
    if arguments.json:
        print(json.dumps({"comparisons": to_json(found), "verified": False}, indent=2))
        return 0
    console = Console()
    for one in found:
        _show(console, one)
    console.print("Nothing was verified: jouleseal-verify does that.")
    return 0


def _contenders(path: Path) -> Iterator[Contender]:
    for campaign in read_campaigns(read_bundle(path)):
        if campaign.result is not None and campaign.result.status == "completed":
            yield contender(campaign)


def _show(console: Console, found: Comparison) -> None:
    table = Table(title=f"{found.task}, {found.scenario} (batch {found.batch}), {found.dataset}", show_lines=False)
    table.add_column("")
    for row in found.rows:
        table.add_column(row.contender, justify="right", overflow="fold")
    for name, values in _lines(found.rows):
        table.add_row(name, *values)
    console.print(table)
    kinds = {(row.figures.get("energyKind"), row.figures.get("energyScope")) for row in found.rows}
    said = "; ".join(f"{kind} ({scope})" for kind, scope in sorted(kinds, key=str))
    console.print(f"  energy is {said}; ± are 95 % intervals over the runs\n", highlight=False)


def _lines(rows: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    """Yield the table's lines: a name with its unit, and what each result has there."""
    metrics = dict.fromkeys(name for row in rows for name in metrics_of(row))
    yield "precision", [row.precision for row in rows]
    for metric in metrics:
        yield metric, [_number(row.committed.get(metric)) for row in rows]
    yield "Wh / 1,000 queries", [_number(row.figures.get(ENERGY)) for row in rows]
    yield "  ±", [_number(row.figures.get(f"{ENERGY}Interval95")) for row in rows]
    yield "  against the first", [_against(row) for row in rows]
    for name, figure in _FIGURES.items():
        yield name, [_number(row.figures.get(figure)) for row in rows]
    yield "peak memory MiB", [_memory(row.figures.get("memoryPeakBytes")) for row in rows]


def _number(value: str | None) -> str:
    return _DASH if value is None else number(from_decimal(value))


def _memory(value: str | None) -> str:
    return _DASH if value is None else str(round(int(value) / MIB))


def _against(row: Row) -> str:
    if row.difference is None:
        return "base"
    share = f"{float(row.difference.share) * _PERCENT:+.1f} %"
    if row.difference.half_width is None:
        return share
    width = f"{share} ± {float(row.difference.half_width) * _PERCENT:.1f}"
    return width if row.difference.clear else f"{width} (not clear)"
