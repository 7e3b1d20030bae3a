"""A gated window end to end: the real pynvml and the real sampler on a device of our own, settled, armed, held."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from accelerator import UUID, Device
from sandbox import PaperCgroup

from orchestrator.meter import gating
from orchestrator.meter.client import Sampler
from orchestrator.meter.edges import TickHunt
from orchestrator.meter.interface import SamplerConfig
from protocol.errors import InvalidMeasurement
from protocol.methodology import acceptance, gated
from protocol.methodology.gated_session import account_runs
from protocol.methodology.trace import PowerTrace, parse_trace
from protocol.methodology.validity import validate
from protocol.units import NS_PER_S

IDLE, WORK = 70_000, 650_000


@pytest.fixture
def config(no_powercap: Path) -> SamplerConfig:
    return SamplerConfig(devices=(UUID,), powercap=no_powercap)


@pytest.fixture
def resting(device: Device) -> Device:
    device.set(wave="pulse", low_mw=IDLE, high_mw=WORK, dither_mw=1, start_ns=time.monotonic_ns() - 10 * NS_PER_S)
    return device


def pulse(device: Device, seconds: float = 2, halfway: Callable[[], None] = lambda: None) -> None:
    """Let the device work from now, as a sandbox would that was just asked its first question."""
    begin = time.monotonic_ns()
    device.set(pulse_ns=begin, pulse_end_ns=begin + int(seconds * NS_PER_S))
    time.sleep(seconds / 2)
    halfway()
    time.sleep(seconds / 2)


def session(
    path: Path,
    config: SamplerConfig,
    cgroup: PaperCgroup,
    work: Callable[[], None],
    set_up: Callable[[], None] = lambda: None,
) -> PowerTrace:
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        set_up()
        sampler.open_window("idle-0")
        gating.settle(sampler)
        gating.arm(sampler)
        sampler.close_window()
        sampler.open_window("run-1")
        work()
        closed = sampler.close_window()
        sampler.open_window("idle-1")
        gating.hold(sampler, closed)
        sampler.close_window()
        sampler.stop()
    return parse_trace(path.read_bytes())


def gate_of(trace: PowerTrace) -> gated.Gate:
    return gated.gate(trace, trace.window("run-1"), trace.window("idle-0"), trace.window("idle-1"))


def faults(trace: PowerTrace) -> list[str]:
    return [fault.code for fault in acceptance.faults(trace, gated.series(trace, "gpu0"), gate_of(trace))]


def measured(trace: PowerTrace) -> gated.GatedReading:
    return gated.measure(gated.series(trace, "gpu0"), gate_of(trace))


def test_two_seconds_of_work_are_right_to_a_thousandth(tmp_path, config, cgroup, resting: Device) -> None:
    trace = session(tmp_path / "r", config, cgroup, lambda: pulse(resting))
    validate(trace)
    assert faults(trace) == []
    found = measured(trace)
    window = trace.window("run-1")
    truth = Fraction(580 * 2) + Fraction(70 * window.duration_ns, NS_PER_S)
    assert abs(found.joules / truth - 1) < Fraction(1, 1_000)
    whole = account_runs(trace, 1)
    assert (whole.faults, whole.flags, whole.joules) == ((), (), (found.joules,))
    assert found.counter is not None
    assert found.flags == ()


def test_a_hunt_is_answered_when_a_tick_is_well_located(tmp_path, config, cgroup, resting: Device) -> None:
    with Sampler.start(tmp_path / "r", config) as sampler:
        assert sampler.devices == 1
        assert sampler.hunt()[0] >= 2
        sampler.open_window("run-1")
        sampler.close_window()
        sampler.stop()


def test_a_hunt_without_a_counter_or_a_device_ends_at_once(tmp_path, config, no_powercap, resting: Device) -> None:
    resting.set(error_83=3)
    for devices in ((UUID,), ()):
        path = tmp_path / f"r{len(devices)}"
        with Sampler.start(path, SamplerConfig(devices=devices, powercap=no_powercap)) as sampler:
            assert sampler.hunt() == []


def test_a_frozen_counter_ends_the_hunt_at_its_limit() -> None:
    hunt, now = TickHunt(0, [None]), 0
    while not hunt.done:
        hunt.see(now, now + 1_000, [5])
        now = hunt.due_ns if not hunt.done else now
    assert now == pytest.approx(NS_PER_S, abs=10_000_000)
    assert hunt.ticks == [0]


def test_a_device_that_does_not_come_to_rest_is_not_measured(tmp_path, config, cgroup, resting: Device) -> None:
    resting.set(wave="ramp", low_mw=0, high_mw=600_000, period_ms=6_000, start_ns=time.monotonic_ns())
    with Sampler.start(tmp_path / "r", config) as sampler, pytest.raises(InvalidMeasurement) as caught:
        gating.settle(sampler, timeout_s=2)
    assert caught.value.code == "NOT_SETTLED"


def test_without_a_lease_nothing_is_waited_for(tmp_path, no_powercap) -> None:
    with Sampler.start(tmp_path / "r", SamplerConfig(powercap=no_powercap)) as sampler:
        before = time.monotonic_ns()
        gating.settle(sampler)
        gating.arm(sampler)
        gating.hold(sampler, before)
        sampler.open_window("run-1")
        sampler.close_window()
        sampler.stop()
    assert len(parse_trace((tmp_path / "r").read_bytes()).windows) == 1


def test_a_driver_that_never_comes_back_does_not_hang_the_sampler(tmp_path, config, cgroup, resting: Device) -> None:
    def hang() -> None:
        resting.set(hang_ms=600_000)
        time.sleep(1.5)

    with Sampler.start(tmp_path / "r", config) as sampler:
        sampler.attach(cgroup.target())
        sampler.open_window("run-1")
        hang()
        sampler.check()  # it beats on
        sampler.close_window()
        sampler.stop()  # and ends, though its thread never will
    trace = parse_trace((tmp_path / "r").read_bytes())
    assert [failure.code for failure in trace.failures] == ["DEVICE_HUNG"]
    with pytest.raises(InvalidMeasurement) as caught:
        validate(trace)
    assert caught.value.code == "CHANNEL_LOST"


# Cheats and faults in a gated session, each with its verdict


def test_cheat_a_second_process_on_the_device(tmp_path, config, cgroup, resting: Device) -> None:
    def helped() -> None:
        pulse(resting, 3, lambda: resting.set(pid=os.getpid()))

    trace = session(tmp_path / "r", config, cgroup, helped)
    with pytest.raises(InvalidMeasurement) as caught:
        validate(trace)
    assert caught.value.code == "FOREIGN_PROCESS"


def test_cheat_work_moved_to_the_cpu(tmp_path, config, cgroup, resting: Device) -> None:
    resting.set(high_mw=IDLE + 20_000)

    def on_the_cpu() -> None:
        pulse(resting, 2, lambda: cgroup.use(1_900_000_000, 50 << 20))

    trace = session(tmp_path / "r", config, cgroup, on_the_cpu)
    found = acceptance.elsewhere(trace, [measured(trace)], trace.window("run-1"))
    assert [fault.code for fault in found] == ["WORK_ON_CPU"]


def test_cheat_precomputation_before_the_window_is_published(tmp_path, config, cgroup, resting: Device) -> None:
    trace = session(tmp_path / "r", config, cgroup, lambda: time.sleep(2), lambda: pulse(resting, 2))
    validate(trace)
    found = measured(trace)
    assert float(found.idle_net) == pytest.approx(0, abs=1)
    above = acceptance.setup_energy(trace, gated.series(trace, "gpu0"), gate_of(trace), found)
    assert float(above) == pytest.approx(580 * 2, rel=0.02)


def test_cheat_rehearsal_between_logged_runs(tmp_path, config, cgroup, resting: Device) -> None:
    path, closed = tmp_path / "r", 0
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        for run in (1, 2):
            sampler.open_window(f"idle-{run - 1}")
            if run > 1:
                gating.hold(sampler, closed)
                time.sleep(0.6)
                pulse(resting, 1)  # the container works while nobody has asked
            gating.settle(sampler)
            gating.arm(sampler)
            sampler.close_window()
            sampler.open_window(f"run-{run}")
            time.sleep(2)
            closed = sampler.close_window()
        sampler.open_window("idle-2")
        gating.hold(sampler, closed)
        sampler.close_window()
        sampler.stop()
    trace = parse_trace(path.read_bytes())
    validate(trace)
    found = account_runs(trace, 2)
    assert [fault.code for fault in found.faults] == ["REHEARSAL"]
    assert len(found.runs) == 2


def test_cheat_work_goes_on_after_the_answers(tmp_path, config, cgroup, resting: Device) -> None:
    def early() -> None:
        begin = time.monotonic_ns()
        resting.set(pulse_ns=begin, pulse_end_ns=begin + 2 * NS_PER_S)
        time.sleep(1)

    found = measured(session(tmp_path / "r", config, cgroup, early))
    assert found.flags == ("DEFERRED_WORK",)
    assert float(found.joules) == pytest.approx(580 * 2 + 70, rel=0.01)


def test_cheat_a_trickle_after_the_window(tmp_path, config, cgroup, resting: Device) -> None:
    resting.set(trickle_mw=30_000, trickle_ms=1_900)
    found = measured(session(tmp_path / "r", config, cgroup, lambda: pulse(resting)))
    assert found.flags == ("DEFERRED_WORK",)
    assert float(found.deferred) == pytest.approx(57, rel=0.15)


def test_cheat_clocks_changed_by_the_container(tmp_path, config, cgroup, resting: Device) -> None:
    def slower() -> None:
        pulse(resting, 3, lambda: resting.set(reasons="0x2"))

    assert "CLOCKS_CHANGED" in faults(session(tmp_path / "r", config, cgroup, slower))


def test_fault_a_counter_that_reads_half(tmp_path, config, cgroup, resting: Device) -> None:
    resting.set(gain_permille=570)
    trace = session(tmp_path / "r", config, cgroup, lambda: pulse(resting))
    with pytest.raises(InvalidMeasurement) as caught:
        measured(trace)
    assert caught.value.code == "CHANNELS_DISAGREE"


def test_fault_a_power_reading_that_stands_still(tmp_path, config, cgroup, resting: Device) -> None:
    def stuck() -> None:
        resting.set(stuck_mw=300_000)
        pulse(resting, 2.5)

    assert "POWER_STUCK" in faults(session(tmp_path / "r", config, cgroup, stuck))


def test_fault_a_counter_that_freezes_in_the_work(tmp_path, config, cgroup, resting: Device) -> None:
    def freeze() -> None:
        pulse(resting, 2, lambda: resting.set(frozen_ns=time.monotonic_ns()))

    assert "COUNTER_FROZEN" in faults(session(tmp_path / "r", config, cgroup, freeze))


@pytest.mark.slow
def test_ten_random_windows_in_real_time_tell_that_virtual_time_is_true(tmp_path, config, cgroup, resting) -> None:
    rng, path, truths, closed = random.Random(10), tmp_path / "r", [], 0
    with Sampler.start(path, config) as sampler:
        sampler.attach(cgroup.target())
        for run in range(11):
            sampler.open_window(f"idle-{run}")
            if run:
                gating.hold(sampler, closed)
            if run < 10:
                idle, high, seconds = rng.randrange(40_000, 120_000), rng.randrange(150_000, 700_000), rng.uniform(2, 4)
                # The counter starts anew with the waveform, long before anybody asks for it: no reset is seen.
                time.sleep(0.6 if run else 0)
                resting.set(low_mw=idle, high_mw=high, offset_mj=10**8 * (run + 1), pulse_ns=0, pulse_end_ns=0)
                gating.settle(sampler)
                gating.arm(sampler)
            sampler.close_window()
            if run < 10:
                opened = sampler.open_window(f"run-{run + 1}")
                pulse(resting, seconds)
                closed = sampler.close_window()
                work = Fraction(high - idle, 1_000) * Fraction(int(seconds * NS_PER_S), NS_PER_S)
                truths.append(work + Fraction(idle * (closed - opened), 1_000 * NS_PER_S))
        sampler.stop()
    trace = parse_trace(path.read_bytes())
    validate(trace)
    found = gated.series(trace, "gpu0")
    covered, apart = 0, []
    for run, truth in enumerate(truths, 1):
        names = (f"run-{run}", f"idle-{run - 1}", f"idle-{run}")
        reading = gated.measure(found, gated.gate(trace, *(trace.window(name) for name in names)))
        apart.append(abs(reading.joules / truth - 1))
        covered += abs(reading.joules - truth) <= reading.uncertainty.expanded(gain=False)
    assert max(apart) <= Fraction(1, 1_000)
    assert covered >= 8
