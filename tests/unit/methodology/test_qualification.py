"""A rig's qualification, from records of worlds whose truth is known: every figure, and every finding at its worst."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from records import MS, S, Scene, cpu_sources, source, steady_world

from protocol.methodology import qualification as q
from protocol.methodology.device_fitness import device_findings, setting_findings
from protocol.methodology.findings import Finding, fit
from protocol.methodology.sampler_fitness import sampler_findings
from protocol.methodology.trace import PowerTrace

IDLE_MW = 70_000
SOUND = {
    "power_limit_mw": 700_000,
    "mig": 0,
    "ecc": 1,
    "persistence": 1,
    "compute_mode": 0,
    "processes": 0,
    "foreign_processes": 0,
    "clock_reasons": 0,
}


def steady(tick: int = 100 * MS, mw: int = IDLE_MW) -> Callable[[int], int]:
    return lambda t: 5_000_000 + (t // tick * tick) * mw // S


def stretch(
    name: str = "slow-1",
    *,
    period: int = 100 * MS,
    seconds: int = 5,
    counter: Callable[[int], int | None] | None = None,
    mean: Callable[[int], int | None] | None = lambda t: IDLE_MW,
    origin: int = 5_000 * S,
    **facts,
) -> q.Stretch:
    """A device at rest, read every `period` for some seconds."""
    world = {**steady_world(), "gpu0.energy_mj": counter, "gpu0.power_average_mw": mean}
    state = {**SOUND, **facts.pop("state", {})}
    world |= {f"gpu0.{column}": (lambda _, value=value: value) for column, value in state.items()}
    absent = facts.pop("without", ())
    fast = [name for name in ("sandbox.cpu_ns", "gpu0.energy_mj", "gpu0.power_average_mw") if name not in absent]
    if counter is None:
        world["gpu0.energy_mj"] = steady()
    trace = Scene(
        world=world,
        windows=((name, S, (1 + seconds) * S),),
        sources={**cpu_sources(), "gpu": source("nvml", devices=["gpu0"]), **facts.pop("sources", {})},
        fast=fast,
        slow=[*Scene().slow, *(f"gpu0.{column}" for column in state), *facts.pop("zones", ())],
        period=period,
        origin=origin,
        **facts,
    ).trace()
    return q.Stretch(trace=replace(trace, host={**trace.host, **STATED}), window=trace.window(name))


STATED = {"gpu0.uuid": "GPU-1", "gpu0.name": "Test 80GB", "gpu0.power_limit_default_mw": "700000"}


def sharp(counter: Callable[[int], int], **facts) -> q.Stretch:
    """A slow stretch whose ticks are located as hunts at its ends locate them: its rows are those of a dense record."""
    found = stretch(period=2 * MS, counter=counter, **facts)
    return replace(found, trace=replace(found.trace, period_ns=100 * MS))


def judged(
    *, slow: q.Stretch | None = None, again: q.Stretch | None = None, dense: q.Stretch | None = None
) -> dict[str, Finding]:
    first = slow or sharp(steady())
    last = again or sharp(steady())
    found, _ = device_findings((first, last), dense or stretch("dense", period=5 * MS), "gpu0")
    return {finding.name.removeprefix("gpu0."): finding for finding in found}


# Figures


def test_lateness_is_the_time_from_a_deadline_to_the_first_reading_after_it() -> None:
    found = stretch()
    late = [1 * MS, 3 * MS, 2 * MS, 9 * MS]
    times = [at + late[i % 4] for i, at in enumerate(found.trace.fast.times)]
    moved = replace(found, trace=replace(found.trace, fast=replace(found.trace.fast, times=tuple(times))))
    seen = q.lateness(moved)
    assert seen is not None
    assert (seen.spread.median, seen.spread.p99, seen.spread.most) == (2 * MS, 9 * MS, 9 * MS)
    assert seen.spread.count == 50
    assert seen.missed == 0


def test_a_deadline_without_a_reading_before_the_next_is_missed() -> None:
    seen = q.lateness(stretch(skip=lambda t: 3 * S < t < 3_250 * MS))
    assert seen is not None
    assert seen.missed == 2
    assert seen.spread.most == 200 * MS


def test_a_counters_update_and_its_jitter_are_seen() -> None:
    seen = q.updates(stretch(period=5 * MS), "gpu0")
    assert seen is not None
    assert seen.period_ns == 100 * MS
    assert seen.jitter.most == 0
    assert 5 * MS < seen.resolution_ns < 6 * MS

    def irregular(t: int) -> int:
        """Every fourth tick comes 40 ms late."""
        number = t // (100 * MS)
        late = number % 4 == 0 and t % (100 * MS) < 40 * MS
        return 5_000_000 + (number - late) * 7_000

    seen = q.updates(stretch(period=5 * MS, counter=irregular), "gpu0")
    assert seen is not None
    assert seen.period_ns == 100 * MS
    assert seen.jitter.most == 40 * MS
    assert seen.longest_ns == 140 * MS


def test_a_slope_is_the_power_within_its_bound() -> None:
    for tick in (20 * MS, 100 * MS):
        found = q.slope(sharp(steady(tick)), "gpu0")
        assert abs(found.watts - 70) <= found.bound < Fraction(7, 100)


def test_a_device_that_does_not_mind_being_asked_shows_no_difference() -> None:
    seen = q.polling((sharp(steady()), sharp(steady())), stretch(period=5 * MS), "gpu0")
    assert seen is not None
    assert abs(seen.difference) <= seen.resolution < Fraction(1, 100)


def test_a_device_that_cools_is_not_taken_for_one_that_minds() -> None:
    slow = (sharp(steady(mw=76_000)), sharp(steady(mw=70_000)))
    seen = q.polling(slow, stretch(period=5 * MS, counter=steady(mw=73_000)), "gpu0")
    assert seen is not None
    assert abs(seen.difference) < Fraction(1, 1_000)
    assert seen.resolution > Fraction(4, 100)


def test_idle_decay_is_exact_on_a_straight_line() -> None:
    falling = stretch(mean=lambda t: 80_000 - t // MS)  # 1 mW a millisecond: 1 W a second
    seen = q.idle((falling,), "gpu0")
    assert seen is not None
    assert seen.watts_per_s == -1
    assert (seen.low_mw, seen.high_mw) == (74_000, 79_000)


def test_decay_is_seen_over_two_records_of_one_clock() -> None:
    first = stretch(mean=lambda t: 80_000)
    last = stretch(mean=lambda t: 70_000, origin=5_010 * S)
    seen = q.idle((first, last), "gpu0")
    assert seen is not None
    assert -1 < seen.watts_per_s < Fraction(-9, 10)


def test_settings_are_the_headers_words_and_the_newest_state() -> None:
    stated = q.settings(stretch().trace, "gpu0")
    assert stated["name"] == "Test 80GB"
    assert stated["persistence"] == 1


# Findings about a device


def test_a_sound_device_is_all_good() -> None:
    found = judged()
    assert {(finding.good, finding.remedy) for finding in found.values()} == {(True, "")}
    assert set(found) == {"call-cost", "counter", "counter-steady", "polling", "idle", "channels"}
    stated = list(setting_findings(stretch().trace, "gpu0"))
    assert all(finding.good for finding in stated)
    assert len(stated) == 7


@pytest.mark.parametrize(
    ("state", "name", "matters"),
    [
        ({"persistence": 0}, "persistence", False),
        ({"mig": 1}, "mig", True),
        ({"ecc": 0}, "ecc", False),
        ({"compute_mode": 2}, "compute-mode", True),
        ({"power_limit_mw": 500_000}, "power-limit", False),
        ({"foreign_processes": 1}, "processes", True),
        ({"foreign_processes": None}, "processes", False),
        ({"clock_reasons": 0x40}, "held-back", True),
    ],
)
def test_a_setting_that_is_wrong_is_found_with_its_remedy(state: dict, name: str, matters: bool) -> None:
    found = {finding.name: finding for finding in setting_findings(stretch(state=state).trace, "gpu0")}
    bad = [finding for finding in found.values() if not finding.good]
    assert [finding.name for finding in bad] == [f"gpu0.{name}"]
    assert bad[0].matters is matters
    assert bad[0].remedy
    assert fit(bad) is not matters


def test_a_device_without_a_mode_needs_no_remedy() -> None:
    found = setting_findings(stretch(state={"mig": None, "ecc": None, "compute_mode": None}).trace, "gpu0")
    assert all(finding.good for finding in found)


def bad(found: dict[str, Finding]) -> dict[str, bool]:
    assert all(finding.remedy for finding in found.values() if not finding.good)
    return {name: finding.matters for name, finding in found.items() if not finding.good}


def test_a_counter_that_counts_more_the_more_it_is_asked_is_refused() -> None:
    found = judged(dense=stretch("dense", period=5 * MS, counter=steady(mw=2 * IDLE_MW)))
    assert bad(found) == {"polling": True}


def test_a_drift_that_hides_the_difference_is_a_warning() -> None:
    found = judged(slow=sharp(steady(mw=74_000), mean=lambda t: 74_000))
    assert bad(found) == {"polling": False}


def test_a_slow_driver_is_a_warning() -> None:
    slow = sharp(steady())
    fast = replace(slow.trace.fast, spans=tuple(4 * MS for _ in slow.trace.fast.spans))
    assert bad(judged(slow=replace(slow, trace=replace(slow.trace, fast=fast)))) == {"call-cost": False}


def test_a_counter_that_updates_too_seldom_is_refused() -> None:
    lazy = steady(400 * MS)
    found = judged(slow=sharp(lazy), again=sharp(lazy), dense=stretch("dense", period=5 * MS, counter=lazy))
    assert bad(found)["counter"] is True


def test_a_counter_that_pauses_is_refused() -> None:
    tick = steady()
    pausing = lambda t: tick(min(t, 3 * S) if t < 3_500 * MS else t)  # noqa: E731 - a world is a function of time
    assert bad(judged(dense=stretch("dense", period=5 * MS, counter=pausing))) == {"counter-steady": True}


def test_a_counter_that_stands_still_is_refused() -> None:
    assert bad(judged(dense=stretch("dense", period=5 * MS, counter=lambda t: 5)))["counter"] is True


def test_a_counter_that_falls_is_refused_by_its_name() -> None:
    falling = lambda t: steady()(t) if t < 3 * S else 5  # noqa: E731 - a world is a function of time
    found = judged(dense=stretch("dense", period=5 * MS, counter=falling))
    assert bad(found)["readings"] is True
    assert "COUNTER_RESET" in found["readings"].observed


def test_a_device_that_was_lost_is_refused() -> None:
    lost = stretch("dense", period=5 * MS, failures=((3 * S, "nvml", "DEVICE_LOST", "NVML error 15"),))
    found = judged(dense=lost)
    assert bad(found) == {"readings": True}
    assert "DEVICE_LOST" in found["readings"].observed


def test_a_device_without_a_counter_or_without_a_mean_is_a_warning() -> None:
    absent = ("gpu0.energy_mj",)
    bare = stretch(without=absent)
    assert bad(judged(slow=bare, again=bare, dense=stretch("dense", period=5 * MS, without=absent))) == {
        "counter": False
    }
    silent = sharp(steady(), without=("gpu0.power_average_mw",))
    assert bad(judged(slow=silent, again=silent)) == {"mean-power": False}


def test_a_device_that_is_not_at_rest_is_refused() -> None:
    found = judged(again=sharp(steady(), mean=lambda t: IDLE_MW + t // MS * 2))
    assert bad(found) == {"idle": True}


def test_a_counter_far_from_the_mean_power_is_a_warning() -> None:
    half = steady(mw=IDLE_MW * 57 // 100)
    found = judged(slow=sharp(half), again=sharp(half), dense=stretch("dense", period=5 * MS, counter=half))
    assert bad(found) == {"channels": False}


# Findings about the sampler, the processor and the clocks


def machine(
    quiet: q.Stretch | None = None, busy: q.Stretch | None = None, *, cpu_ms: int = 3, ends: PowerTrace | None = None
) -> dict[str, Finding]:
    quiet, busy = quiet or stretch(), busy or stretch("busy")
    spent = q.Spent(cpu_ns=cpu_ms * MS, over_ns=S)
    found, _ = sampler_findings(quiet, busy, spent, (quiet.trace, ends or busy.trace))
    return {finding.name: finding for finding in found}


def late(found: q.Stretch, ns: int) -> q.Stretch:
    times = tuple(at + ns for at in found.trace.fast.times)
    return replace(found, trace=replace(found.trace, fast=replace(found.trace.fast, times=times)))


def test_a_sound_machine_is_all_good_without_rapl() -> None:
    found = machine()
    assert all(finding.good for finding in found.values())
    assert found["rapl"].observed == "no RAPL"


def test_a_sampler_that_is_held_up_is_a_warning_and_one_that_misses_too_much_is_refused() -> None:
    assert bad(machine(busy=late(stretch("busy"), 6 * MS))) == {"sampler.busy": False}
    assert bad(machine(quiet=late(stretch(), 6 * MS))) == {"sampler.idle": False}
    held = stretch("busy", skip=lambda t: 3 * S < t < 3_400 * MS)
    assert bad(machine(busy=held)) == {"sampler.busy": True}
    nothing = replace(stretch("busy"), window=replace(stretch("busy").window, close_ns=5_001 * S + 1))
    assert bad(machine(busy=nothing)) == {"sampler.busy": True}


def test_a_sampler_that_costs_too_much_is_a_warning() -> None:
    assert bad(machine(cpu_ms=6)) == {"sampler.cpu": False}
    two = {"gpu": source("nvml", devices=["gpu0", "gpu1"])}
    assert bad(machine(quiet=stretch(sources=two), cpu_ms=6)) == {}


def test_processor_counters_are_named_and_one_that_stands_still_is_refused() -> None:
    counted = {"cpu": source("rapl", counters=[{"column": "rapl.package-0", "range": 10**9}])}
    for world, expected in ((lambda t: t // 100, {}), (lambda t: 7, {"rapl.package-0": True})):
        quiet = _with_zone(counted, world)
        assert bad(machine(quiet=quiet)) == expected
        assert q.zones(quiet)[0].column == "rapl.package-0"


def _with_zone(sources: dict, zone: Callable[[int], int]) -> q.Stretch:
    found = stretch(sources={}, zones=())
    scene = Scene(
        world={**steady_world(), "rapl.package-0": zone},
        windows=(("slow-1", S, 6 * S),),
        sources={**cpu_sources(), **sources},
        slow=[*Scene().slow, "rapl.package-0"],
    )
    trace = scene.trace()
    return replace(found, trace=trace, window=trace.window("slow-1"))


def test_processor_counters_that_are_refused_to_us_are_a_warning() -> None:
    why = "RAPL package-0 may be read by root only (CVE-2020-8694); run the meter as root"
    quiet = stretch(sources={"cpu": source("model", why, "model/1")})
    assert bad(machine(quiet=quiet)) == {"rapl": False}


def test_a_machine_that_slept_or_was_set_is_refused() -> None:
    for disturbed in (stretch("busy", asleep=51 * MS), stretch("busy", realtime_step=-51 * MS)):
        assert bad(machine(ends=disturbed.trace)) == {"clocks": True}
