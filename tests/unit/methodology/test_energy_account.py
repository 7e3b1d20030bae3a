"""Energy of worlds whose truth is known: exact, typed, additive, and never a silent zero."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from records import MS, S, Scene, cpu_sources, source, steady_world

from protocol.errors import InvalidMeasurement, TraceGap, Unverifiable, WindowTooShort
from protocol.methodology import trace as record
from protocol.methodology.energy import (
    Curve,
    Estimated,
    Measured,
    NotApplicable,
    Unmeasured,
    account,
    read_channel,
    total,
)
from protocol.methodology.trace import Window

ORIGIN = 5_000 * S
RUN = ("run-1", 4 * S, 6 * S)
WINDOWS = (("idle-0", S, 3 * S), RUN, ("idle-1", 7 * S, 9 * S))


def stretch(start: int, end: int) -> Window:
    return Window(name="stretch", open_ns=ORIGIN + start, close_ns=ORIGIN + end)


def busy_in_runs(t: int) -> int:
    """CPU time of a sandbox that computes on one CPU from 4 s to 6 s and sleeps otherwise."""
    return min(max(t - 4 * S, 0), 2 * S)


def counted(trace, channel="cpu"):
    found = account(trace, trace.window("run-1"), trace.window("idle-0"), trace.window("idle-1"))
    return found, found.channels[channel], found.idle_net[channel]


# The CPU model


def test_the_model_charges_the_allotment_and_the_use() -> None:
    trace = Scene(world={**steady_world(), record.CPU_TIME: busy_in_runs}, windows=WINDOWS).trace()
    _, gross, net = counted(trace)
    # 2 s x 1 vCPU x 0.74 W, and 2 CPU seconds x (3.5 - 0.74) W
    assert gross == Estimated(joules=Fraction("1.48") + Fraction("5.52"), model="ccf-vcpu-linear/1")
    assert net == Estimated(joules=Fraction("5.52"), model="ccf-vcpu-linear/1")


def test_idle_work_beside_the_run_is_taken_out_of_the_net_figure() -> None:
    trace = Scene(windows=WINDOWS).trace()  # half a CPU for ever: the run does nothing more than the idle stretches
    _, gross, net = counted(trace)
    assert gross.joules == Fraction("1.48") + Fraction("2.76")
    assert net.joules == 0


def test_one_idle_window_is_enough_and_none_is_said() -> None:
    trace = Scene(world={**steady_world(), record.CPU_TIME: busy_in_runs}, windows=WINDOWS).trace()
    run = trace.window("run-1")
    only = account(trace, run, None, trace.window("idle-1"))
    assert only.idle_net["cpu"].joules == Fraction("5.52")
    alone = account(trace, run, None, None)
    assert alone.idle_net["cpu"] == Unmeasured(reason="no idle window beside this one")
    assert alone.channels == only.channels
    assert isinstance(alone.it_idle_net, Unmeasured)


# DRAM, network, storage, and the sum


def test_memory_is_charged_by_what_is_in_use() -> None:
    trace = Scene(windows=WINDOWS).trace()
    _, gross, net = counted(trace, "dram")
    assert gross == Estimated(joules=Fraction("0.784"), model="ccf-dram-linear/1")  # 1 GB x 0.392 W x 2 s
    assert net.joules == 0


def test_a_ramp_of_memory_is_integrated_exactly() -> None:
    trace = Scene(world={**steady_world(), record.MEMORY: lambda t: t + 10**9}, windows=WINDOWS).trace()
    _, gross, _ = counted(trace, "dram")
    assert gross.joules == Fraction("0.392") * 2 * 6  # from 5 GB at 4 s to 7 GB at 6 s


def test_what_is_absent_is_absent_and_not_in_the_sum() -> None:
    trace = Scene(windows=WINDOWS).trace()
    found, _, _ = counted(trace)
    assert found.channels["gpu"] == NotApplicable(reason="no accelerator leased")
    assert found.channels["network"] == NotApplicable(reason="the sealed sandbox has no network")
    assert found.channels["storage"] == Unmeasured(reason="nothing reads it")
    assert found.scope == ("cpu", "dram")
    assert found.it_energy == Estimated(
        joules=found.channels["cpu"].joules + found.channels["dram"].joules,
        model="ccf-vcpu-linear/1+ccf-dram-linear/1",
    )


def test_the_facts_of_a_window_are_counted() -> None:
    found, _, _ = counted(Scene(windows=WINDOWS).trace())
    assert found.facts.cpu_ns == S
    assert found.facts.block_io_bytes == 2 * S // 1000
    assert found.facts.memory_peak_bytes == 10**9
    assert found.facts.foreign_cpu == 0


def test_foreign_load_is_seen() -> None:
    world = {**steady_world(), record.HOST_BUSY: lambda t: t // (10 * MS)}  # one CPU's worth, half of it not ours
    found, _, _ = counted(Scene(world=world, windows=WINDOWS).trace())
    assert found.facts.foreign_cpu == Fraction(1, 4)


def test_without_a_sandbox_host_channels_are_unmeasured() -> None:
    world = {**steady_world(), record.CPU_TIME: lambda t: None, record.MEMORY: lambda t: None}
    found, cpu, net = counted(Scene(world=world, windows=WINDOWS, cpus_milli=None).trace())
    assert cpu == net == Unmeasured(reason="no sandbox was attached to the record")
    assert isinstance(found.it_energy, Unmeasured)
    assert found.scope == ()


def test_a_model_nobody_knows_is_not_guessed() -> None:
    sources = {**cpu_sources(), "cpu": source("model", "", "ccf-vcpu-linear/2")}
    trace = Scene(sources=sources, windows=WINDOWS).trace()
    with pytest.raises(Unverifiable) as caught:
        counted(trace)
    assert caught.value.code == "UNKNOWN_MODEL"


# RAPL


RANGE = 262_143_328_850 + 1


def rapl_scene(package, dram=None, **changes) -> Scene:
    sources = {**cpu_sources(), "cpu": source("rapl", counters=[{"column": "rapl.package-0", "range": RANGE}])}
    world = {**steady_world(), record.CPU_TIME: busy_in_runs, "rapl.package-0": package}
    slow = [*Scene().slow, "rapl.package-0"]
    if dram is not None:
        sources["dram"] = source("rapl", counters=[{"column": "rapl.dram", "range": RANGE}])
        world["rapl.dram"] = dram
        slow.append("rapl.dram")
    world[record.HOST_BUSY] = lambda t: busy_in_runs(t) // (10 * MS)
    settings_ = {"world": world, "sources": sources, "slow": slow, "windows": WINDOWS, "cpus_milli": 2000}
    return Scene(**{**settings_, **changes})


def test_a_sandbox_that_holds_the_machine_is_charged_all_of_it() -> None:
    trace = rapl_scene(lambda t: (20 * t + 30 * busy_in_runs(t)) // 1000).trace()  # 20 W idle, 50 W at work
    _, gross, net = counted(trace)
    assert gross == Measured(joules=Fraction(100), uncertainty=None, method="rapl-capacity/1")
    assert net.joules == 60


def test_half_the_machine_bears_half_of_its_idle_time() -> None:
    trace = rapl_scene(lambda t: 20 * t // 1000, cpus_milli=1000).trace()  # 20 W whatever happens
    _, gross, _ = counted(trace)
    # 2 CPUs for 2 s: own 2 CPU seconds, idle 2 CPU seconds of which half is ours: 3/4 of 40 J
    assert gross.joules == 30


def test_foreign_work_is_charged_to_the_foreigner() -> None:
    scene = rapl_scene(lambda t: 20 * t // 1000)
    scene.world = {**scene.world, record.HOST_BUSY: lambda t: busy_in_runs(t) // (10 * MS) + t // (10 * MS)}
    _, gross, _ = counted(scene.trace())
    assert gross.joules == 20  # one of two CPUs was somebody else's


def test_a_counter_that_wraps_is_unfolded() -> None:
    near_the_end = RANGE - 5 * 20 * 10**6  # wraps in the middle of the run
    wrapping = rapl_scene(lambda t: (near_the_end + 20 * t // 1000) % RANGE).trace()
    straight = rapl_scene(lambda t: 20 * t // 1000).trace()
    assert counted(wrapping)[1] == counted(straight)[1]


def test_memory_counters_are_split_like_the_package() -> None:
    trace = rapl_scene(lambda t: 20 * t // 1000, dram=lambda t: 4 * t // 1000).trace()
    found, gross, _ = counted(trace, "dram")
    assert gross.joules == 8
    assert found.it_energy == Measured(joules=Fraction(48), uncertainty=None, method="rapl-capacity/1")


# Accelerators


def gpu_scene(energy, power=None, windows=WINDOWS, **changes) -> Scene:
    world = {**steady_world(), record.CPU_TIME: busy_in_runs}
    fast = [*Scene().fast]
    for name, signal in (("energy_mj", energy), ("power_average_mw", power)):
        if signal is not None:
            world[f"gpu0.{name}"] = signal
            fast.append(f"gpu0.{name}")
    sources = {**cpu_sources(), "gpu": source("nvml", devices=["gpu0"])}
    return Scene(**{"world": world, "fast": fast, "sources": sources, "windows": windows, **changes})


def ticking(watts: int, every: int = 100 * MS):
    """A counter of constant power that moves every so often."""
    return lambda t: t // every * every * watts // 10**6


def test_constant_power_is_counted_exactly_and_with_its_doubt() -> None:
    found, gross, net = counted(gpu_scene(ticking(300)).trace(), "gpu")
    assert gross.joules == 600
    assert net.joules == 0
    gain = 2 * 600 * 0.05 / 3**0.5
    edges = 2 * 600 * (0.1 / 2) / 6**0.5
    assert float(gross.uncertainty) == pytest.approx((gain**2 + edges**2) ** 0.5, rel=1e-9)
    assert gross.method == "nvml-counter/1"
    assert found.scope == ("gpu", "cpu", "dram")
    assert isinstance(found.it_energy, Estimated)  # one term is a model's, so the sum is


def test_work_between_idle_stretches_is_within_its_doubt() -> None:
    def truth(t: int) -> int:
        return 70 * t // 10**6 + 580 * busy_in_runs(t) // 10**6

    for phase in range(0, 100, 7):
        trace = gpu_scene(lambda t, p=phase: truth(max(t // (100 * MS) * 100 * MS - p * MS, 0))).trace()
        _, gross, _ = counted(trace, "gpu")
        assert abs(gross.joules - 1300) <= gross.uncertainty


def test_a_device_without_a_counter_is_read_by_its_mean_power() -> None:
    _, gross, _ = counted(gpu_scene(None, power=lambda t: 300_000).trace(), "gpu")
    assert gross.joules == 600
    assert gross.method == "nvml-mean-power/1"
    assert gross.uncertainty > counted(gpu_scene(ticking(300)).trace(), "gpu")[1].uncertainty


def test_two_devices_are_summed() -> None:
    scene = gpu_scene(ticking(300))
    scene.world = {**scene.world, "gpu1.energy_mj": ticking(100)}
    scene.fast = [*scene.fast, "gpu1.energy_mj"]
    scene.sources = {**scene.sources, "gpu": source("nvml", devices=["gpu0", "gpu1"])}
    assert counted(scene.trace(), "gpu")[1].joules == 800


def test_a_frozen_counter_is_no_zero() -> None:
    trace = gpu_scene(lambda t: 77).trace()
    with pytest.raises(WindowTooShort):
        counted(trace, "gpu")


def test_a_mean_power_of_nothing_is_no_zero() -> None:
    with pytest.raises(InvalidMeasurement) as caught:
        counted(gpu_scene(None, power=lambda t: 0).trace(), "gpu")
    assert caught.value.code == "ZERO_ENERGY"


def test_a_lost_device_is_not_two_thirds_of_a_run() -> None:
    trace = gpu_scene(lambda t: ticking(300)(t) if t < 5 * S else None).trace()
    with pytest.raises(TraceGap) as caught:
        counted(trace, "gpu")
    assert caught.value.code == "CHANNEL_LOST"


@pytest.mark.parametrize("column", [record.CPU_TIME, record.MEMORY])
@pytest.mark.parametrize("lost_at", [4 * S, 5 * S, 6 * S])
def test_a_lost_cgroup_voids_whichever_window_it_touches(column: str, lost_at: int) -> None:
    world = steady_world()
    signal = world[column]
    world[column] = lambda t: None if t == lost_at else signal(t)
    trace = Scene(world=world, windows=WINDOWS).trace()
    with pytest.raises(TraceGap) as caught:
        counted(trace)
    assert caught.value.code == "CHANNEL_LOST"


def test_a_window_outside_the_record_is_refused() -> None:
    trace = Scene(windows=WINDOWS).trace()
    with pytest.raises(TraceGap):
        read_channel(trace, "cpu", stretch(9 * S, 20 * S))


def test_zero_energy_of_a_channel_that_was_read_is_refused() -> None:
    trace = Scene(world={**steady_world(), record.MEMORY: lambda t: 0}, windows=WINDOWS).trace()
    with pytest.raises(InvalidMeasurement) as caught:
        counted(trace)
    assert caught.value.code == "ZERO_ENERGY"


# Properties


steps = st.lists(st.integers(0, 100 * MS), min_size=101, max_size=101)
instants = st.integers(0, 10 * S - 1)


@settings(max_examples=60, deadline=None)
@given(steps=steps, cuts=st.lists(instants, min_size=3, max_size=6, unique=True), memory=steps)
def test_adjoining_windows_add_up_exactly_and_longer_never_costs_less(steps, cuts, memory) -> None:
    sums = [sum(steps[:i]) for i in range(len(steps))]
    world = {
        **steady_world(),
        record.CPU_TIME: lambda t: sums[t // (100 * MS)],
        record.MEMORY: lambda t: memory[t // (100 * MS)] + 1,
        "rapl.package-0": lambda t: sums[t // (100 * MS)] // 50 + t // 1000,
    }
    sources = {**cpu_sources(), "cpu": source("rapl", counters=[{"column": "rapl.package-0", "range": RANGE}])}
    measured = Scene(world=world, sources=sources, slow=[*Scene().slow, "rapl.package-0"], windows=WINDOWS).trace()
    modelled = Scene(world=world, windows=WINDOWS).trace()
    edges = sorted(cuts)
    for trace in (measured, modelled):
        for channel in ("cpu", "dram"):
            parts = [read_channel(trace, channel, stretch(a, b)).joules for a, b in pairwise(edges)]
            whole = read_channel(trace, channel, stretch(edges[0], edges[-1])).joules
            assert sum(parts) == whole
            assert all(part > 0 for part in parts)
            assert all(part <= whole for part in parts)


@settings(max_examples=60, deadline=None)
@given(steps=steps, start=st.integers(0, 40), length=st.integers(1, 50))
def test_the_model_is_exact_at_the_readings_whatever_the_load_does(steps, start, length) -> None:
    sums = [sum(steps[:i]) for i in range(len(steps))]
    trace = Scene(world={**steady_world(), record.CPU_TIME: lambda t: sums[t // (100 * MS)]}, windows=WINDOWS).trace()
    found = read_channel(trace, "cpu", stretch(start * 100 * MS, (start + length) * 100 * MS))
    used = Fraction(sums[start + length] - sums[start], S)
    assert found.joules == Fraction(length, 10) * Fraction("0.74") + used * Fraction("2.76")


@settings(max_examples=100, deadline=None)
@given(half=st.integers(1, 5), low=st.integers(1, 400), high=st.integers(1, 400), phase=st.integers(0, 9))
def test_square_waves_are_exact_where_the_counter_is_read_at_their_edges(half, low, high, phase) -> None:
    period = 2 * half * 100 * MS

    def energy(t: int) -> int:
        shifted = t + phase * 100 * MS
        whole, rest = divmod(shifted, period)
        inside = whole * half * 100 * (low + high) + min(rest, period // 2) * low // MS
        return inside + max(rest - period // 2, 0) * high // MS

    trace = gpu_scene(energy).trace()
    assert read_channel(trace, "gpu", trace.window("run-1")).joules == Fraction(energy(6 * S) - energy(4 * S), 1000)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(0, 10**15), min_size=2, max_size=20), cut=st.data())
def test_a_curve_is_straight_between_its_readings(values, cut) -> None:
    rising = sorted(values)
    times = [i * 1000 for i in range(len(rising))]
    curve = Curve(name="c", times=times, values=rising, unit=Fraction(1))
    at = cut.draw(st.integers(0, times[-1]))
    assume(at % 1000)
    before = at // 1000
    share = Fraction(at % 1000, 1000)
    assert curve.at(at) == rising[before] * (1 - share) + rising[before + 1] * share


readings = st.one_of(
    st.builds(
        Measured,
        joules=st.fractions(0, 10**6),
        uncertainty=st.none() | st.fractions(0, 10**3),
        method=st.sampled_from(["a/1", "b/1"]),
    ),
    st.builds(Estimated, joules=st.fractions(0, 10**6), model=st.sampled_from(["m/1", "n/1"])),
    st.builds(Unmeasured, reason=st.just("none")),
    st.builds(NotApplicable, reason=st.just("none")),
)


@given(st.lists(readings, max_size=5))
def test_a_sum_is_never_better_than_its_terms(terms) -> None:
    found = total(terms)
    carried = [term for term in terms if isinstance(term, Measured | Estimated)]
    if not terms or len(carried) < len(terms):
        assert isinstance(found, Unmeasured)
    else:
        assert found.joules == sum(term.joules for term in carried)
        assert isinstance(found, Measured) == all(isinstance(term, Measured) for term in terms)
        if isinstance(found, Measured) and found.uncertainty is not None:
            square = sum(term.uncertainty**2 for term in terms)
            assert square <= found.uncertainty**2 <= square + Fraction(2 * found.uncertainty + 1, 10**9)
