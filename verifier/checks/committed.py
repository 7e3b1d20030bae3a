"""Check 20: figures on the committed list are bound by response roots, and open until somebody asks for leaves.

What shows without leaves is that the cell's figure is the mean of what its runs claim, and its errors and tokens their
sums: a difference makes the claim false. Agreement proves nothing about the answers, so the claim stays open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from protocol.attestation.claims import CellResult, counts
from protocol.methodology.statistics import mean
from protocol.units import decimal_string, from_decimal
from verifier.facts import Session, Story
from verifier.report import CellFigures
from verifier.walk import Findings, Open, false


def check(stories: Sequence[Story], figures: Mapping[str, Mapping[str, CellFigures]]) -> Open:
    """Return the reason why no bundle proves these figures; there is nothing here that could pass."""
    findings = Findings()
    for story in stories:
        cells = {cell.cell_id: cell for cell in story.result.predicate.cells}
        for session in story.completed:
            _check_cell(story, session, cells[session.outcome.predicate.cell], findings)
    findings.settle()
    names = sorted({name for cells in figures.values() for cell in cells.values() for name in cell.committed})
    what = ", ".join(names) or "quality and token counts"
    return Open(
        f"no leaf was opened: {what} are bound by the response roots of their runs and cannot be changed, "
        "but whether they are right shows only in opened leaves"
    )


def _check_cell(story: Story, session: Session, cell: CellResult, findings: Findings) -> None:
    claims = [run.quality for run in session.outcome.predicate.runs if run.quality is not None]
    expected: dict[str, str] = {}
    values = [claim.values() for claim in claims]
    for metric in {name for of_run in values for name in of_run}:
        value = mean([from_decimal(of_run[metric]) for of_run in values if metric in of_run])
        expected[metric] = _spelled_alike(value, cell.committed.get(metric, "0"))
    expected |= counts(claims)
    if dict(cell.committed) != expected:
        findings.add(
            false(
                "COMMITTED_DIFFERS",
                observed=f"{story.result.path}, {cell.cell_id}: {_words(cell.committed)}",
                expected=f"{_words(expected)}, over all {len(claims)} runs",
            )
        )


def _spelled_alike(value: Fraction, text: str) -> str:
    return decimal_string(value, len(text.partition(".")[2]))


def _words(figures: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(figures.items()))
