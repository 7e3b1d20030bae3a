"""Three vendors that answer without computing, and one that computes: each by its name, in real sessions."""

from __future__ import annotations

import pytest

from protocol.attestation.predicates import CampaignResult
from tests.engine import rig as rigs
from tests.engine.rig import Rig

pytestmark = pytest.mark.engine
rig = rigs.rig

POINTS, RUNS = 100, 3
CHEATS = ("prepared-answers", "cached-answers", "repeated-answers")
TASKS = (("text-classification", "embedded-reviews"), ("image-classification", "embedded-digits"))
CAMPAIGNS = 20


def flags_of(rig: Rig, image: str, name: str) -> list[set[str]]:
    """Return the flags of the probes that each task's verdicts raise, from a campaign that verifies."""
    rig.tasks = TASKS
    told = rig.run(rig.submission(image, name=name), points=POINTS, runs=RUNS)
    assert told.error is None
    assert rig.verdict() == 0
    result = told.all(CampaignResult)[-1]
    assert "dataset-without-shard" not in result.flags
    assert "probes-not-judged" not in result.flags
    figures = [cell.recomputed for cell in result.cells]
    assert len(figures) == len(TASKS)
    found = [set(each.get("measurementFlags", "").split("+")) & set(CHEATS) for each in figures]
    assert set().union(*found) == set(result.flags) & set(CHEATS)
    return found


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_vendor_that_does_not_compute_is_flagged_by_name(rig, hostile, cheat):
    assert flags_of(rig, hostile[cheat], cheat) == [{cheat}] * len(TASKS)


def test_a_vendor_that_computes_every_answer_is_not_flagged(rig, hostile):
    assert flags_of(rig, hostile["computes"], "computes") == [set()] * len(TASKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CHEATS, "computes"])
def test_in_20_of_20_campaigns(rig, hostile, name):
    expected = [{name} & set(CHEATS)] * len(TASKS)
    assert [flags_of(rig, hostile[name], f"{name}-{number}") for number in range(CAMPAIGNS)] == [expected] * CAMPAIGNS
