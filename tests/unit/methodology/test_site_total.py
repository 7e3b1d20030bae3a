"""The total by PUE: of what, under which name, and why there is none."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from protocol.errors import VerificationError
from protocol.methodology.energy import Estimated, Measured, NotApplicable, Reading, Simulated, Unmeasured
from protocol.methodology.site import NO_PROFILE, SiteProfile, node_total, parse_site, total

GPU = Measured(joules=Fraction(1000), uncertainty=Fraction(40), method="nvml-gated/1")
CPU = Estimated(joules=Fraction(50), model="ccf-vcpu-linear/1")
PLAY = Simulated(joules=Fraction(1000), uncertainty=Fraction(40), method="nvml-gated/1")
NONE = NotApplicable(reason="the sealed sandbox has no network")
UNREAD = Unmeasured(reason="nothing reads it")


def profile(**changes: object) -> dict[str, object]:
    whole = {
        "format": "jouleseal-site/1",
        "name": "Hall 2",
        "pue": "1.25",
        "source": "2025 report",
        "date": "2026-01-31",
    }
    return {**whole, **changes}


def site(**changes: object) -> SiteProfile:
    return parse_site(json.dumps(profile(**changes)).encode())


def node(**changes: Reading) -> dict[str, Reading]:
    read = Measured(joules=Fraction(10), uncertainty=Fraction(1), method="rapl-capacity/1")
    return {"gpu": GPU, "cpu": read, "dram": read, "network": NONE, "storage": NONE, **changes}


def test_a_node_that_was_read_whole_has_a_total() -> None:
    found = total(node(), site())
    assert found.complete
    assert found.joules == Fraction(1020) * Fraction(5, 4)
    assert found.uncertainty is not None
    assert float(found.uncertainty) == pytest.approx((40**2 + 1 + 1) ** 0.5 * 1.25)
    assert (found.name, found.kind, found.pue, found.reason) == ("total", "estimated", "1.25", "")
    assert (found.scope, found.absent) == (("gpu", "cpu", "dram"), ("network", "storage"))


def test_what_nobody_read_leaves_a_sum_that_names_its_scope() -> None:
    found = total(node(storage=UNREAD, cpu=CPU), site())
    assert not found.complete
    assert found.joules == Fraction(1060) * Fraction(5, 4)
    assert found.uncertainty is None  # an estimate states none
    assert (found.scope, found.missing) == (("gpu", "cpu", "dram"), ("storage",))
    assert "named scope only" in found.reason


def test_a_channel_that_is_not_even_named_is_missing() -> None:
    found = total({"gpu": GPU}, site())
    assert found.missing == ("cpu", "dram", "network", "storage")
    assert not found.complete


def test_one_simulated_term_makes_the_total_simulated() -> None:
    assert total(node(gpu=PLAY), site()).kind == "simulated"
    assert total(node(gpu=PLAY, cpu=CPU), site()).kind == "simulated"
    assert node_total(PLAY, site()).kind == "simulated"


def test_without_a_profile_there_is_no_total_and_no_pue_of_one() -> None:
    for found in (total(node(), None), node_total(GPU, None)):
        assert (found.joules, found.uncertainty, found.pue, found.reason) == (None, None, None, NO_PROFILE)
        assert (found.kind, found.complete) == ("unmeasured", False)
    assert total(node(), site(pue="1")).joules == 1020  # said, not assumed


def test_where_nothing_was_read_there_is_nothing_to_multiply() -> None:
    found = total(dict.fromkeys(node(), UNREAD), site())
    assert (found.joules, found.kind, found.reason) == (None, "unmeasured", "no channel was read")
    assert node_total(UNREAD, site()).joules is None


def test_the_node_at_the_wall_is_a_total_of_its_own_and_not_added_to_its_parts() -> None:
    wall = Measured(joules=Fraction(1400), uncertainty=Fraction(12), method="wall-meter/1")
    found = node_total(wall, site())
    assert (found.name, found.scope, found.joules, found.uncertainty) == ("node-total", ("node",), 1750, 15)
    assert total({**node(), "node": wall}, site()) == total(node(), site())


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"pue": "0.99"}, "site.pue"),
        ({"pue": "5.1"}, "site.pue"),
        ({"pue": 1}, "site.pue"),
        ({"pue": "1,25"}, "site.pue"),
        ({"source": ""}, "site.source"),
        ({"date": "January"}, "site.date"),
        ({"format": "jouleseal-site/2"}, "site.format"),
        ({"wue": "1.8"}, "site.wue"),
    ],
)
def test_another_profile_is_refused_with_the_path(changes: dict[str, object], path: str) -> None:
    with pytest.raises(VerificationError) as caught:
        site(**changes)
    assert path in caught.value.observed


@pytest.mark.parametrize("name", ["name", "pue", "source", "date", "format"])
def test_every_field_of_a_profile_is_needed(name: str) -> None:
    whole = profile()
    del whole[name]
    with pytest.raises(VerificationError, match=name):
        parse_site(json.dumps(whole).encode())
