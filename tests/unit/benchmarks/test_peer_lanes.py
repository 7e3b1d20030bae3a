"""One window of two scripted devices, measured by what needs no peer: the loop that every tool runs in."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.peers import cases, faults, lanes, table

METERS = [meter for meter in lanes.METERS if meter.script == "counter_difference.py"]


def test_a_tool_is_held_to_the_truth_between_its_calls_and_what_it_raises_is_its_answer() -> None:
    steady = cases.lanes({2: 1}, 1, ("pulse",))[1]
    assert steady.tick_ms == 20
    silent = next(lane for lane in faults.lanes() if lane.name == "counter not supported")
    silent = replace(silent, windows=(("1 s", 10**9),))
    rows = lanes.run([steady, silent], METERS, 1)
    counted, refused = rows
    assert counted["tool"] == refused["tool"] == "counter difference"
    assert counted["begin_ns"] < counted["begun_ns"] < counted["ending_ns"] < counted["ended_ns"]
    # begin and end may each miss one update of 20 ms of the work's 650 W, and of what the host lets them wait
    slow = (counted["begun_ns"] - counted["begin_ns"] + counted["ended_ns"] - counted["ending_ns"]) / 1e9
    assert abs(counted["joules"] - counted["truth"]) <= 650 * (0.02 + slow)
    assert counted["cpu_ns"] >= 0
    assert table.verdict(refused) == "raises NVMLError_NotSupported"
