"""What the meter cannot vouch for is void, by a name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from records import MS, S, Scene, cpu_sources, source, steady_world

from protocol.errors import InvalidMeasurement
from protocol.methodology import trace as record
from protocol.methodology.energy import validate


def verdict(scene: Scene) -> str:
    trace = scene.trace()
    with pytest.raises(InvalidMeasurement) as caught:
        validate(trace)
    return caught.value.code


def test_an_honest_record_is_accepted() -> None:
    validate(Scene().trace())


@pytest.mark.parametrize("status", ["orphaned", "terminated"])
def test_a_record_that_was_not_ended_by_its_session_is_void(status: str) -> None:
    assert verdict(Scene(status=status)) == "RECORD_INTERRUPTED"


def test_a_record_of_nothing_is_void() -> None:
    assert verdict(Scene(windows=())) == "NO_WINDOW"


def test_a_suspend_is_seen_on_the_boot_clock() -> None:
    assert verdict(Scene(asleep=51 * MS)) == "SUSPENDED"
    assert verdict(Scene(asleep=-51 * MS)) == "SUSPENDED"  # no clock does this: two machines' anchors
    validate(Scene(asleep=50 * MS).trace())


@pytest.mark.parametrize("step", [51 * MS, -51 * MS, 3600 * S])
def test_a_step_of_the_wall_clock_is_seen(step: int) -> None:
    assert verdict(Scene(realtime_step=step)) == "CLOCK_STEPPED"
    validate(Scene(realtime_step=49 * MS).trace())


def test_windows_lie_between_the_anchors() -> None:
    trace = Scene().trace()
    late = replace(trace, anchor_start=replace(trace.anchor_start, monotonic_ns=trace.windows[0].open_ns + 1))
    early = replace(trace, anchor_end=replace(trace.anchor_end, monotonic_ns=trace.windows[-1].close_ns - 1))
    for moved in (late, early):
        shift = moved.anchor_start.monotonic_ns - trace.anchor_start.monotonic_ns
        shift_end = moved.anchor_end.monotonic_ns - trace.anchor_end.monotonic_ns
        forged = replace(
            moved,
            anchor_start=replace(
                moved.anchor_start,
                realtime_ns=moved.anchor_start.realtime_ns + shift,
                boottime_ns=moved.anchor_start.boottime_ns + shift,
            ),
            anchor_end=replace(
                moved.anchor_end,
                realtime_ns=moved.anchor_end.realtime_ns + shift_end,
                boottime_ns=moved.anchor_end.boottime_ns + shift_end,
            ),
        )
        with pytest.raises(InvalidMeasurement) as caught:
            validate(forged)
        assert caught.value.code == "ANCHOR_OUTSIDE"


@pytest.mark.parametrize(("silent_from", "silent_to"), [(4_000, 4_301), (4_950, 5_350), (7_000, 9_000)])
def test_a_gap_of_more_than_three_periods_is_void(silent_from: int, silent_to: int) -> None:
    scene = Scene(skip=lambda t: silent_from * MS < t < silent_to * MS and t % S != 0)
    assert verdict(scene) == "TRACE_GAP"


def test_two_missed_samples_in_a_row_are_not_a_gap() -> None:
    validate(Scene(skip=lambda t: t in {4_100 * MS, 4_200 * MS}).trace())


def test_a_slow_cadence_cannot_hide_a_gap_of_a_second() -> None:
    scene = Scene(period=500 * MS, skip=lambda t: t == 5 * S)
    validate(scene.trace())  # one missed: exactly a second
    assert verdict(Scene(period=500 * MS, skip=lambda t: 4 * S < t < 6 * S)) == "TRACE_GAP"


def test_many_small_misses_are_void() -> None:
    assert verdict(Scene(misses=6)) == "SAMPLES_MISSED"
    validate(Scene(misses=5).trace())


def test_a_gap_before_the_first_window_is_of_no_consequence() -> None:
    validate(Scene(skip=lambda t: 0 < t < S).trace())


@pytest.mark.parametrize("column", [record.CPU_TIME, record.BLOCK_IO])
def test_a_counter_that_falls_is_void(column: str) -> None:
    world = steady_world()
    signal = world[column]
    world[column] = lambda t: signal(t) if t < 5 * S else signal(t - 2 * S)
    assert verdict(Scene(world=world)) == "COUNTER_RESET"


def test_an_instrument_that_failed_between_the_marks_is_void() -> None:
    assert verdict(Scene(failures=[(5 * S, "nvml", "DEVICE_LOST", "NVML error 15")])) == "CHANNEL_LOST"


def test_the_sandbox_may_end_after_the_last_window() -> None:
    world = {name: (lambda t, s=signal: s(t) if t <= 9 * S else None) for name, signal in steady_world().items()}
    validate(Scene(world=world, failures=[(9 * S + 500 * MS, "cgroup", "READ_FAILED", "gone")]).trace())


@pytest.mark.parametrize("column", [record.CPU_TIME, record.MEMORY])
def test_a_reading_that_is_missing_between_the_marks_is_void(column: str) -> None:
    world = steady_world()
    signal = world[column]
    world[column] = lambda t: None if t == 6 * S else signal(t)
    assert verdict(Scene(world=world)) == "CHANNEL_LOST"


def test_rapl_may_wrap_but_not_vanish() -> None:
    sources = {**cpu_sources(), "cpu": source("rapl", counters=[{"column": "rapl.package-0", "range": 10**6}])}
    slow = [*Scene().slow, "rapl.package-0"]
    world = {**steady_world(), "rapl.package-0": lambda t: t // 1000 % 10**6}
    validate(Scene(world=world, sources=sources, slow=slow).trace())
    world["rapl.package-0"] = lambda t: None if t == 5 * S else t // 1000 % 10**6
    assert verdict(Scene(world=world, sources=sources, slow=slow)) == "CHANNEL_LOST"


def device(**signals) -> Scene:
    """A leased device of 300 W, and what the test says of it from 5 s on."""
    world = {
        **steady_world(),
        "gpu0.energy_mj": lambda t: 300 * t // MS,
        "gpu0.clock_reasons": lambda t: 0x1,
        "gpu0.foreign_processes": lambda t: 0,
        "gpu0.power_limit_mw": lambda t: 700_000,
        "gpu0.mig": lambda t: 0,
        "gpu0.ecc": lambda t: 1,
    }
    for name, (before, after) in signals.items():
        world[f"gpu0.{name}"] = lambda t, b=before, a=after: b if t < 5 * S else a
    slow = [*Scene().slow, *(name for name in world if name.startswith("gpu0.") and name != "gpu0.energy_mj")]
    fast = [*Scene().fast, "gpu0.energy_mj"]
    return Scene(world=world, fast=fast, slow=slow, sources={**cpu_sources(), "gpu": source("nvml", devices=["gpu0"])})


def test_a_quiet_device_is_accepted() -> None:
    validate(device().trace())
    validate(device(clock_reasons=(0x1, 0x4)).trace())  # idle, then held at the power cap: the device's own business
    validate(device(ecc=(None, None)).trace())  # a device without ECC


@pytest.mark.parametrize("reason", [0x8, 0x20, 0x40, 0x80, 0x85])
def test_heat_and_power_brakes_are_void(reason: int) -> None:
    assert verdict(device(clock_reasons=(0x1, reason))) == "THROTTLED"


def test_a_second_process_on_the_device_is_void() -> None:
    assert verdict(device(foreign_processes=(0, 1))) == "FOREIGN_PROCESS"


@pytest.mark.parametrize("change", [{"power_limit_mw": (700_000, 400_000)}, {"mig": (0, 1)}, {"ecc": (1, 0)}])
def test_a_device_that_is_reconfigured_is_void(change: dict) -> None:
    assert verdict(device(**change)) == "DEVICE_CHANGED"


def test_a_driver_reload_is_a_reset_and_no_negative_energy() -> None:
    scene = device()
    scene.world = {**scene.world, "gpu0.energy_mj": lambda t: 300 * (t if t < 5 * S else t - 5 * S) // MS}
    assert verdict(scene) == "COUNTER_RESET"


def test_a_device_whose_only_reading_is_not_in_the_record_is_void() -> None:
    scene = device()
    scene.fast = Scene().fast
    assert verdict(scene) == "CHANNEL_LOST"
