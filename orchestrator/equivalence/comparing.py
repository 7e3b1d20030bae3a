"""The auditor's comparison: exactly the drawn leaves, each under its signed root, held against production's answers.

1. The logged challenge is held against the log's key and witnesses in the bundle's policy; its secret opens its
   commitment.
2. The opened leaves are exactly those that the draw gives, of every run of every completed session of the campaign.
3. Every drawn point is asked of production once, at the cell's task and precision, in a query of its own.
4. What comes out holds places and verdicts, and no answer.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from PIL import Image, UnidentifiedImageError

from orchestrator.drive.codec import decode_answer
from orchestrator.equivalence.endpoint import Endpoint
from orchestrator.equivalence.sealed import SealedCampaign, SealedSession
from protocol.attestation.beside import open_beside
from protocol.attestation.claims import PlanCell, StatementLink
from protocol.attestation.equivalence import (
    ComparedCell,
    ComparedRun,
    EquivalenceChallenge,
    EquivalenceFinding,
    ProductionEquivalence,
    commitment_of,
    draw_seed,
    verdict_of,
)
from protocol.attestation.moment import format_moment
from protocol.attestation.nonce import session_nonce
from protocol.attestation.openings import Opening, drawn_places
from protocol.attestation.sigstore_bundle import parse_sigstore_bundle
from protocol.errors import UsageError, VerificationError
from protocol.methodology.dataset import Dataset
from protocol.methodology.equivalence import COMPARISON_RULE, answers_agree, pictures_agree
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Answer, ImageAnswer, Point
from protocol.tlog.entry import check_entry
from protocol.tlog.leaf import parse_leaf
from protocol.tlog.merkle import leaf_hash
from protocol.tlog.note import parse_note
from protocol.tlog.policy import Policy

_HINT = "see docs/equivalence.md for the order of steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedChallenge:
    """A challenge as the operator logged it: its place, its nonce, and what it says."""

    link: StatementLink
    nonce: str
    challenge: EquivalenceChallenge


def open_challenge(data: bytes, policy: Policy | None = None) -> LoggedChallenge:
    """Read the file of a logged challenge; held against the log and its witnesses where their policy is given.

    VerificationError where it is none, was not logged, or was not witnessed (QUORUM).
    """
    bundle = parse_sigstore_bundle(data)
    _, predicate = open_beside(bundle.envelope)
    if not isinstance(predicate, EquivalenceChallenge):
        raise _wrong("NOT_A_CHALLENGE", "another statement", "an equivalence-challenge, as it was logged")
    if policy is not None:
        seen = check_entry(bundle.envelope, parse_leaf(bundle.entry.body).key, bundle.entry, policy)
        if not seen.has_quorum(policy):
            raise _wrong("QUORUM", f"{len(seen.cosigned)} cosignatures", "the quorum of the policy")
    return LoggedChallenge(
        link=StatementLink(log_index=bundle.entry.log_index, statement_id=bundle.envelope.statement_id),
        nonce=session_nonce(leaf_hash(bundle.entry.body), parse_note(bundle.entry.checkpoint).text),
        challenge=predicate,
    )


def seed_of(logged: LoggedChallenge, secret: bytes) -> bytes:
    """Return the draw's seed; VerificationError OTHER_SECRET where the challenge committed to another secret."""
    if commitment_of(secret) != logged.challenge.commitment:
        raise _wrong("OTHER_SECRET", "a secret of another challenge", "the one that this challenge committed to")
    return draw_seed(secret, logged.nonce)


def find(
    campaign: SealedCampaign,
    logged: LoggedChallenge,
    secret: bytes,
    openings: Sequence[Opening],
    *,
    declared: ProductionEquivalence,
    endpoint: Endpoint,
    datasets: Callable[[PlanCell], Dataset],
    now: datetime,
) -> EquivalenceFinding:
    """Return the finding, unsigned.

    VerificationError OTHER_CAMPAIGN, OTHER_SECRET, NOT_THE_DRAWN_LEAVES, LEAF_NOT_COMMITTED; UsageError
    ENDPOINT_NOT_DECLARED and OTHER_DATASET; and what the endpoint raises.
    """
    if {campaign.campaign} != {logged.challenge.campaign, declared.campaign}:
        observed = f"a challenge to campaign {logged.challenge.campaign[:16]}"
        raise _wrong("OTHER_CAMPAIGN", observed, f"campaign {campaign.campaign[:16]}, as word and challenge name it")
    seed = seed_of(logged, secret)
    shown = _drawn_openings(campaign, seed, logged.challenge.leaves_per_run, openings)
    claim = endpoint.claim()
    said = (declared.production.engine, declared.production.engine_version)
    if (claim.engine, claim.engine_version) != said:
        raise UsageError(
            code="ENDPOINT_NOT_DECLARED",
            observed=f"production calls itself {claim.engine} {claim.engine_version}",
            expected=f"{said[0]} {said[1]}, as the vendor declared",
            hint="ask the vendor for the service that it declared, or for another declaration",
        )
    cells = tuple(
        _compare(session, shown, endpoint, _points(session.cell, datasets(session.cell)))
        for session in sorted(campaign.sessions, key=lambda session: session.cell.cell_id)
    )
    return EquivalenceFinding(
        campaign=campaign.campaign,
        challenge=logged.link,
        secret=secret.hex(),
        nonce=logged.nonce,
        comparison_rule=COMPARISON_RULE,
        endpoint=claim,
        cells=cells,
        verdict=verdict_of(cells),
        found_on=format_moment(now),
    )


def _drawn_openings(
    campaign: SealedCampaign, seed: bytes, count: int, openings: Sequence[Opening]
) -> Mapping[tuple[str, int, int], Opening]:
    """Return the opened leaves of this campaign by outcome, run and place: exactly those drawn, under their roots."""
    trees = {
        (session.outcome_id, run.run): run.responses
        for session in campaign.sessions
        for run in session.outcome.runs
        if run.responses is not None
    }
    wanted = {
        (outcome, run, place)
        for (outcome, run), tree in trees.items()
        for place in drawn_places(seed, outcome, run, tree.leaves, count)
    }
    own = {opening.at: opening for opening in openings if (opening.outcome, opening.run) in trees}
    if own.keys() != wanted:
        observed = f"{len(wanted - own.keys())} drawn leaves missing, {len(own.keys() - wanted)} others"
        raise _wrong("NOT_THE_DRAWN_LEAVES", observed, f"all {len(wanted)} that the draw gives, and no other")
    for (outcome, run, _), opening in own.items():
        tree = trees[outcome, run]
        opening.check(root=tree.root, leaves=tree.leaves)
    return own


def _points(cell: PlanCell, dataset: Dataset) -> tuple[Point, ...]:
    if dataset.digest != cell.dataset.sha256 or len(dataset.points) < cell.points:
        raise UsageError(
            code="OTHER_DATASET",
            observed=f"{dataset.name} with digest {dataset.digest}",
            expected=f"{cell.dataset.sha256}, which was measured",
            hint="install the release whose dataset the plan names, or build that dataset",
        )
    return dataset.points[: cell.points]


def _compare(
    session: SealedSession,
    shown: Mapping[tuple[str, int, int], Opening],
    endpoint: Endpoint,
    points: Sequence[Point],
) -> ComparedCell:
    task, precision = Task(session.cell.task), Precision(session.cell.precision)
    mine = sorted(at for at in shown if at[0] == session.outcome_id)
    drawn = sorted({place % len(points) for _, _, place in mine})
    asked = [points[index] for index in drawn]
    served = dict(zip(drawn, endpoint.answers(task, precision, asked), strict=True))
    runs: dict[int, list[tuple[int, bool]]] = {}
    for at in mine:
        _, run, place = at
        index = place % len(points)
        sealed = decode_answer(shown[at].answer, points[index], REGISTRY[task])
        runs.setdefault(run, []).append((place, _agree(sealed, served[index])))
    return ComparedCell(
        cell_id=session.cell.cell_id,
        outcome=session.outcome_id,
        runs=tuple(
            ComparedRun(
                run=run,
                places=tuple(place for place, _ in found),
                differing=tuple(place for place, agree in found if not agree),
            )
            for run, found in sorted(runs.items())
        ),
    )


def _agree(sealed: Answer, served: Answer) -> bool:
    if answers_agree(sealed, served):
        return True
    if not (isinstance(sealed, ImageAnswer) and isinstance(served, ImageAnswer)):
        return False
    one, other = _pixels(sealed.content), _pixels(served.content)
    return one is not None and other is not None and one[0] == other[0] and pictures_agree(one[1], other[1])


def _pixels(content: bytes) -> tuple[tuple[int, int], bytes] | None:
    """Return size and RGB samples of a picture, None where it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
            return picture.size, picture.convert("RGB").tobytes()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def _wrong(code: str, observed: str, expected: str) -> VerificationError:
    return VerificationError(code=code, observed=observed, expected=expected, hint=_HINT)
