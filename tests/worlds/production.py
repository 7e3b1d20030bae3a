"""A campaign of a closed model in a world, and what its vendor and an auditor say of production afterwards.

`Production().settle()` tells it honestly; each step takes changes to the predicate before its own speaker signs it.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.attestation.claims import StatementLink
from protocol.attestation.equivalence import (
    EQUIVALENCE_DRAW_RULE,
    ComparedCell,
    ComparedRun,
    EndpointClaim,
    EquivalenceChallenge,
    EquivalenceFinding,
    ProductionEquivalence,
    commitment_of,
    draw_seed,
    verdict_of,
)
from protocol.attestation.openings import drawn_places
from protocol.attestation.submission_statement import ProductionClaim
from protocol.methodology.equivalence import COMPARISON_RULE
from tests.worlds.world import IMAGE, Said, Trust, World, cell, moment

SERVED = ProductionClaim(precisions=("fp32",), engine="onnxruntime", engine_version="1.20", differences=("batches",))
ENDPOINT = EndpointClaim(
    kind="wire", model="tiny", model_version="1", engine="onnxruntime", engine_version="1.20", recorded_sha256=None
)
SECRET = bytes(range(32))
ORGANISATIONS = {"vendor-acme": "acme", "vendor-other": "other", "auditor-lab": "university", "auditor-own": "acme"}
CELL = cell(points=40, runs=2)


def trust(**changes) -> Trust:
    people = {"vendors": ("acme", "other"), "auditors": ("lab", "own", "house"), "organisations": ORGANISATIONS}
    return Trust(**{**people, **changes})


class Production:
    """One campaign in a world, and the steps of an equivalence check after it."""

    def __init__(self, world: World | None = None, *, proprietary: bool = True, edit=None) -> None:
        self.world = world or World(trust())
        closed = {"campaign-plan": lambda plan: plan["submission"].update(proprietary=proprietary), **(edit or {})}
        self.plan = self.world.campaign([CELL], edit=closed)
        self.outcome = next(
            said
            for said in reversed(self.world.said)
            if said.name == "session-outcome" and said.predicate["campaign"] == self.plan.statement_id
        )

    def word(self, *, by: str = "vendor-acme", subject: str = IMAGE, **changes) -> Said:
        said = ProductionEquivalence(
            campaign=self.plan.statement_id,
            vendor="acme",
            model="tiny",
            model_version="1",
            production=SERVED,
            declared_on=moment(self.world.now),
        )
        return self.world.speak(replace(said, **changes), by=by, subject=subject)

    def challenge(self, word: Said, *, by: str = "auditor-lab", subject: str = IMAGE, **changes) -> Said:
        said = EquivalenceChallenge(
            campaign=self.plan.statement_id,
            declaration=word.statement_id,
            commitment=commitment_of(SECRET),
            draw_rule=EQUIVALENCE_DRAW_RULE,
            leaves_per_run=30,
            challenged_on=moment(self.world.now),
        )
        return self.world.speak(replace(said, **changes), by=by, subject=subject)

    def found(self, challenge: Said, *, differing: int = 0, secret: bytes = SECRET, **changes) -> EquivalenceFinding:
        """What an honest auditor finds, if the first `differing` drawn answers of each run come otherwise."""
        cells = self.drawn(draw_seed(secret, challenge.nonce), differing)
        return replace(
            EquivalenceFinding(
                campaign=self.plan.statement_id,
                challenge=StatementLink(log_index=challenge.index, statement_id=challenge.statement_id),
                secret=secret.hex(),
                nonce=challenge.nonce,
                comparison_rule=COMPARISON_RULE,
                endpoint=ENDPOINT,
                cells=cells,
                verdict=verdict_of(cells),
                found_on=moment(self.world.now),
            ),
            **changes,
        )

    def drawn(self, seed: bytes, differing: int = 0, count: int = 30) -> tuple[ComparedCell, ...]:
        runs = []
        for run in range(1, CELL.runs + 1):
            places = drawn_places(seed, self.outcome.statement_id, run, self.leaves, count)
            runs.append(ComparedRun(run=run, places=places, differing=places[:differing]))
        return (ComparedCell(cell_id=CELL.cell_id, outcome=self.outcome.statement_id, runs=tuple(runs)),)

    @property
    def leaves(self) -> int:
        return self.outcome.predicate["runs"][0]["responses"]["leaves"]

    def finding(
        self, challenge: Said, *, by: str = "auditor-lab", subject: str = IMAGE, differing: int = 0, **changes
    ) -> Said:
        return self.world.speak(self.found(challenge, differing=differing, **changes), by=by, subject=subject)

    def settle(self, *, differing: int = 0) -> Said:
        """Tell the honest story, and return the finding."""
        return self.finding(self.challenge(self.word()), differing=differing)
