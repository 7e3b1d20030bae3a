"""The curves of a report carry the record's own energy, have gaps where nothing was read, and never lose a peak."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from orchestrator.report.curves import MAX_WATTS, Shape, borders, channels, steps
from orchestrator.report.scale import path, power_axis, round_step, thin
from protocol.errors import VerificationError
from protocol.methodology.energy import read_channel
from protocol.methodology.gated import Tick
from protocol.methodology.trace import CPU_TIME, MEMORY, PowerTrace
from tests.standin.records import MS, S, Scene, cpu_sources, source, steady_world


def joules(curve, start_ns: int, end_ns: int) -> float:
    """Return the area under a curve of steps between two instants."""
    area = 0.0
    for piece in curve.pieces:
        for (s, watts), (t, _) in zip(piece[::2], piece[1::2], strict=True):
            area += watts * max(min(t, end_ns) - max(s, start_ns), 0) / S
    return area


def whole(trace: PowerTrace):
    return {channel.name: channel for channel in channels(trace, trace.fast.times[0], trace.fast.times[-1])}


def gpu(**world) -> PowerTrace:
    scene = Scene(
        world={**steady_world(), **world},
        sources={**cpu_sources(), "gpu": source("nvml", devices=["gpu0"])},
        fast=(CPU_TIME, *(name for name in world if name.startswith("gpu0"))),
    )
    return scene.trace()


def uneven(t: int) -> int:
    """CPU time that comes in bursts."""
    return t // 3 + (t // (700 * MS)) * 50 * MS


@pytest.mark.parametrize("window", ["idle-0", "run-1", "idle-1"])
def test_the_cpu_curve_carries_exactly_the_estimated_energy(window: str):
    trace = Scene(world={**steady_world(), CPU_TIME: uneven}).trace()
    marks = trace.window(window)
    found = whole(trace)["cpu"]
    assert found.kind == "estimated"
    assert joules(found.curves[0], marks.open_ns, marks.close_ns) == pytest.approx(
        float(read_channel(trace, "cpu", marks).joules), rel=1e-12
    )


def test_the_memory_curve_carries_exactly_the_estimated_energy():
    trace = Scene(world={**steady_world(), MEMORY: lambda t: 10**9 + t // 5}).trace()
    marks = trace.window("run-1")
    area = joules(whole(trace)["dram"].curves[0], marks.open_ns, marks.close_ns)
    assert area == pytest.approx(float(read_channel(trace, "dram", marks).joules), rel=1e-12)


def test_a_rapl_curve_carries_exactly_the_measured_energy():
    counters = [{"column": "rapl.0", "range": 10**9}]
    trace = Scene(
        world={**steady_world(), CPU_TIME: uneven, "rapl.0": lambda t: (t // 100) % 10**9},
        sources={**cpu_sources(), "cpu": source("rapl", counters=counters)},
        slow=("host.busy_ticks", MEMORY, "rapl.0"),
    ).trace()
    found = whole(trace)["cpu"]
    marks = trace.window("run-1")
    assert found.kind == "measured"
    area = joules(found.curves[0], marks.open_ns, marks.close_ns)
    assert area == pytest.approx(float(read_channel(trace, "cpu", marks).joules), rel=1e-12)


def tick(at_ms: float, half_ms: float, value: int) -> Tick:
    return Tick(after_ns=int((at_ms - half_ms) * MS), by_ns=int((at_ms + half_ms) * MS), value=value)


def test_a_step_is_the_counter_over_the_time_between_two_ticks():
    assert steps([tick(100, 2, 0), tick(200, 2, 60_000), tick(300, 2, 67_000)]) == (
        (100 * MS, 600.0),
        (200 * MS, 600.0),
        (200 * MS, 70.0),
        (300 * MS, 70.0),
    )


def test_ticks_that_are_badly_placed_are_joined_until_their_doubt_is_a_fifth():
    moves = [tick(100 * number, 50, 60_000 * number) for number in range(11)]
    assert [at // MS for at, _ in steps(moves)] == [0, 500, 500, 1_000]
    assert {watts for _, watts in steps(moves)} == {600.0}


def test_the_counter_has_a_gap_where_it_was_not_read_and_where_it_fell():
    def counter(t: int) -> int | None:
        if 3 * S < t < 4 * S:
            return None
        return t // 10_000 if t < 6 * S else (t - 6 * S) // 10_000  # 100 W, and a reset at 6 s

    trace = gpu(**{"gpu0.energy_mj": counter})
    (curve,) = whole(trace)["gpu0"].curves
    spans = [((piece[0][0] - trace.origin_ns) / S, (piece[-1][0] - trace.origin_ns) / S) for piece in curve.pieces]
    assert len(spans) == 3
    assert spans[0][1] <= 3
    assert 4 <= spans[1][0] < spans[1][1] <= 6 <= spans[2][0]
    assert {round(watts, 6) for piece in curve.pieces for _, watts in piece} == {100.0}


def test_mean_and_instant_power_are_drawn_as_read():
    trace = gpu(**{"gpu0.power_average_mw": lambda t: 70_000, "gpu0.power_instant_mw": lambda t: t // (100 * MS)})
    mean, instant = whole(trace)["gpu0"].curves
    assert (mean.shape, instant.shape) == (Shape.LINE, Shape.DOTS)
    assert {watts for piece in mean.pieces for _, watts in piece} == {70.0}
    assert instant.pieces[0][10] == (trace.origin_ns + S, 0.01)


def test_a_window_mark_always_parts_two_stretches():
    assert borders([0, 100, 103, 200, 300], {103}, 50) == [0, 103, 200, 300]
    assert borders([0, 100, 103, 109, 200], {103, 109}, 50) == [0, 103, 109, 200]
    assert borders([0, 100, 120, 200], set(), 50) == [0, 100, 200]


def test_a_power_that_no_machine_takes_is_refused():
    trace = gpu(**{"gpu0.power_average_mw": lambda t: MAX_WATTS * 1_000 + 1})
    with pytest.raises(VerificationError, match="RECORD_IMPLAUSIBLE"):
        whole(trace)
    huge = gpu(**{"gpu0.power_average_mw": lambda t: 10**4_000})
    with pytest.raises(VerificationError, match="RECORD_IMPLAUSIBLE"):
        whole(huge)


def test_a_record_of_years_is_refused():
    trace = Scene().trace()
    with pytest.raises(VerificationError, match="RECORD_IMPLAUSIBLE"):
        channels(trace, 0, 10**19)


def test_a_channel_that_nothing_reads_has_no_curve():
    trace = Scene().trace()
    assert set(whole(trace)) == {"cpu", "dram"}
    assert set(whole(replace(trace, attachment=None))) == set()


def test_thinning_keeps_every_peak():
    places = [(column / 100, 50.0) for column in range(10_000)]
    places[4_321] = (43.21, 3.0)
    places[7_654] = (76.54, 99.0)
    kept = thin(places, 1.0)
    assert (43.21, 3.0) in kept
    assert (76.54, 99.0) in kept
    assert len(kept) <= 4 * 100
    assert kept == sorted(kept)


def test_a_path_says_each_place_once():
    assert path([(0, 1), (0.01, 1), (5, 1), (9, 1), (9, 4)]) == "M0 1L9 1L9 4"
    assert path([(3, 1)]) == "M3 1h0"


@pytest.mark.parametrize(("span", "count", "step"), [(35, 7, 5), (36, 7, 10), (3, 4, 1), ("0.018", 7, "0.005")])
def test_ticks_are_round_numbers(span, count, step):
    assert round_step(Fraction(span), count) == Fraction(step)


def test_a_power_axis_begins_at_zero_and_ends_above_the_highest():
    axis = power_axis(613.2, 200, 20, 4)
    assert [axis.label(value) for value in axis.ticks] == ["0", "200", "400", "600", "800"]
    assert (axis.at(0), axis.at(800)) == (200, 20)
    assert power_axis(0.0, 1, 0, 2).high == 1
