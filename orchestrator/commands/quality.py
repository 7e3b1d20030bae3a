"""`jouleseal quality BUNDLE --openings FILE`: the quality of opened answers, by the code that scored the run.

Rules:
1. The plan names the dataset by its digest; another set of that name is refused (DATASET_DIFFERS).
2. An opened leaf is an answer of its run: its inclusion proof leads to the root in the outcome (LEAF_NOT_COMMITTED).
3. Where all leaves of a run are opened, its quality must be the signed one, digit by digit (QUALITY_DIFFERS). Where
   some are, theirs is an estimate that stands beside it: how far it may lie off depends on how many there are.
4. Leaves of other campaigns, and of windows that are no runs, are counted and left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.datasets import store
from orchestrator.drive.codec import decode_answer
from orchestrator.evaluate.quality import Quality, score
from orchestrator.results import Campaign, read_campaign
from protocol.attestation.bundle import read_bundle
from protocol.attestation.claims import PlanCell, QualityClaim, RunClaim
from protocol.attestation.openings import MAX_OPENINGS_BYTES, Opening, parse_openings
from protocol.attestation.refusal import refuse
from protocol.errors import UsageError
from protocol.methodology.dataset import Dataset
from protocol.methodology.tasks import REGISTRY, Task
from protocol.units import decimal_string

_PLACES = 6  # as the outcome writes them


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """One run: how many of its leaves were opened, what they give, and what was signed."""

    cell: str
    run: int
    opened: int
    committed: int
    found: Quality
    signed: QualityClaim

    @property
    def figures(self) -> dict[str, str]:
        """What the opened answers give, by metric, as it would be signed."""
        primary = {} if self.found.value is None else {self.found.metric: self.found.value}
        return {name: decimal_string(value, _PLACES) for name, value in {**primary, **self.found.secondary}.items()}

    def to_json(self) -> dict[str, object]:
        """Return the run for programs."""
        return {
            "cell": self.cell,
            "run": self.run,
            "opened": self.opened,
            "committed": self.committed,
            "quality": self.figures,
            "errors": self.found.errors,
            "signed": self.signed.values(),
            "signedErrors": self.signed.errors,
        }


def run(arguments: argparse.Namespace) -> int:
    """Print every run of which something was opened; raises what the rules of this module name."""
    campaign = read_campaign(read_bundle(arguments.bundle), arguments.campaign)
    openings = parse_openings(_read(arguments.openings))
    found = list(_runs(campaign, openings, arguments.datasets))
    if not found:
        raise UsageError(
            code="NOTHING_OPENED",
            observed=f"{len(openings)} leaves, none of a run of campaign {arguments.campaign}",
            expected="opened leaves of one of its runs",
            hint="ask the operator for `jouleseal open` on this bundle, or name another --campaign",
        )
    for one in found:
        _check_whole(one)
    left_out = len(openings) - sum(one.opened for one in found)
    if arguments.json:
        print(json.dumps({"runs": [one.to_json() for one in found], "leftOut": left_out, "verified": False}, indent=2))
    else:
        _show(Console(), found, left_out)
    return 0


def _runs(campaign: Campaign, openings: Sequence[Opening], datasets: Path | None) -> Iterator[Rescored]:
    cells = {cell.cell_id: cell for cell in campaign.plan.cells}
    sets: dict[str, Dataset] = {}
    for session in campaign.sessions:
        cell = cells.get(session.outcome.cell)
        for claim in session.outcome.runs if cell is not None else ():
            own = [leaf for leaf in openings if (leaf.outcome, leaf.run) == (session.statement_id, claim.run)]
            if own and cell is not None and claim.quality is not None:
                if cell.dataset.name not in sets:
                    sets[cell.dataset.name] = _dataset(cell, datasets)
                yield _rescored(cell, claim, claim.quality, own, sets[cell.dataset.name])


def _rescored(
    cell: PlanCell, claim: RunClaim, signed: QualityClaim, openings: Sequence[Opening], dataset: Dataset
) -> Rescored:
    committed = 0
    if claim.responses is not None:
        committed = claim.responses.leaves
        for opening in openings:
            opening.check(root=claim.responses.root, leaves=committed)
    asked = dataset.points[: cell.points]
    points = [asked[opening.place % len(asked)] for opening in openings]
    spec = REGISTRY[Task(cell.task)]
    answers = [decode_answer(opening.answer, point, spec) for opening, point in zip(openings, points, strict=True)]
    found = score(spec, points, answers)
    return Rescored(
        cell=cell.cell_id, run=claim.run, opened=len(openings), committed=committed, found=found, signed=signed
    )


def _dataset(cell: PlanCell, datasets: Path | None) -> Dataset:
    found = store.load(cell.dataset.name, datasets)
    if found.digest != cell.dataset.sha256 or len(found.points) < cell.points:
        raise UsageError(
            code="DATASET_DIFFERS",
            observed=f"{found.name} has the digest {found.digest} and {len(found.points)} points",
            expected=f"the plan's {cell.dataset.sha256}, {cell.points} points",
            hint="build the dataset with the release that measured it, and name its folder with --datasets",
        )
    return found


def _check_whole(one: Rescored) -> None:
    """Raise QUALITY_DIFFERS where every answer of a run is here and the signed quality is not theirs."""
    if one.opened != one.committed:
        return
    found, signed = (one.figures, one.found.errors), (one.signed.values(), one.signed.errors)
    if found != signed:
        raise refuse(
            "QUALITY_DIFFERS",
            observed=f"{one.cell}, run {one.run}: {_words(one.signed.values())}, {one.signed.errors} errors signed",
            expected=f"{_words(one.figures)}, {one.found.errors} errors, as all {one.committed} answers give",
            hint="the operator signed a quality that these answers do not have",
        )


def _show(console: Console, found: Sequence[Rescored], left_out: int) -> None:
    table = Table("cell", "run", "opened", "quality of these", "signed quality", "errors", box=None)
    for one in found:
        errors = f"{one.found.errors} of {one.opened}"
        opened = f"{one.opened} of {one.committed}"
        table.add_row(one.cell, str(one.run), opened, _words(one.figures), _words(one.signed.values()), errors)
    console.print(table)
    if left_out:
        console.print(f"{left_out} leaves are of no run of this campaign, and were left out")
    console.print("Signatures were not checked: that is what jouleseal-verify open-leaves is for.")


def _words(figures: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in figures.items()) or "none: no references"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_OPENINGS_BYTES + 1)
    except OSError as error:
        raise UsageError(
            code="FILE_UNREADABLE",
            observed=f"--openings {path}: {error.strerror}",
            expected="a readable file",
            hint="check the path",
        ) from error
