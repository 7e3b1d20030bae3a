"""A gated session of known power in virtual time, with the record that the sampler would write of it.

Every run answers its points in passes for 31 s. The device sets up at 320 W, idles at 72 W, and works at 610 W with
dips; `deferred` names the run after which it works on for a second at 360 W.
"""

from __future__ import annotations

from collections.abc import Mapping

from protocol.methodology.timeline import QueryRecord
from protocol.methodology.trace import CPU_TIME
from tests.standin.gates import Power
from tests.standin.gates import World as Device
from tests.standin.records import FAST, MS, SLOW, S, Scene, cpu_sources, source, steady_world

IDLE, WORK, SET_UP = 72_000, 610_000, 320_000
RUN = 31 * S
QUERY = 25 * MS
STATE: Mapping[str, int] = {"clock_reasons": 0, "temperature_c": 41, "power_limit_mw": 700_000}


def gated_scene(
    runs: int, points: int, *, kind: str = "nvml", deferred: int = 0
) -> tuple[Scene, tuple[tuple[QueryRecord, ...], ...]]:
    """Return a session's record to be, and its timelines."""
    corners = [(0, IDLE), (S, IDLE), (S, SET_UP), (3 * S, SET_UP), (3 * S, IDLE)]
    windows, timelines, at = [("idle-0", 6 * S, 6 * S + 3_600 * MS)], [], 9_700 * MS
    for run in range(1, runs + 1):
        close = at + RUN
        corners += _work(at + 20 * MS, close - 10 * MS)
        if run == deferred:
            later = close + 200 * MS
            corners += [(later, IDLE), (later, 5 * IDLE), (later + S, 5 * IDLE), (later + S, IDLE)]
        windows.append((f"run-{run}", at, close))
        timelines.append(_passes(Scene.origin + at + 25 * MS, Scene.origin + close - 50 * MS, points))
        windows.append((f"idle-{run}", close + 2 * MS, close + 6 * S))
        at = close + 6 * S + 5 * MS
    scene = Scene(
        world=_world(Power(corners), [(start, end) for name, start, end in windows if name.startswith("run-")]),
        windows=windows,
        sources={**cpu_sources(), "gpu": source(kind, devices=["gpu0"])},
        fast=(*FAST, "gpu0.energy_mj", "gpu0.power_average_mw", "gpu0.power_instant_mw"),
        slow=(*SLOW, *(f"gpu0.{name}" for name in (*STATE, "utilization"))),
        period=20 * MS,
    )
    return scene, tuple(timelines)


def _world(power: Power, busy: list[tuple[int, int]]) -> dict:
    device = Device(power=power, open_ns=0, close_ns=0, phase=13 * MS, dither=1)
    return {
        **steady_world(),
        CPU_TIME: lambda t: t // 50 + sum(max(0, min(t, end) - start) * 7 // 10 for start, end in busy),
        "gpu0.energy_mj": device.counted,
        "gpu0.power_average_mw": device.averaged,
        "gpu0.power_instant_mw": lambda t: int((power.energy(t) - power.energy(t - 25 * MS)) / (25 * MS)),
        "gpu0.utilization": lambda t: 100 if any(start <= t <= end for start, end in busy) else 0,
        **{f"gpu0.{name}": lambda _, value=value: value for name, value in STATE.items()},
    }


def _work(start: int, end: int) -> list[tuple[int, int]]:
    """Return 1.5 s of work and a dip of 0.2 s, over and over."""
    corners, at = [(start, IDLE)], start
    while at < end - 2 * S:
        dip, after = at + 1_500 * MS, at + 1_700 * MS
        corners += [(at, WORK), (dip, WORK), (dip, WORK * 2 // 3), (after, WORK * 2 // 3)]
        at = after
    return [*corners, (at, WORK), (end, WORK), (end, IDLE)]


def _passes(start: int, end: int, points: int) -> tuple[QueryRecord, ...]:
    whole = (end - start) // QUERY // points * points
    sent = [start + number * QUERY for number in range(whole)]
    return tuple(QueryRecord(at, None, at + QUERY - MS, n % points, n // points, 1) for n, at in enumerate(sent))
