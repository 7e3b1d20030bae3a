"""What a runner signs about an accelerator's counter between sessions: the flag that its own evidence raises."""

from __future__ import annotations

import pytest

from orchestrator import assemble
from orchestrator.books import Books
from protocol.attestation.claims import StatementLink
from protocol.attestation.predicates import CampaignPlan, SessionOutcome
from protocol.attestation.tier import T3
from tests.unit.verifier.test_attack_rehearsal import rehearse, told, world_of


class Kept:
    """The evidence of a world, as the store gives it."""

    def __init__(self, world) -> None:
        self.get = world.evidence.__getitem__


def recorded(world) -> list[tuple[StatementLink, SessionOutcome]]:
    outcomes = [said for said in world.said if said.name == "session-outcome"]
    return [(said.link, SessionOutcome.from_json(said.predicate)) for said in outcomes]


@pytest.mark.parametrize(("joules", "unexplained"), [(0, False), (55_200, True)])
def test_work_that_no_session_logged_is_signed_as_unexplained(joules, unexplained):
    world = told(world_of(), between=rehearse(joules))
    books = object.__new__(Books)
    books.evidence = Kept(world)
    assert books._unexplained(recorded(world)) is unexplained


def test_a_result_carries_the_flag_and_the_tier_that_its_record_earned():
    world = told(world_of())
    outcomes = recorded(world)
    result = assemble.result_json(
        world.said[0].statement_id,
        CampaignPlan.from_json(world.said[0].predicate),
        outcomes,
        {outcome.cell: world.figures_of(outcome) for _, outcome in outcomes},
        failure=None,
        verify_txt_sha256="0" * 64,
        tier=T3,
        unexplained=True,
    )
    assert "unexplained-energy" in result["flags"]
    assert "tier-below-t3" not in result["flags"]
    assert result["certifiable"] is False
