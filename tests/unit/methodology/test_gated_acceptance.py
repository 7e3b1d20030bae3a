"""Which gated windows count: each rule broken by itself, in a record, ends in its own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from gates import MS, Power, World, constant, idle_work_idle
from gates import S as SECOND
from records import FAST, SLOW, Scene, cpu_sources, source, steady_world

from protocol.methodology import acceptance
from protocol.methodology.gated import Gate, gate, measure, series
from protocol.methodology.gated_session import account_runs
from protocol.methodology.trace import CPU_TIME, PowerTrace, Window

OPEN, CLOSE = 5 * SECOND, 8 * SECOND
WORK = idle_work_idle(OPEN, CLOSE, 70_000, 650_000)
STATE = ("clock_reasons", "temperature_c", "power_limit_mw", "utilization")


ONE_RUN = (("idle-0", 2 * SECOND, 4 * SECOND), ("run-1", OPEN, CLOSE), ("idle-1", CLOSE + MS, CLOSE + 3 * SECOND))


def record(
    device: World | None = None,
    windows: Sequence[tuple[str, int, int]] = ONE_RUN,
    *,
    cpu: Callable[[int], int] = lambda t: t // 2,
    **state: Callable[[int], int],
) -> PowerTrace:
    """A session's record whose device is the world's; read every 20 ms, since there is no hunt here."""
    device = device or World(power=WORK, open_ns=OPEN, close_ns=CLOSE, phase=13 * MS, dither=1)
    defaults: dict[str, Callable[[int], int]] = {
        "clock_reasons": lambda t: 0,
        "temperature_c": lambda t: 41,
        "power_limit_mw": lambda t: 700_000,
        "utilization": lambda t: 100 if OPEN <= t <= CLOSE else 0,
    }
    world = {
        **steady_world(),
        CPU_TIME: cpu,
        "gpu0.energy_mj": device.counted,
        "gpu0.power_average_mw": device.averaged,
        **{f"gpu0.{name}": read for name, read in (defaults | state).items()},
    }
    scene = Scene(
        world=world,
        windows=windows,
        sources={**cpu_sources(), "gpu": source("nvml", devices=["gpu0"])},
        fast=(*FAST, "gpu0.energy_mj", "gpu0.power_average_mw"),
        slow=(*SLOW, *(f"gpu0.{name}" for name in STATE)),
        origin=0,
        period=20 * MS,
    )
    return scene.trace()


def gated(trace: PowerTrace) -> Gate:
    return gate(trace, trace.window("run-1"), trace.window("idle-0"), trace.window("idle-1"))


def codes(trace: PowerTrace) -> list[str]:
    return [fault.code for fault in acceptance.faults(trace, series(trace, "gpu0"), gated(trace))]


def test_an_honest_window_breaks_no_rule() -> None:
    trace = record()
    assert codes(trace) == []
    reading = measure(series(trace, "gpu0"), gated(trace))
    assert acceptance.implausible(trace, reading, trace.window("run-1")) == []
    assert float(reading.joules) == pytest.approx(1_950, rel=3e-3)  # located to 10 ms only: there was no hunt


def test_a_window_that_opens_while_the_device_cools_down_is_not_settled() -> None:
    corners = [(0, 400_000), (OPEN - SECOND, 400_000), (OPEN - SECOND, 70_000), (OPEN, 70_000)]
    power = Power([*corners, (OPEN, 650_000), (CLOSE, 650_000), (CLOSE, 70_000)])
    assert "NOT_SETTLED" in codes(record(World(power=power, open_ns=OPEN, close_ns=CLOSE)))


def test_a_device_that_cools_down_for_ten_seconds_is_not_settled_however_flat_it_looks() -> None:
    def warm(t: int) -> int:
        return 70_000 + int(30_000 * 0.9 ** ((t - OPEN) / SECOND))

    def fall(start: int, end: int, work: int = 0) -> list[tuple[int, int]]:
        return [(t, warm(t) + work) for t in range(start, end + 1, SECOND // 2)]

    power = Power([*fall(2 * SECOND, OPEN), *fall(OPEN, CLOSE, 580_000), *fall(CLOSE, CLOSE + 4 * SECOND)])
    trace = record(World(power=power, open_ns=OPEN, close_ns=CLOSE, phase=13 * MS, dither=1))
    assert codes(trace) == []  # within its band for 1.5 s
    assert "NOT_SETTLED" in [fault.code for fault in account_runs(trace, 1).faults]


def test_a_device_that_rests_higher_after_work_than_before_is_none_the_worse() -> None:
    corners = [(0, 70_000), (OPEN, 70_000), (OPEN, 650_000), (CLOSE, 650_000), (CLOSE, 80_000)]
    trace = record(World(power=Power(corners), open_ns=OPEN, close_ns=CLOSE, phase=13 * MS, dither=1))
    found = account_runs(trace, 1)
    assert found.faults == ()
    assert found.flags == ("DEFERRED_WORK",)  # it is charged: nobody can tell it from work


def test_a_counter_that_stands_still_in_the_work_is_frozen() -> None:
    still = int(WORK.energy(6 * SECOND) / 10**9) + 7_000_000
    device = World(
        power=WORK,
        open_ns=OPEN,
        close_ns=CLOSE,
        dither=1,
        seen=lambda t, mj: still if 6 * SECOND < t < 7 * SECOND else mj,
    )
    assert codes(record(device)) == ["COUNTER_FROZEN"]


@pytest.mark.parametrize("value", [0, 300_000])
def test_a_mean_that_does_not_move_while_the_device_works_is_stuck(value: int) -> None:
    class Stuck(World):
        def averaged(self, t: int) -> int:
            return value if t > OPEN else super().averaged(t)

    assert codes(record(Stuck(power=WORK, open_ns=OPEN, close_ns=CLOSE))) == ["POWER_STUCK"]


def test_a_mean_that_does_not_move_while_nothing_works_is_idle() -> None:
    trace = record(World(power=constant(70_000), open_ns=OPEN, close_ns=CLOSE), utilization=lambda t: 0)
    assert codes(trace) == []


@pytest.mark.parametrize(("limit", "broken"), [(700_000, []), (580_000, ["IMPLAUSIBLE_POWER"])])
def test_no_device_takes_more_than_its_limit(limit: int, broken: list[str]) -> None:
    trace = record(power_limit_mw=lambda t: limit)
    reading = measure(series(trace, "gpu0"), gated(trace))
    assert [f.code for f in acceptance.implausible(trace, reading, trace.window("run-1"))] == broken


def test_no_device_works_on_less_than_half_its_idle() -> None:
    trace = record()
    reading = replace(measure(series(trace, "gpu0"), gated(trace)), joules=Fraction(100))
    assert [f.code for f in acceptance.implausible(trace, reading, trace.window("run-1"))] == ["IMPLAUSIBLE_POWER"]


def test_clocks_that_somebody_chose_in_the_window_are_named() -> None:
    assert codes(record(clock_reasons=lambda t: 0x2 if t > 6 * SECOND else 0x1)) == ["CLOCKS_CHANGED"]
    assert codes(record(clock_reasons=lambda t: 0x4 if t > 6 * SECOND else 0x1)) == []  # the power cap is not a choice


@pytest.mark.parametrize(("last", "broken"), [(44, []), (45, ["TEMPERATURE_APART"])])
def test_runs_begin_equally_warm(last: int, broken: list[str]) -> None:
    trace = record(temperature_c=lambda t: last if t > 7 * SECOND else 41)
    runs = [trace.window("run-1"), Window(name="run-2", open_ns=CLOSE + MS, close_ns=CLOSE + SECOND)]
    assert [f.code for f in acceptance.start_temperatures(trace, "gpu0", runs)] == broken


def test_a_session_is_answered_whole() -> None:
    found = account_runs(record(), 1)
    assert found.faults == ()
    assert found.flags == ()
    assert float(found.joules[0]) == pytest.approx(1_950, rel=3e-3)
    assert abs(float(found.setup_joules["gpu0"])) < 10  # idle for an update at most: nothing was done before
    assert found.u_runs is None


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"power_limit_mw": lambda t: 580_000}, "IMPLAUSIBLE_POWER"),
        ({"clock_reasons": lambda t: 0x2 if t > 6 * SECOND else 0}, "CLOCKS_CHANGED"),
    ],
)
def test_a_session_with_one_broken_rule_is_void_with_its_code(state: dict, code: str) -> None:
    assert [fault.code for fault in account_runs(record(**state), 1).faults] == [code]


def test_work_on_the_processors_is_no_work_on_the_accelerator() -> None:
    lazy = World(power=idle_work_idle(OPEN, CLOSE, 70_000, 90_000), open_ns=OPEN, close_ns=CLOSE, dither=1)
    found = account_runs(record(lazy, cpu=lambda t: t * 9 // 10), 1)
    assert [fault.code for fault in found.faults] == ["WORK_ON_CPU"]
    assert account_runs(record(lazy), 1).faults == ()  # half a CPU, as the steady world uses, is not out of the way
    assert account_runs(record(cpu=lambda t: t * 9 // 10), 1).faults == ()  # nor are busy CPUs beside a busy device


def test_answers_kept_from_run_to_run_show_as_a_trend() -> None:
    honest = [Fraction(100 + i % 3) for i in range(10)]
    kept = [Fraction(100 - 4 * i) for i in range(10)]
    assert acceptance.trend(honest) == []
    assert [fault.code for fault in acceptance.trend(kept)] == ["TREND"]
    assert acceptance.trend(kept[:5]) == []  # too few to tell
    step = [Fraction(115), *(Fraction(100 + i % 3) for i in range(9))]
    assert [fault.code for fault in acceptance.trend(step)] == ["TREND"]
    assert acceptance.trend([Fraction(105), *step[1:]]) == []


def several(works: Sequence[int], between: int = 70_000, **state: Callable[[int], int]) -> PowerTrace:
    """Runs of 2 s, 10 s apart, each of its own power; for a second between them the device takes `between`."""
    opens = [(5 + 10 * k) * SECOND for k in range(len(works))]
    corners = [(0, 70_000)]
    for begin, high in zip(opens, works, strict=True):
        end = begin + 2 * SECOND
        corners += [(begin, 70_000), (begin, high), (end, high), (end, 70_000)]
        corners += [(end + 3 * SECOND, 70_000), (end + 3 * SECOND, between), (end + 4 * SECOND, between)]
        corners += [(end + 4 * SECOND, 70_000)]
    windows = [("idle-0", SECOND, 5 * SECOND - MS)]
    for k, begin in enumerate(opens, 1):
        last = begin + 5 * SECOND if k == len(opens) else begin + 10 * SECOND - MS
        windows += [(f"run-{k}", begin, begin + 2 * SECOND), (f"idle-{k}", begin + 2 * SECOND + MS, last)]
    device = World(power=Power(corners), open_ns=opens[0], close_ns=opens[0] + 2 * SECOND, phase=13 * MS, dither=1)
    working = lambda t: 100 if any(a <= t <= a + 2 * SECOND for a in opens) else 0  # noqa: E731
    return record(device, windows, **{"utilization": working, **state})


def test_honest_runs_of_one_session_have_no_fault_and_no_flag() -> None:
    found = account_runs(several([650_000] * 6), 6)
    assert (found.faults, found.flags) == ((), ())
    assert [round(float(joules)) for joules in found.joules] == pytest.approx([1_300] * 6, rel=4e-3)
    assert found.u_runs is not None


def test_runs_that_cost_less_and_less_are_flagged() -> None:
    assert account_runs(several([650_000, 600_000, 550_000, 500_000, 450_000, 400_000]), 6).flags == ("TREND",)


def test_work_between_two_runs_is_a_rehearsal() -> None:
    found = account_runs(several([650_000, 650_000], between=300_000), 2)
    assert [fault.code for fault in found.faults] == ["REHEARSAL"]


def test_a_session_whose_runs_did_not_begin_equally_warm_is_void() -> None:
    found = account_runs(several([650_000, 650_000], temperature_c=lambda t: 41 + t // (3 * SECOND)), 2)
    assert [fault.code for fault in found.faults] == ["TEMPERATURE_APART"]
