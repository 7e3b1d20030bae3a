"""Token counts stand on the committed list: summed over the runs, absent where one run lacks them, and held to that."""

from __future__ import annotations

import pytest

from protocol.attestation.claims import QualityClaim, TokensClaim, counts
from tests.worlds.world import World, cell, codes

CELL = cell(points=4, runs=2)


def counted(*claims):
    def edit(outcome):
        for run, (ours, theirs) in zip(outcome["runs"], claims, strict=False):
            run["quality"]["outputTokens"] = {"counted": ours, "claimed": theirs}

    return {"session-outcome": edit}


def told(edit, result=None):
    world = World()
    plan = world.plan([CELL])
    world.session(plan, CELL, edit=edit)
    world.result(plan, edit=result)
    return world, plan


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([(40, 38), (41, 39)], {"outputTokens": "81", "claimedOutputTokens": "77"}),
        ([(40, 38), (41, None)], {"outputTokens": "81"}),  # absent is not zero
        ([(40, 0), (0, 0)], {"outputTokens": "40", "claimedOutputTokens": "0"}),
        ([(40, 38)], {}),
    ],
)
def test_honest_counts_are_summed(claims, expected):
    world, plan = told(counted(*claims))
    report = world.judge()
    assert codes(report) == set()
    committed = report.figures[plan.statement_id][CELL.cell_id].committed
    assert {name: value for name, value in committed.items() if "okens" in name} == expected


@pytest.mark.parametrize("lie", [{"outputTokens": "810"}, {"claimedOutputTokens": "0"}, {"outputTokens": None}])
def test_a_result_that_sums_otherwise_is_false(lie):
    def edit(result):
        committed = result["cells"][0]["committed"]
        committed |= {name: value for name, value in lie.items() if value is not None}
        for name, value in lie.items():
            if value is None:
                del committed[name]

    world, _ = told(counted((40, None), (41, None)), {"campaign-result": edit})
    assert "COMMITTED_DIFFERS" in codes(world.judge())


def test_runs_without_tokens_state_none():
    plain = QualityClaim(metric="accuracy", value="1", errors=2)
    assert counts([plain, plain]) == {"sampleErrors": "4"}
    assert "outputTokens" not in plain.to_json()
    some = QualityClaim(metric="wer", value="1", errors=0, tokens=TokensClaim(counted=3, claimed=None))
    assert some.to_json()["outputTokens"] == {"counted": 3, "claimed": None}
