"""Gated windows in virtual time: right on what the rule covers, honest about its doubt, never a silent zero."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from gates import MS, Power, S, World, constant, idle_work_idle, random_world, square
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import CounterReset, InvalidMeasurement, TraceGap, WindowTooShort
from protocol.methodology import gated
from protocol.methodology.gated import GatedReading, measure
from protocol.methodology.trace import Window

Make = Callable[[random.Random, int, int], Power]

IDLE, WORK = 70_000, 650_000


def ours(_: random.Random, start: int, end: int) -> Power:
    return idle_work_idle(start, end, IDLE, WORK)


def steady(_: random.Random, _start: int, _end: int) -> Power:
    return constant(300_000)


def of(world: World) -> GatedReading:
    return measure(world.series(), world.gate())


def errors(make: Make, seconds: float, count: int, **facts) -> list[float]:
    rng = random.Random(7)
    found = []
    for _ in range(count):
        world = random_world(rng, lambda a, b: make(rng, a, b), seconds, **facts)
        found.append(float(of(world).joules / world.truth() - 1))
    return found


def world(power: Power, *, seconds: int = 2, **facts) -> World:
    open_ns = 100 * S
    return World(power=power, open_ns=open_ns, close_ns=open_ns + seconds * S, phase=37 * MS, **facts)


def work(idle: int = IDLE, high: int = WORK, *, seconds: int = 2, tail=(), **facts) -> World:
    end = (100 + seconds) * S
    return world(idle_work_idle(100 * S, end, idle, high, tail), seconds=seconds, **facts)


# How right the rule is, in virtual time


@pytest.mark.parametrize(("seconds", "allowed", "count"), [(2, 1e-3, 120), (5, 1e-3, 40), (20, 5e-4, 30)])
@pytest.mark.parametrize("update", [20 * MS, 100 * MS])
def test_idle_work_idle_is_right(seconds: int, allowed: float, count: int, update: int) -> None:
    assert max(map(abs, errors(ours, seconds, count, update=update, mean_update=100 * MS))) <= allowed


@pytest.mark.parametrize("seconds", [2, 5, 20])
@pytest.mark.parametrize("update", [20 * MS, 100 * MS])
def test_constant_power_is_right(seconds: int, update: int) -> None:
    assert max(map(abs, errors(steady, seconds, 40, update=update))) <= 1e-3


@pytest.mark.parametrize("period", [10 * MS, 100 * MS, 500 * MS, 2 * S])
def test_square_waves_inside_a_window_do_not_alias(period: int) -> None:
    def waves(_: random.Random, start: int, end: int) -> Power:
        return square(start, end, IDLE, WORK, period)

    assert max(map(abs, errors(waves, 5, 15))) <= 1e-3


def test_the_stated_doubt_holds_the_truth_in_19_of_20_windows_and_is_not_five_times_the_spread() -> None:
    rng = random.Random(2026)
    covered, apart, stated = 0, [], []
    for _ in range(1_000):
        idle, high = rng.randrange(40_000, 120_000), rng.randrange(150_000, 700_000)
        scene = random_world(
            rng,
            lambda a, b, idle=idle, high=high: idle_work_idle(a, b, idle, high),
            rng.uniform(2, 12),
            mean_update=rng.choice([1, 20 * MS, 100 * MS]),
            update=rng.choice([20 * MS, 100 * MS]),
        )
        found, truth = of(scene), scene.truth()
        doubt = found.uncertainty.expanded(gain=False)
        covered += abs(found.joules - truth) <= doubt
        apart.append(float(found.joules - truth))
        stated.append(float(doubt))
    assert covered >= 950
    assert statistics.fmean(stated) <= 5 * statistics.pstdev(apart)


# The properties


def test_idle_is_taken_out_by_the_rule_and_gross_keeps_it() -> None:
    found = of(work())
    assert float(found.idle_watts) == pytest.approx(70, rel=2e-3)
    assert found.idle_net == found.joules - found.idle_watts * 2
    assert float(found.idle_net) == pytest.approx(580 * 2, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 599_000), st.integers(150_000, 650_000), st.integers(1, 50_000))
def test_more_work_never_costs_less(start: int, high: int, more: int) -> None:
    shift = start * 1_000  # the phases of ticks and work in every relation
    scenes = [
        World(
            power=idle_work_idle(100 * S + shift, 102 * S + shift, IDLE, power),
            open_ns=100 * S + shift,
            close_ns=102 * S + shift,
        )
        for power in (high, high + more)
    ]
    less, cost = (of(scene).joules for scene in scenes)
    assert less < cost


@settings(max_examples=15, deadline=None)
@given(st.integers(1_000, 5_000), st.integers(100_000, 650_000), st.integers(100_000, 650_000))
def test_two_windows_with_idle_between_them_cost_what_one_over_both_costs(length: int, first: int, second: int) -> None:
    a, b, c, d = 100 * S, 102 * S, 102 * S + length * MS + 5 * S, 105 * S + length * MS + 5 * S
    corners = [(0, IDLE), (a, IDLE), (a, first), (b, first), (b, IDLE), (c, IDLE), (c, second), (d, second), (d, IDLE)]
    power = Power(corners)
    one, two, both = (World(power=power, open_ns=s, close_ns=e, phase=11 * MS) for s, e in ((a, b), (c, d), (a, d)))
    parts, whole = [of(one), of(two)], of(both)
    between = Fraction(IDLE, 1_000) * Fraction(c - b, S)
    doubt = sum(found.uncertainty.expanded(gain=False) for found in [*parts, whole]) + between / 500
    assert abs(sum(found.joules for found in parts) + between - whole.joules) <= doubt


def test_a_ramp_inside_the_window_is_right() -> None:
    corners = [(0, IDLE), (100 * S, IDLE), (101 * S, WORK), (102 * S, IDLE)]
    scene = world(Power(corners))
    assert float(of(scene).joules / scene.truth()) == pytest.approx(1, abs=2e-3)


def test_a_window_of_idle_alone_costs_idle_and_nothing_net() -> None:
    found = of(world(constant(IDLE)))
    assert float(found.joules) == pytest.approx(140, rel=1e-3)
    assert abs(found.idle_net) <= found.idle_net_doubt


# Cheats


def test_work_that_goes_on_after_the_answers_is_charged_and_named() -> None:
    found = of(work(tail=[(102 * S, WORK), (103 * S, WORK), (103 * S, IDLE)]))
    assert found.flags == ("DEFERRED_WORK",)
    assert float(found.joules) == pytest.approx(3 * 580 + 2 * 70, rel=5e-3)


def test_a_trickle_after_the_answers_is_charged_and_named() -> None:
    found = of(work(tail=[(102 * S, IDLE + 30_000), (104 * S, IDLE + 30_000), (104 * S, IDLE)]))
    assert found.flags == ("DEFERRED_WORK",)
    assert float(found.joules) == pytest.approx(1_300 + 60, rel=3e-3)


def test_an_honest_tail_is_not_charged() -> None:
    found = of(work())
    assert found.deferred == 0
    assert found.flags == ()


# Two channels


@pytest.mark.parametrize("gain", [Fraction(57, 100), Fraction(96, 100), Fraction(104, 100)])
def test_a_counter_that_is_wrong_by_a_factor_is_not_counted(gain: Fraction) -> None:
    with pytest.raises(InvalidMeasurement) as caught:
        of(work(gain=gain))
    assert caught.value.code == "CHANNELS_DISAGREE"


def test_the_counter_stands_when_the_channels_agree() -> None:
    found = of(work(gain=Fraction(101, 100)))
    assert found.method == "nvml-gated/1"
    assert float(found.joules) == pytest.approx(1_313, rel=1e-3)
    assert found.mean is not None
    unexplained = 13 - float(found.mean.resolution)
    assert float(found.uncertainty.u_channels) == pytest.approx(unexplained / 3**0.5, rel=0.1)


def test_without_a_counter_the_mean_with_its_tail_stands_under_its_own_name() -> None:
    found = of(work(counter=False))
    assert found.method == "nvml-gated-mean/1"
    assert float(found.joules) == pytest.approx(1_300, rel=1e-3)
    assert found.uncertainty.u_channels is None


def test_without_a_mean_the_counter_stands_alone() -> None:
    assert float(of(work(mean=False)).joules) == pytest.approx(1_300, rel=1e-3)


def test_nothing_read_is_nothing_stated() -> None:
    with pytest.raises(TraceGap):
        of(work(mean=False, counter=False))


# Faults


def test_a_counter_that_falls_is_a_reset() -> None:
    with pytest.raises(CounterReset):
        of(work(seen=lambda t, mj: mj if t < 101 * S else mj - 7_000_000))


def test_a_counter_that_never_moves_is_no_zero() -> None:
    with pytest.raises(WindowTooShort) as caught:
        of(work(seen=lambda _t, _mj: 5))
    assert caught.value.code == "NO_IDLE_TICKS"


def test_a_device_that_says_zero_is_not_believed() -> None:
    with pytest.raises(InvalidMeasurement) as caught:
        of(world(constant(0), counter=False))
    assert caught.value.code == "ZERO_ENERGY"


@pytest.mark.parametrize("column", ["energy_mj", "mean_mw"])
def test_a_reading_that_is_missing_is_a_lost_channel(column: str) -> None:
    scene = work()
    found = scene.series()
    values = list(getattr(found, column))
    values[len(values) // 2 + 1] = None
    with pytest.raises(TraceGap) as caught:
        measure(replace(found, **{column: values}), scene.gate())
    assert caught.value.code == "CHANNEL_LOST"


# The terms of the doubt


def test_the_gain_is_the_boards_until_a_calibration_replaces_it() -> None:
    assert float(gated.u_gain(Fraction(1_000))) == pytest.approx(1_000 * 0.05 / 3**0.5)
    assert gated.u_gain(Fraction(1_000), Fraction(1, 100)) == 10


def test_idle_that_drifts_widens_the_doubt_by_its_drift_over_one_update() -> None:
    calm, drifting = (work(idle=IDLE), work(tail=[(102 * S, IDLE + 4_000), (110 * S, IDLE + 4_000)]))
    narrow, wide = of(calm).uncertainty.u_edge, of(drifting).uncertainty.u_edge
    assert float(wide) == pytest.approx((float(narrow) ** 2 + (4 * 0.1) ** 2) ** 0.5, rel=0.1)


def test_both_ticks_places_and_the_slope_over_the_slack_make_the_doubt_of_the_edges() -> None:
    window = Window(name="run-1", open_ns=100 * S, close_ns=102 * S)
    bracket = gated.Bracket(
        joules=Fraction(1),
        start=gated.Tick(after_ns=100 * S - 42 * MS, by_ns=100 * S - 38 * MS, value=1),  # 2 ms either way, 40 ms before
        end=gated.Tick(after_ns=102 * S + 57 * MS, by_ns=102 * S + 63 * MS, value=2),  # 3 ms either way, 60 ms after
        idle=gated.Slope(watts=Fraction(100), bound=Fraction(3)),
        idle_after=gated.Slope(watts=Fraction(104), bound=Fraction(3)),
        update_ns=100 * MS,
        deferred=Fraction(0),
        resolution=Fraction(0),
    )
    drift, places, slack, digit = 4 * 0.1, 100 * 0.005, 3 * 0.1, 0.001
    expected = (drift**2 + (places**2 + slack**2 + digit**2) / 3) ** 0.5
    assert float(gated.u_edge(bracket, window)) == pytest.approx(expected, rel=1e-9)


def test_the_doubt_of_runs_is_that_of_their_mean() -> None:
    assert float(gated.u_runs([Fraction(v) for v in (9, 10, 11)])) == pytest.approx(1 / 3**0.5)
    assert gated.u_runs([Fraction(1)]) is None


def test_a_gate_needs_its_idle() -> None:
    found = work()

    class Record:
        digest = "00" * 32

    short = Window(name="idle-1", open_ns=102 * S, close_ns=103 * S)
    before = Window(name="idle-0", open_ns=97 * S, close_ns=99 * S)
    with pytest.raises(WindowTooShort) as caught:
        gated.gate(Record(), found.gate().window, before, short)
    assert caught.value.code == "NOT_HELD"
