"""Part of check 13: the dataset that a session asked is the planned one, point by digest, source by source, in thirds.

The index shows no point. A plan that says `thirds` must come with the index that shows them; only bundles from before
the index, whose plans name no probe rule either, lack it, and those are of datasets without a private shard.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol.errors import VerificationError
from protocol.methodology import dataset_index
from protocol.methodology.dataset import shares_in_thirds
from verifier.facts import Session, Story
from verifier.walk import false

DATASET_INDEX = "dataset-index"


def check(story: Story, session: Session, evidence: Mapping[str, bytes]) -> None:
    """Return if the session's dataset index is of the planned dataset.

    Raises VerificationError DATASET_INDEX_MISSING, DATASET_INDEX_MISMATCH, or what the index's reader raises. An index
    that is referred to and absent is what check 13 itself reports.
    """
    outcome = session.outcome.predicate
    cell = next((cell for cell in story.plan.predicate.cells if cell.cell_id == outcome.cell), None)
    named = [item.sha256 for item in outcome.byproducts if item.name == DATASET_INDEX]
    if cell is None:
        return
    if not named:
        if session.completed and cell.dataset.thirds and cell.probes is not None:
            raise false(
                "DATASET_INDEX_MISSING",
                observed=f"{session.outcome.path} has no byproduct {DATASET_INDEX}",
                expected=f"the index that shows that {cell.dataset.name} is drawn in thirds",
            )
        return
    if named[0] not in evidence:
        return
    try:
        rows = dataset_index.unpack(evidence[named[0]])
    except VerificationError as error:
        observed = f"{session.outcome.path}, {DATASET_INDEX}: {error.observed}"
        raise VerificationError(code=error.code, observed=observed, expected=error.expected, hint=error.hint) from error
    sources = dataset_index.source_counts(rows)
    found = (dataset_index.digest_of(rows), sources, shares_in_thirds(sources))
    planned = (cell.dataset.sha256, dict(cell.dataset.sources), cell.dataset.thirds)
    if found != planned or cell.points > len(rows):
        raise false(
            "DATASET_INDEX_MISMATCH",
            observed=f"{session.outcome.path}: an index of {len(rows)} points from {sources}, digest {found[0]}",
            expected=f"{cell.dataset.name} {planned[0]} from {planned[1]}, thirds {planned[2]}, as planned",
        )
