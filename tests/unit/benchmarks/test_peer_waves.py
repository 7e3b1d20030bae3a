"""The truth of the peers' benchmark: what the real pynvml reads of the stand-in is what the formulas say."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from accelerator import CONTROL

from benchmarks.peers import cases, faults, lanes
from benchmarks.peers.waves import Wave
from protocol.units import NS_PER_MS, NS_PER_S

TICK_NS = NS_PER_MS

# Writes each script it is given, with instants counted from now, and reads the counter and the mean as every tool does.
READER = """
import json, os, pathlib, sys, time
import pynvml
pynvml.nvmlInit()
device = pynvml.nvmlDeviceGetHandleByIndex(0)
script = pathlib.Path(os.environ["JOULESEAL_STANDIN"])
for facts in json.load(sys.stdin):
    now = time.monotonic_ns() // 1000 * 1000
    instants = ("start_ns", "pulse_ns", "pulse_end_ns")
    moved = {key: value + now if key in instants else value for key, value in facts.items()}
    beside = script.with_suffix(".new")
    beside.write_text("".join(f"{key} {value}\\n" for key, value in moved.items()))
    beside.rename(script)
    before = time.monotonic_ns()
    counter = pynvml.nvmlDeviceGetTotalEnergyConsumption(device)
    after = time.monotonic_ns()
    print(json.dumps({"now": now, "before": before, "counter": counter, "after": after}), flush=True)
"""


def read(library: Path, folder: Path, scripts: list[dict[str, object]]) -> list[dict[str, int]]:
    control = folder / "device.txt"
    control.write_text("high_mw 1\n")
    environment = os.environ | {"LD_LIBRARY_PATH": str(library), CONTROL: str(control)}
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=json.dumps(scripts),
        env=environment,
        text=True,
        check=True,
        stdout=subprocess.PIPE,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def shapes() -> list[str]:
    return [*cases.SHAPES, "trickle"]


@pytest.mark.parametrize("shape", shapes())
def test_the_counter_says_the_truth_of_its_last_tick(shape: str, library: Path, tmp_path: Path) -> None:
    chance = random.Random(shape)
    about = {"trickle_mw": 30_000, "trickle_ns": 2 * NS_PER_S} if shape == "trickle" else {}
    like = cases.wave_of("pulse" if shape == "trickle" else shape)
    waves, pulses, scripts = [], [], []
    for _ in range(40):
        begin = -chance.randrange(6_000_000) * 1_000 + NS_PER_S
        end = begin + 2 * NS_PER_S + chance.randrange(100_000) * 1_000
        start = -60 * NS_PER_S - chance.randrange(1_000_000) * 1_000
        described = {name: getattr(like, name) for name in Wave.__dataclass_fields__} | about | {"start_ns": start}
        waves.append(Wave(**described))
        pulses.append((begin, end))
        scripts.append({**waves[-1].facts(), "tick_ms": 1, "pulse_ns": begin, "pulse_end_ns": end})
    found = read(library, tmp_path, scripts)
    for wave, pulse, seen in zip(waves, pulses, found, strict=True):
        now = seen["now"]
        # the counter was read at a tick between these two; it holds whole millijoules of what came before
        low, high = (
            int(
                wave.joules([pulse], wave.start_ns, wave.start_ns + (at - now - wave.start_ns) // TICK_NS * TICK_NS)
                * 1_000
            )
            for at in (seen["before"], seen["after"])
        )
        assert low - 1 <= seen["counter"] <= high + 1


def test_energy_is_additive_and_its_parts_are_those_of_the_sketch() -> None:
    chance = random.Random(3)
    pulses = [(5 * NS_PER_S, 7 * NS_PER_S), (15 * NS_PER_S, 20 * NS_PER_S)]
    for shape in cases.SHAPES:
        wave = cases.wave_of(shape)
        for _ in range(20):
            a, b, c = sorted(chance.randrange(25 * NS_PER_S) for _ in range(3))
            assert wave.joules(pulses, a, b) + wave.joules(pulses, b, c) == wave.joules(pulses, a, c)
    assert cases.wave_of("constant").joules([], 0, 2 * NS_PER_S) == 600
    assert Wave().joules(pulses, 4 * NS_PER_S, 8 * NS_PER_S) == 2 * 70 + 2 * 650
    assert cases.wave_of("ramp").joules(pulses, 5 * NS_PER_S, 7 * NS_PER_S) == 750
    assert cases.wave_of("square 500").joules(pulses, 5 * NS_PER_S, 7 * NS_PER_S) == 700
    assert Wave(trickle_mw=30_000, trickle_ns=NS_PER_S).joules(pulses, 7 * NS_PER_S, 9 * NS_PER_S) == 2 * 70 + 30


def test_windows_lie_apart_and_work_fills_them_alone() -> None:
    chance = random.Random(8)
    for lane in cases.lanes(cases.WINDOWS, 1):
        plan = cases.timed(lane, time.monotonic_ns(), chance)
        assert len(plan.windows) == sum(cases.WINDOWS.values())
        assert all(
            later[1] - earlier[2] >= cases.APART_NS
            for earlier, later in zip(plan.windows, plan.windows[1:], strict=False)
        )
        assert all(
            opens < closes and (closes - opens) // NS_PER_S in cases.LENGTHS_S for _, opens, closes in plan.windows
        )
        assert plan.pulses == [(opens, closes) for _, opens, closes in plan.windows]


def test_the_script_moves_to_the_next_pulse_and_the_counter_keeps_what_was_counted() -> None:
    lane = cases.lanes({2: 3}, 4, ("square 200",))[0]
    plan = cases.timed(lane, 10**15, random.Random(4))
    for number in (1, 2):
        at = plan.windows[number][1] - NS_PER_S
        held = lanes.pulse_lines(plan, number)["offset_mj"]
        idle = Wave(inside="always", high_mw=plan.wave.low_mw)
        counted = plan.wave.joules(plan.pulses[:number], plan.wave.start_ns, at) - idle.joules(
            [], plan.wave.start_ns, at
        )
        assert 0 <= Fraction(str(held)) - counted * 1_000 < 1


def test_work_that_comes_after_the_window_belongs_to_its_truth() -> None:
    early = next(lane for lane in faults.lanes() if lane.name.startswith("answers early"))
    plan = cases.timed(early, 10**15, random.Random(5))
    window = (plan.windows[0][1], plan.windows[0][2])
    assert plan.truth(window, *window) == pytest.approx(6 * 650 + 580)
    trickle = next(lane for lane in faults.lanes() if lane.name.startswith("trickles"))
    plan = cases.timed(trickle, 10**15, random.Random(5))
    window = (plan.windows[0][1], plan.windows[0][2])
    assert plan.truth(window, *window) == pytest.approx(6 * 650 + 60)
