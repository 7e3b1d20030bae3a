"""A result on a user's own data says so by a flag that nobody can leave out."""

import pytest

from protocol.methodology.flags import OWN_DATASET
from tests.worlds.world import World, failed
from verifier.report import Verdict


def told(name, result=lambda _result: None):
    """A campaign on a dataset of that name, named alike in its plan and in what its sessions used."""

    def planned(plan):
        for cell in plan["cells"]:
            cell["dataset"]["name"] = name

    def used(outcome):
        for item in outcome["resolvedDependencies"]:
            if item["name"].startswith("dataset:"):
                item["name"] = f"dataset:{name}"

    world = World(query_ms=3, idle_ms=110)
    world.campaign(edit={"campaign-plan": planned, "session-outcome": used, "campaign-result": result})
    return world.judge()


@pytest.mark.parametrize(("name", "flagged"), [("own-letters", True), ("embedded-digits", False), ("owned", False)])
def test_a_users_own_data_is_named_by_a_flag(name, flagged):
    def honest(result):
        result["flags"] = sorted({*result["flags"], *([OWN_DATASET] if flagged else [])})

    report = told(name, honest)
    assert report.verdict is Verdict.VERIFIED
    assert (OWN_DATASET in report.flags) is flagged


def test_the_flag_cannot_be_left_out():
    def silent(result):
        result["flags"] = [flag for flag in result["flags"] if flag != OWN_DATASET]

    assert failed(told("own-letters", silent)) == {("certifiability", "FLAG_LEFT_OUT")}
