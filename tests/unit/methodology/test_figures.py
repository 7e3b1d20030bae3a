"""Figures of a world whose truth is known by hand: half a CPU, 1 GB, two-second runs."""

from fractions import Fraction

import pytest
from records import MS, S, Scene, steady_world

from protocol.errors import VerificationError
from protocol.methodology import figures, trace
from protocol.methodology.host_models import CPU_MAX_WATTS, CPU_MIN_WATTS, DRAM_WATTS_PER_GB
from protocol.methodology.timeline import QueryRecord

ORIGIN = Scene().origin


def records(points, *, start=4 * S + 10 * MS, each=MS, batch=1, passes=1):
    out, now = [], ORIGIN + start
    for passno in range(passes):
        for query, first in enumerate(range(0, points, batch)):
            size = min(batch, points - first)
            out.append(QueryRecord(now, None, now + each, query, passno, size))
            now += each
    return tuple(out)


def steady_run(points=1000, **how):
    return figures.run_figures(Scene().trace(), 1, records(points, **how))


def test_a_run_of_known_power_costs_what_the_model_says():
    run = steady_run()
    cpu = CPU_MIN_WATTS * 2 + (CPU_MAX_WATTS - CPU_MIN_WATTS) * 1  # two seconds of one CPU, half used
    dram = DRAM_WATTS_PER_GB * 2
    assert run.energy.channels["cpu"].joules == cpu
    assert run.energy.it_energy.joules == cpu + dram
    published = figures.cell_figures([run])
    assert published["energyKind"] == "estimated"
    assert published["energyScope"] == "cpu+dram"
    # 1,000 queries cost (cpu + dram) joules; 3,600 joules are a watt-hour.
    expected = float(cpu + dram) / 3600
    assert float(published["itEnergyWhPer1000Queries"]) == pytest.approx(expected, abs=1e-9)
    assert float(published["itEnergyIdleNetWhPer1000Queries"]) == pytest.approx(0, abs=1e-9)  # idle costs as much
    assert published["latencyP99Ms"] == "1.000000"
    assert published["queriesPerSecond"] == "500.000"


def test_energy_is_per_point_whatever_the_batch():
    one, many = steady_run(), steady_run(batch=32)
    assert (
        figures.cell_figures([one])["itEnergyWhPer1000Queries"]
        == (figures.cell_figures([many])["itEnergyWhPer1000Queries"])
    )
    assert len(many.latencies_ns) == 32
    assert many.samples == 1000


def test_a_percentile_needs_the_queries_that_carry_it():
    published = figures.cell_figures([steady_run(batch=32)])
    assert "latencyP50Ms" in published
    assert "latencyP90Ms" not in published
    assert steady_run(batch=32).to_json()["latencyNs"]["p99"] is None


def test_an_unmeasured_channel_is_named_and_never_summed():
    run = steady_run()
    shown = run.to_json()["energyMj"]
    assert shown["storage"] == {"kind": "unmeasured", "reason": "nothing reads it"}
    assert shown["gpu"]["kind"] == "not-applicable"
    published = figures.cell_figures([run])
    assert not any(name.startswith(("storage", "gpu", "network")) for name in published)


def test_a_query_outside_its_window_is_no_query_of_the_run():
    for start in (3 * S, 6 * S - MS // 2):
        with pytest.raises(VerificationError) as caught:
            figures.run_figures(Scene().trace(), 1, records(1, start=start))
        assert caught.value.code == "TIMELINE_OUTSIDE_WINDOW"
    with pytest.raises(VerificationError):
        figures.run_figures(Scene().trace(), 1, ())


def test_another_shape_than_the_plan_is_refused():
    asked = records(100, batch=32)
    figures.check_shape(asked, points=100, batch=32, passes=1)
    for wrong in (asked[:-1], (*asked, asked[-1]), asked[::-1], (asked[0]._replace(samples=31), *asked[1:])):
        with pytest.raises(VerificationError) as caught:
            figures.check_shape(wrong, points=100, batch=32, passes=1)
        assert caught.value.code == "TIMELINE_SHAPE"


def test_a_cell_is_the_mean_of_its_runs_with_students_interval():
    busy = steady_world() | {trace.CPU_TIME: lambda t: t}
    runs = [steady_run(), figures.run_figures(Scene(world=busy).trace(), 1, records(1000))]
    published = figures.cell_figures(runs)
    low, high = (run.energy.it_energy.joules / 3600 for run in runs)
    assert float(published["itEnergyWhPer1000Queries"]) == pytest.approx(float((low + high) / 2), abs=1e-9)
    spread = float(abs(high - low)) / 2**0.5
    assert float(published["itEnergyWhPer1000QueriesInterval95"]) == pytest.approx(12.706 * spread / 2**0.5, abs=1e-9)
    assert Fraction(published["runs"]) == 2


def test_figures_are_the_same_bytes_every_time():
    assert steady_run().to_json() == steady_run().to_json()
    assert figures.cell_figures([steady_run()]) == figures.cell_figures([steady_run()])
