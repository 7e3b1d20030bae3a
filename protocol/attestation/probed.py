"""From signed claims to what the probes' verdicts are computed from: the same for who signs and who doubts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protocol.attestation.claims import PlanCell, QualityClaim
from protocol.attestation.predicates import SessionOutcome
from protocol.methodology.probe_figures import Probed
from protocol.methodology.probes import Quality
from protocol.methodology.stages import PROBE_RULE, Asked, probes
from protocol.methodology.timeline import QueryRecord
from protocol.units import from_decimal


def asked_of(cell: PlanCell, nonce: str) -> Asked:
    """Return what a session's windows follow from, by its planned cell and its nonce in hexadecimal."""
    return Asked(
        nonce=bytes.fromhex(nonce),
        points=cell.points,
        batch=cell.batch,
        runs=cell.runs,
        private=cell.private_points,
        probed=cell.probes == PROBE_RULE,
    )


def probed_of(outcome: SessionOutcome, cell: PlanCell, timelines: Mapping[str, Sequence[QueryRecord]]) -> Probed | None:
    """Return what was asked between the runs of a session; None where its plan has no probes."""
    if cell.probes is None:
        return None
    asked = asked_of(cell, outcome.nonce)
    private = {
        probe.name: sum(len(message.places) for message in probe.messages if message.role == "private")
        for probe in probes(asked)
    }
    return Probed(
        asked=asked,
        timelines=timelines,
        public=claimed_quality([(run.quality, run.samples) for run in outcome.runs]),
        private=claimed_quality([(probe.quality, private.get(probe.name, 0)) for probe in outcome.probes]),
    )


def claimed_quality(claims: Sequence[tuple[QualityClaim | None, int]]) -> list[Quality]:
    """Return the claims that carry a value, each with the number of samples that it is over."""
    return [
        Quality(metric=claim.metric, value=from_decimal(claim.value), samples=samples)
        for claim, samples in claims
        if claim is not None and claim.value is not None
    ]
