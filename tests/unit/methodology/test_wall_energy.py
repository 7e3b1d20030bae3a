"""A node at the wall, in virtual time: its power is given, so its energy is known; the log says the rest."""

from __future__ import annotations

import random
import statistics
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
from gates import MS, Power, S, constant, idle_work_idle
from hypothesis import given, settings
from hypothesis import strategies as st
from records import FAST, Scene, cpu_sources, source, steady_world
from wall_meter import ORIGIN, REALTIME, WallMeter, calibration

from protocol.errors import CounterReset, InvalidMeasurement, TraceGap
from protocol.methodology import trace as record
from protocol.methodology.energy import Measured, Simulated
from protocol.methodology.trace import PowerTrace, Window
from protocol.methodology.wall import (
    METHOD_WALL,
    METHOD_WALL_COUNTER,
    METHOD_WALL_COUNTER_GATED,
    METHOD_WALL_GATED,
    NodeReading,
    disagreement,
    node,
)
from protocol.methodology.wall_checks import check_log
from protocol.methodology.wall_csv import WallTrace
from protocol.methodology.wall_log import Clock, Log

IDLE, WORK = 300_000, 900_000
WINDOWS = (("idle-0", S, 6 * S), ("run-1", 6 * S + 1, 26 * S), ("idle-1", 26 * S + 1, 31 * S))
RUN = (ORIGIN + 6 * S + 1, ORIGIN + 26 * S)
STRAIGHT = Clock(monotonic_ns=0, realtime_ns=REALTIME, slope=Fraction(1), drift_ns=0)
START, END = ORIGIN - 5 * S, ORIGIN + 40 * S


def works() -> Power:
    return idle_work_idle(*RUN, IDLE, WORK)


def scene(**changes: object) -> Scene:
    return Scene(**{"windows": WINDOWS, "tail": 3 * S, **changes})  # type: ignore[arg-type]


PLAIN = scene().trace()


def read(meter: WallMeter, power: PowerTrace = PLAIN, *, gated: bool = True, **facts: object) -> NodeReading:
    found, document = meter.log(START, END), calibration(reading=meter.reading, **facts)
    check_log(power, found, document)
    around = [power.window("idle-0"), power.window("idle-1")] if gated else []
    return node(power, found, document, power.window("run-1"), around)


def voided(meter: WallMeter, code: str, power: PowerTrace = PLAIN, **facts: object) -> InvalidMeasurement:
    with pytest.raises(InvalidMeasurement) as caught:
        read(meter, power, **facts)
    assert caught.value.code == code
    return caught.value


# What it says of a node whose energy is known


@pytest.mark.parametrize("columns", [("watts",), ("joules",), ("wh",), ("watts", "wh"), ("watts", "joules", "volts")])
def test_a_run_costs_what_the_node_drew(columns: tuple[str, ...]) -> None:
    found = read(WallMeter(power=works(), columns=columns, places=4, interval=S // 10), intervalSeconds="0.1")
    truth = works().joules(*RUN)
    assert isinstance(found.gross, Measured)
    assert float(found.gross.joules) == pytest.approx(float(truth), rel=1e-4)
    assert found.gross.uncertainty is not None
    assert abs(found.gross.joules - truth) <= found.gross.uncertainty <= truth / 400
    assert found.gross.method == (METHOD_WALL_GATED if columns == ("watts",) else METHOD_WALL_COUNTER_GATED)
    assert found.idle_net is not None
    assert found.idle_net_uncertainty is not None
    assert float(found.idle_net) == pytest.approx(600 * 20, rel=1e-4)
    assert abs(found.idle_net - 600 * 20) <= found.idle_net_uncertainty


@pytest.mark.parametrize("columns", [("watts",), ("joules",)])
def test_without_idle_around_the_edges_cost_accuracy_and_say_so(columns: tuple[str, ...]) -> None:
    bare, whole = (
        read(WallMeter(power=works(), columns=columns, phase=500 * MS), gated=gated) for gated in (False, True)
    )
    truth = works().joules(*RUN)
    assert bare.gross.method == (METHOD_WALL if columns == ("watts",) else METHOD_WALL_COUNTER)
    assert bare.idle_net is None
    assert bare.gross.uncertainty is not None
    assert whole.gross.uncertainty is not None
    assert truth / 100 < truth - bare.gross.joules <= bare.gross.uncertainty  # a quarter of a second of 600 W, twice
    assert abs(truth - whole.gross.joules) <= truth / 10_000
    assert whole.gross.uncertainty < bare.gross.uncertainty / 4


def test_work_after_the_run_is_charged_to_it() -> None:
    a, b = RUN
    tail = [(b, IDLE + 100_000), (b + S, IDLE + 100_000), (b + S, IDLE)]
    found = read(WallMeter(power=Power([(0, IDLE), (a, IDLE), (a, WORK), (b, WORK), *tail])))
    assert float(found.gross.joules) == pytest.approx(900 * 20 + 100, rel=1e-4)


def test_the_certificates_gain_and_offset_are_applied() -> None:
    off = WallMeter(power=constant(400_000), gain=Fraction(10, 11), offset=Fraction(2), places=6)
    found = read(off, gain="1.1", offsetWatts="2")
    assert float(found.gross.joules) == pytest.approx(400 * 20, rel=1e-6)
    assert found.idle_net is not None
    assert float(found.idle_net) == pytest.approx(0, abs=1e-2)


def test_instant_readings_make_trapezoids() -> None:
    ramp = Power([(START - 50 * S, 200_000), (END + 50 * S, 200_000 + 145 * 4_000)])
    found = read(WallMeter(power=ramp, reading="instant", places=9))
    assert float(found.gross.joules) == pytest.approx(float(ramp.joules(*RUN)), rel=1e-6)


def test_the_terms_are_those_of_the_rule() -> None:
    certificate = {"gainUncertainty": "0.002", "offsetUncertaintyWatts": "0.5"}
    doubt = read(WallMeter(power=constant(500_000)), gated=False, **certificate).energy.uncertainty
    seconds = Fraction(RUN[1] - RUN[0], S)
    assert doubt.u_gain == 500 * seconds / 500
    assert doubt.u_offset == seconds / 2
    assert float(doubt.u_resolution) == pytest.approx(0.005 * 20 / 3**0.5, rel=1e-6)
    assert float(doubt.u_rate) == pytest.approx(10_000 * 500e-6 / 3**0.5, rel=1e-6)
    assert (doubt.u_clock, doubt.u_sampling) == (0, 0)  # at constant power neither clock nor sampling can matter


def test_the_last_digit_and_the_rate_make_the_doubt_of_constant_power() -> None:
    doubt = read(WallMeter(power=constant(500_000), places=0), gated=False).energy.uncertainty
    assert float(doubt.u_resolution) == pytest.approx(0.5 * 20 / 3**0.5, rel=1e-6)
    both = (float(doubt.u_resolution) ** 2 + float(doubt.u_rate) ** 2) ** 0.5
    assert float(doubt.standard(calibrated=False)) == pytest.approx(both, rel=1e-6)
    counted = read(WallMeter(power=constant(500_000), columns=("wh",), places=3), gated=False).energy.uncertainty
    assert float(counted.u_resolution) == pytest.approx(3.6 / 3**0.5, rel=1e-6)


def test_idle_that_is_another_after_the_run_adds_to_the_doubt() -> None:
    a, b = RUN
    found = read(WallMeter(power=Power([(0, IDLE), (a, IDLE), (a, WORK), (b, WORK), (b, IDLE + 20_000)])))
    slack = 2 * 2.02  # on each side two intervals and twice the clock's doubt
    assert float(found.energy.uncertainty.u_idle) == pytest.approx(20 * slack / 2 / 3**0.5, rel=1e-3)
    assert float(found.gross.joules) == pytest.approx(900 * 20, rel=1e-4)
    assert float(read(WallMeter(power=works())).energy.uncertainty.u_idle) == 0


def test_a_clock_that_is_off_costs_the_step_times_its_doubt() -> None:
    near, far = (
        read(WallMeter(power=works(), interval=S // 10), gated=False, intervalSeconds="0.1", clockUncertaintySeconds=u)
        for u in ("0.1", "0.2")
    )
    assert float(near.energy.uncertainty.u_clock) == pytest.approx(600 * 0.1, rel=1e-6)
    assert float(far.energy.uncertainty.u_clock) == pytest.approx(600 * 0.2, rel=1e-6)


def test_a_host_clock_that_was_slewed_adds_to_the_doubt() -> None:
    slewed = scene(realtime_step=40 * MS).trace()
    still, moved = (read(WallMeter(power=works()), record, gated=False) for record in (PLAIN, slewed))
    assert moved.energy.uncertainty.u_clock > still.energy.uncertainty.u_clock
    assert moved.energy.uncertainty.u_rate > still.energy.uncertainty.u_rate


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 40 * S), min_size=3, max_size=8, unique=True),
    st.lists(st.integers(1_000, 2_000_000), min_size=45, max_size=45),
    st.sampled_from(["mean", "instant"]),
    st.sampled_from(["watts", "joules"]),
)
def test_adjoining_windows_cost_what_one_over_all_costs(
    cuts: list[int], watts: list[int], reading: str, column: str
) -> None:
    corners = [(ORIGIN - 2 * S + i * S, mw) for i, mw in enumerate(watts)]
    meter = WallMeter(power=Power(corners), phase=123 * MS, reading=reading, columns=(column,), places=6)
    document = calibration(reading=reading, gain="0.993", offsetWatts="1.5")
    log = Log(meter.log(START, ORIGIN + 45 * S), document, STRAIGHT)
    at = sorted(REALTIME + ORIGIN + cut for cut in cuts)
    parts = [log.energy(a, b) for a, b in pairwise(at)]
    whole = log.energy(at[0], at[-1])
    assert sum((part.joules for part in parts), Fraction(0)) == whole.joules
    assert whole.joules + document.gain * document.offset_watts * Fraction(at[-1] - at[0], S) > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(-900 * MS, 900 * MS), st.integers(0, S - 1), st.sampled_from(["mean", "instant"]))
def test_an_offset_within_twice_its_doubt_never_leaves_the_stated_one(ahead: int, phase: int, reading: str) -> None:
    power = works()
    meter = WallMeter(power=power, phase=phase, ahead=ahead, reading=reading)
    found = read(meter, gated=False, clockUncertaintySeconds="0.45")
    assert found.gross.uncertainty is not None
    assert abs(found.gross.joules - power.joules(*RUN)) <= found.gross.uncertainty


def test_the_stated_doubt_holds_the_truth_in_19_of_20_windows_and_is_not_five_times_the_spread() -> None:
    rng = random.Random(2026)
    covered, apart, stated = 0, [], []
    for _ in range(1_000):
        a = ORIGIN + rng.randrange(S)
        b = a + rng.randrange(3 * S, 15 * S)
        power = idle_work_idle(a, b, rng.randrange(200_000, 400_000), rng.randrange(500_000, 1_500_000))
        interval, doubt = rng.choice([S // 5, S // 2, S]), rng.choice([1, 10, 100])
        meter = WallMeter(
            power=power,
            interval=interval,
            phase=rng.randrange(interval),
            ahead=int(rng.gauss(0, doubt * MS)),
            reading=rng.choice(["mean", "instant"]),
            columns=(rng.choice(["watts", "joules"]),),
        )
        document = calibration(
            reading=meter.reading, intervalSeconds=str(interval / S), clockUncertaintySeconds=f"{doubt / 1000}"
        )
        found = Log(meter.log(a - 3 * S, b + 3 * S), document, STRAIGHT).energy(a + REALTIME, b + REALTIME)
        error, limit = found.joules - power.joules(a, b), 2 * found.uncertainty.standard(calibrated=False)
        covered += abs(error) <= limit
        apart.append(float(error))
        stated.append(float(limit))
    assert covered >= 950
    assert statistics.fmean(stated) <= 5 * statistics.pstdev(apart)


@pytest.mark.parametrize(("reading", "allowed"), [("mean", 1e-3), ("instant", 1e-1)])
def test_a_bracketed_run_is_right_and_its_doubt_holds_it(reading: str, allowed: float) -> None:
    rng = random.Random(7)
    covered, worst = 0, 0.0
    for _ in range(200):
        a = ORIGIN + 10 * S + rng.randrange(S)
        b = a + rng.randrange(10 * S, 20 * S)
        power = idle_work_idle(a, b, rng.randrange(200_000, 400_000), rng.randrange(500_000, 1_500_000))
        interval, doubt = rng.choice([S // 5, S // 2, S]), rng.choice([1, 10, 100])
        kind = rng.choice(["watts", "joules"])
        ahead = int(rng.gauss(0, doubt * MS))
        meter = WallMeter(power=power, interval=interval, phase=rng.randrange(interval), ahead=ahead, reading=reading)
        meter = replace(meter, columns=("watts",) if reading == "instant" else (kind,))
        facts = {"reading": reading, "intervalSeconds": str(interval / S), "clockUncertaintySeconds": f"{doubt / 1000}"}
        marks = [Window(name=name, open_ns=s, close_ns=e) for name, s, e in (("b", a - 8 * S, a), ("a", b, b + 8 * S))]
        found = node(
            PLAIN, meter.log(a - 9 * S, b + 9 * S), calibration(**facts), Window(name="r", open_ns=a, close_ns=b), marks
        )
        error, limit = found.gross.joules - power.joules(a, b), 2 * found.energy.uncertainty.standard(calibrated=False)
        covered += abs(error) <= limit
        worst = max(worst, abs(float(error / power.joules(a, b))))
    assert covered >= 190
    assert worst <= allowed  # instant readings leave open when within an interval the work began


def test_idle_too_short_for_the_log_gives_no_net() -> None:
    short = scene(windows=(("idle-0", 5 * S, 6 * S), ("run-1", 6 * S + 1, 26 * S), ("idle-1", 26 * S + 1, 27 * S)))
    found = read(WallMeter(power=works()), short.trace())
    assert (found.idle_net, found.idle_net_uncertainty) == (None, None)


def test_a_change_of_range_is_noticed() -> None:
    log = WallMeter(power=works()).log(START, END)
    half = len(log.times) // 2
    power, document = scene().trace(), calibration()
    switched = replace(log, ranges=("2A",) * half + ("5A",) * (len(log.times) - half))
    assert node(power, switched, document, power.window("run-1")).flags == ("WALL_RANGE_CHANGED",)
    assert node(power, replace(log, ranges=("2A",) * len(log.times)), document, power.window("run-1")).flags == ()


def test_beside_a_stand_in_device_the_node_is_simulated() -> None:
    stand_in = scene(sources={**cpu_sources(), "gpu": source("simulated")}).trace()
    assert isinstance(read(WallMeter(power=works()), stand_in).gross, Simulated)


# What voids it


def test_a_gap_voids() -> None:
    hole = WallMeter(power=works(), skip=lambda at: ORIGIN + 10 * S < at <= ORIGIN + 13 * S)
    voided(hole, "WALL_GAP")
    read(WallMeter(power=works(), skip=lambda at: ORIGIN + 10 * S < at <= ORIGIN + 12 * S))
    slow = WallMeter(power=works(), interval=2 * S, skip=lambda at: ORIGIN + 10 * S < at <= ORIGIN + 14 * S)
    assert "5000000000 ns" in voided(slow, "WALL_GAP", intervalSeconds="2").expected


@pytest.mark.parametrize(
    "part", [(START, ORIGIN + 30 * S), (ORIGIN + 2 * S, END), (ORIGIN + 100 * S, ORIGIN + 120 * S)]
)
def test_a_log_that_does_not_cover_the_idle_around_voids(part: tuple[int, int]) -> None:
    power, found = scene().trace(), WallMeter(power=works()).log(*part)
    with pytest.raises(TraceGap, match="WALL_NOT_COVERING"):
        check_log(power, found, calibration())
    with pytest.raises(TraceGap, match="WALL_NOT_COVERING"):
        node(power, found, calibration(), Window(name="all", open_ns=ORIGIN + S, close_ns=ORIGIN + 31 * S))


def test_an_hour_of_summer_time_is_no_cover() -> None:
    voided(WallMeter(power=works(), ahead=3600 * S), "WALL_NOT_COVERING")


@pytest.mark.parametrize("shown", [Fraction(0), Fraction(-3)])
def test_a_node_that_draws_nothing_voids(shown: Fraction) -> None:
    dark = WallMeter(power=works(), shown=lambda at, watts: shown if ORIGIN + 9 * S <= at < ORIGIN + 10 * S else watts)
    voided(dark, "WALL_NO_POWER")


def test_a_counter_that_falls_voids() -> None:
    falls = idle_work_idle(ORIGIN + 9 * S, ORIGIN + 11 * S, IDLE, -WORK)
    with pytest.raises(CounterReset):
        read(WallMeter(power=falls, columns=("joules",)))


def test_a_counter_that_stands_still_is_no_energy() -> None:
    voided(WallMeter(power=constant(0), columns=("joules",)), "ZERO_ENERGY")


def test_an_expired_certificate_voids() -> None:
    certificate = {"id": "C", "issuer": "L", "calibratedOn": "2022-01-31", "validUntil": "2023-01-30"}
    voided(WallMeter(power=works()), "WALL_CALIBRATION_EXPIRED", certificate=certificate)


@pytest.mark.parametrize("interval", ["0.5", "2", "1.2"])
def test_another_interval_than_the_documents_voids(interval: str) -> None:
    voided(WallMeter(power=works()), "WALL_INTERVAL", intervalSeconds=interval)


def test_two_columns_that_disagree_void() -> None:
    half = WallMeter(power=works(), columns=("watts", "joules"), shown=lambda _, watts: watts / 2)
    voided(half, "CHANNELS_DISAGREE")


def test_volts_and_amps_must_make_the_watts() -> None:
    whole = WallMeter(power=works(), columns=("watts", "volts", "amps", "pf"))
    read(whole)
    voided(replace(whole, gain=Fraction(-1)), "WALL_NO_POWER")
    swapped = WallMeter(power=works(), columns=("watts", "volts", "amps"), shown=lambda _, x: x / 3 if x < 10 else x)
    voided(swapped, "WALL_INCONSISTENT")
    tripled = WallMeter(
        power=works(), columns=("watts", "volts", "amps", "pf"), shown=lambda _, x: x * 3 if x < 10 else x
    )
    voided(tripled, "WALL_INCONSISTENT")
    read(WallMeter(power=works(), columns=("watts", "volts", "amps"), shown=lambda _, x: x * 3 if x < 10 else x))


def gpu_scene(mean: object) -> PowerTrace:
    columns = ("gpu0.energy_mj", "gpu0.power_average_mw")
    world = {**steady_world(), columns[0]: lambda t: t // 10**7, columns[1]: mean}
    return scene(
        sources={**cpu_sources(), "gpu": source("nvml", devices=["gpu0"])}, world=world, fast=(*FAST, *columns)
    ).trace()


def test_a_log_that_repeats_its_last_reading_is_stuck_once_something_moves() -> None:
    stuck = WallMeter(power=works(), shown=lambda _, __: Fraction(500))
    moving = gpu_scene(lambda t: 70_000 if t < 12 * S else 90_000)
    assert "gpu0 went from 70000 to 90000 mW" in voided(stuck, "WALL_STUCK", moving).observed
    read(stuck, gpu_scene(lambda t: 70_000 if t < 12 * S else 79_000))
    follows = idle_work_idle(ORIGIN + 12 * S, END, IDLE, WORK)
    read(WallMeter(power=follows), moving)
    # An accelerator's 1 s mean still rises when the node's flat rows have begun; that is no sign of a stuck meter.
    lagging = gpu_scene(lambda t: 70_000 + min(max(t - 12 * S, 0), S) * 20_000 // S)
    read(WallMeter(power=follows, interval=S // 10), lagging, intervalSeconds="0.1")
    briefly = WallMeter(power=works(), shown=lambda at, w: Fraction(500) if at < ORIGIN + 9 * S else w + at // S % 7)
    read(briefly, moving)


def test_the_processors_too_say_that_a_log_is_stuck() -> None:
    def busy(t: int) -> int:
        return (t // (10 * MS)) // 10 + max(t - 12 * S, 0) // (10 * MS) * 15 // 10

    stuck = WallMeter(power=works(), shown=lambda _, __: Fraction(500))
    loaded = scene(world={**steady_world(), record.HOST_BUSY: busy}).trace()
    assert "the CPUs went from" in voided(stuck, "WALL_STUCK", loaded).observed


def test_the_node_costs_at_least_its_parts() -> None:
    whole = Measured(joules=Fraction(1000), uncertainty=Fraction(10), method="w")
    gpu = Measured(joules=Fraction(900), uncertainty=Fraction(50), method="g")
    cpu = Measured(joules=Fraction(150), uncertainty=None, method="c")
    assert disagreement(whole, {"gpu": gpu, "cpu": cpu}) is None  # 1,050 J of parts, 60 J of doubt
    words = disagreement(
        whole, {"gpu": gpu, "cpu": cpu, "dram": Measured(joules=Fraction(11), uncertainty=None, method="d")}
    )
    assert words is not None
    assert "1061.000 J" in words


def test_anchors_that_make_no_line_are_refused() -> None:
    power = scene().trace()
    broken = replace(power, anchor_end=power.anchor_start)
    with pytest.raises(InvalidMeasurement, match="CLOCK_STEPPED"):
        check_log(broken, WallMeter(power=works()).log(START, END), calibration())


def test_the_line_between_anchors_goes_both_ways() -> None:
    found: WallTrace = WallMeter(power=works()).log(START, END)
    line = Clock(monotonic_ns=ORIGIN, realtime_ns=REALTIME + ORIGIN, slope=Fraction(10**9 + 3, 10**9), drift_ns=120)
    for at in found.times:
        assert abs(line.realtime(line.monotonic(at)) - at) <= 1
