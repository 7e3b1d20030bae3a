"""Points nobody can have prepared for: honest vendors pass on a noisy machine, and every cheat is flagged by name."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from scipy.stats import fisher_exact

from protocol.methodology.order import run_order
from protocol.methodology.probes import (
    CACHED_ANSWERS,
    EFFECT,
    PREPARED_ANSWERS,
    REPEATED_ANSWERS,
    SIGNIFICANCE,
    Cost,
    Quality,
    chance,
    judged,
    verdicts,
)
from protocol.methodology.stages import Asked, Probe, private_places, probes, stages, window_names
from protocol.units import NS_PER_S
from tests.worlds.asked import Teller


def nonce(seed: int) -> bytes:
    return hashlib.sha256(seed.to_bytes(4, "big")).digest()


def official(seed: int = 0, batch: int = 1, private: int = 100, **facts) -> Asked:
    return Asked(**{"nonce": nonce(seed), "points": 1_000, "batch": batch, "runs": 10, "private": private, **facts})


# The windows


def test_an_official_session_asks_every_private_point_once_and_a_public_one_beside_each():
    first, second = [probe for probe in probes(official()) if probe.kind == "shard"]
    for probe in (first, second):
        for (private,), (public,) in probe.sides("private", "public"):
            assert abs(private - public) == 1
    asked = [m.places for probe in (first, second) for m in probe.messages if m.role == "private"]
    assert sorted(place for places in asked for place in places) == list(range(100))
    assert len(first.messages) == len(second.messages) == 100


def test_a_message_of_32_is_compared_whole():
    asked = official(batch=32)
    assert private_places(asked) == 96
    assert {len(message.places) for probe in probes(asked) for message in probe.messages} == {32}


def test_repeated_and_different_messages_stand_in_rounds_that_a_nonce_draws():
    repeat = probes(official())[-1]
    assert (repeat.name, len(repeat.messages)) == ("repeat-1", 40)
    for other, again in repeat.sides("other", "again"):
        assert len({repeat.messages[place].places for place in again}) == 1
        assert len({repeat.messages[place].places for place in other}) == 2
    assert len({message.places for message in repeat.messages}) == 8 + 16


def test_no_probe_comes_before_run_1_and_the_places_are_drawn():
    places = {tuple(window_names(official(seed))) for seed in range(20)}
    assert len(places) > 10
    for seed in range(20):
        order = stages(official(seed))
        assert order[0] == 1
        assert [stage for stage in order if isinstance(stage, int)] == list(range(1, 11))
        assert sum(isinstance(stage, Probe) for stage in order) == 3


def test_the_idle_windows_are_numbered_through():
    names = window_names(official())
    assert names[0::2] == [f"idle-{number}" for number in range(14)]


def test_which_side_of_a_pair_comes_first_is_drawn():
    shard = probes(official())[0]
    first = [message.role for message in shard.messages[::2]]
    assert 10 < first.count("private") < 40


def test_a_plan_without_the_rule_and_a_session_too_small_have_no_probes():
    assert probes(official(probed=False)) == ()
    assert probes(Asked(nonce=nonce(0), points=8, batch=1, runs=2, private=100)) == ()


# The test


def test_the_probability_is_that_of_fishers_exact_test():
    for pairs, exceeding, others, others_exceeding in ((50, 25, 5_000, 400), (3, 3, 150, 2), (16, 9, 40, 11)):
        table = [[exceeding, pairs - exceeding], [others_exceeding, others - others_exceeding]]
        found = fisher_exact(table, alternative="greater").pvalue
        assert float(chance(pairs, exceeding, others, others_exceeding)) == pytest.approx(found, rel=1e-9)


def test_nothing_exceeding_is_certain():
    assert chance(50, 0, 5_000, 12) == 1
    assert chance(3, 0, 150, 0) == 1


# The stories

HONEST_SEEDS = 1_000
SHORT = {"points": 100, "runs": 3}


@pytest.mark.parametrize("facts", [SHORT, {"points": 200, "runs": 4, "private": 0}, {"batch": 32, "runs": 3}], ids=str)
def test_an_honest_vendor_passes_whatever_the_machine_does(facts):
    flagged = []
    for seed in range(HONEST_SEEDS):
        asked = official(seed, **facts)
        flagged += verdicts(Teller(seed, unlike=0.1 + 0.5 * (seed % 7) / 6).tell(asked)).flags
    assert len(flagged) <= 3 * HONEST_SEEDS * SIGNIFICANCE


@pytest.mark.parametrize("facts", [{}, {"batch": 32}, {"points": 200, "runs": 3}], ids=str)
@pytest.mark.parametrize(
    ("kind", "flag"),
    [("prepared", PREPARED_ANSWERS), ("cached", CACHED_ANSWERS), ("repeated", REPEATED_ANSWERS)],
)
def test_a_cheat_is_flagged_by_name_every_time(kind, flag, facts):
    for seed in range(10 if not facts else 40):
        assert verdicts(Teller(seed).tell(official(seed, **facts), kind)).flags == (flag,), seed


def test_latency_alone_tells_a_cheat_on_a_quiet_machine():
    for kind, flag in (("prepared", PREPARED_ANSWERS), ("cached", CACHED_ANSWERS), ("repeated", REPEATED_ANSWERS)):
        for facts in ({}, {"batch": 32}, {"points": 200, "runs": 3}):
            seen = Teller(7, steady=True).tell(official(7, **facts), kind)
            assert verdicts(replace(seen, costs={})).flags == (flag,)


def test_a_cache_shows_without_a_private_shard_too():
    for seed in range(20):
        asked = official(seed, private=0, points=400, runs=4)
        assert verdicts(Teller(seed).tell(asked, "cached")).flags == (CACHED_ANSWERS,)


def test_a_slow_first_run_is_no_cache_where_private_points_are_as_quick_as_public_ones():
    seen = Teller(3, steady=True).tell(official(3, points=200, runs=3))
    slow = [r._replace(done_ns=r.sent_ns + 4 * (r.done_ns - r.sent_ns)) for r in seen.runs[0]]
    seen = replace(seen, costs={})
    assert verdicts(replace(seen, runs=[slow, *seen.runs[1:]])).flags == ()
    assert verdicts(replace(seen, asked=replace(seen.asked, private=0), runs=[slow, *seen.runs[1:]])).flags == (
        CACHED_ANSWERS,
    )


def test_a_table_of_answers_with_a_guess_for_the_rest_is_told_by_its_quality():
    for seed in range(40):
        seen = Teller(seed).tell(official(seed, points=400, runs=2), quality=lambda private: 0.5 if private else 1.0)
        assert verdicts(seen).flags == (PREPARED_ANSWERS,)


def test_a_worse_quality_within_chance_is_no_flag():
    seen = Teller(1).tell(official(1, points=200, runs=2))
    public = [Quality(metric="accuracy", value=Fraction(9, 10), samples=200)]
    private = [Quality(metric="accuracy", value=Fraction(8, 10), samples=25)] * 2
    assert verdicts(replace(seen, public=public, private=private)).flags == ()
    unbounded = [replace(quality, metric="wer", value=Fraction(0)) for quality in private]
    compared = verdicts(replace(seen, public=[replace(public[0], metric="wer")], private=unbounded))
    assert compared.flags == ()


def test_what_is_too_small_is_not_judged_and_says_why():
    found = verdicts(Teller(1).tell(official(1, points=8, runs=2)))
    assert [found.prepared.state, found.cached.state, found.repeated.state] == ["not-judged"] * 3
    assert not judged(found.figures())
    assert "too few" in found.prepared.words
    without = verdicts(Teller(1).tell(official(1, private=0, points=200, runs=3)))
    assert without.prepared.state == "not-judged"
    assert without.cached.state == without.repeated.state == "passed"
    assert judged(verdicts(Teller(1).tell(official(1, points=200, runs=3))).figures())


# A cheat that waits as long as an honest vendor computes


def costs(asked: Asked, *, runs: list[int], shard: int, repeat: int, **facts) -> dict[str, Cost]:
    def cost(amount: int) -> Cost:
        return Cost(
            **{"amount": Fraction(amount), "doubt": Fraction(0), "gated": False, "duration_ns": NS_PER_S, **facts}
        )

    found = {f"run-{number}": cost(amount) for number, amount in enumerate(runs, 1)}
    return found | {p.name: cost(shard if p.kind == "shard" else repeat) for p in probes(asked)}


ASKED = official(1, points=200, runs=3)


@pytest.mark.parametrize(
    ("found", "flags"),
    [
        ({"runs": [100, 100, 100], "shard": 100, "repeat": 100}, ()),
        ({"runs": [20, 20, 20], "shard": 60, "repeat": 20}, (PREPARED_ANSWERS,)),
        ({"runs": [100, 20, 20], "shard": 60, "repeat": 20}, (CACHED_ANSWERS,)),
        ({"runs": [100, 100, 100], "shard": 100, "repeat": 60}, (REPEATED_ANSWERS,)),
        ({"runs": [20, 20, 20], "shard": 60, "repeat": 20, "duration_ns": NS_PER_S // 10}, ()),
        ({"runs": [100, 95, 100], "shard": 118, "repeat": 100, "gated": True}, (PREPARED_ANSWERS,)),
        ({"runs": [100, 95, 100], "shard": 118, "repeat": 100, "gated": True, "doubt": Fraction(1, 20)}, ()),
    ],
)
def test_whoever_waits_as_long_as_computing_takes_is_told_by_what_it_costs(found, flags):
    seen = Teller(1, steady=True, unlike=0.01).tell(ASKED)
    assert verdicts(replace(seen, costs=costs(ASKED, **found))).flags == flags


def test_the_teller_follows_the_order_of_the_runs():
    """The simulated machine asks what the runner asks, or these stories would be of something else."""
    asked = official(5, points=40, runs=2)
    teller = Teller(5, steady=True)
    seen = teller.tell(asked)
    for number, run in enumerate(seen.runs, 1):
        order = run_order(asked.nonce, number, asked.points)
        latencies = [record.done_ns - record.sent_ns for record in run]
        pairs = zip(order, latencies, strict=True)
        assert all(latency == int(teller.cost(False, point) * 3_000_000) for point, latency in pairs)
        assert all(later.sent_ns >= earlier.done_ns for earlier, later in pairwise(run))
    assert EFFECT > 1
