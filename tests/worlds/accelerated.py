"""A world whose runner has an accelerator, in virtual time: its power is given, and every reading follows from it.

The device rests at `idle_mw` and works at `work_mw` while it is asked; `after_ms` of work may come after a run's last
answer. Its counter ticks every 100 ms, counts on from session to session, and its mean is that of the last second;
between sessions it idles, and `unlogged_mj` says what it spent there beside that. Edit `power_of`, `counted` or the
fields to make it an evil twin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache

from protocol.attestation.predicates import SessionOutcome
from protocol.methodology.beside import BESIDE, read_beside
from protocol.methodology.figures import RunFigures
from protocol.methodology.hardware import DeviceFacts
from protocol.methodology.session_figures import SessionFigures, session_figures
from protocol.methodology.timeline import QueryRecord, unpack
from protocol.methodology.trace import parse_trace
from protocol.units import decimal_string
from tests.standin.gates import Power
from tests.standin.records import FAST, SLOW, Scene, cpu_sources, source, steady_world
from tests.worlds.world import MS, Ran, S, Trust, World

UUID = "GPU-57a2d111-0000-4000-8000-000000000001"
STAND_IN = "Jouleseal Stand-in 80GB"
H100 = "NVIDIA H100 80GB HBM3"
UPDATE = 100 * MS

REALTIME = 1_700_000_000 * S  # what a scene's CLOCK_REALTIME is ahead of its CLOCK_MONOTONIC

CERTIFICATE = {
    "format": "jouleseal-wall-calibration/1",
    "meter": {"make": "Virtual", "model": "VM-1", "serial": "0001"},
    "certificate": {
        "id": "C-17",
        "issuer": "A laboratory",
        "calibratedOn": "2020-01-31",
        "validUntil": "2100-01-30",
    },
    "measures": "node-ac",
    "reading": "mean",
    "intervalSeconds": "0.1",
    "gain": "1.0000",
    "gainUncertainty": "0.0010",
    "offsetWatts": "0.0",
    "offsetUncertaintyWatts": "0.05",
    "clockUncertaintySeconds": "0.001",
}
PROFILE = {
    "format": "jouleseal-site/1",
    "name": "A hall",
    "pue": "1.25",
    "source": "the hall's report of 2025",
    "date": "2026-01-15",
}

_STATE = {
    "power_limit_mw": 700_000,
    "temperature_c": 41,
    "clock_reasons": 0,
    "foreign_processes": 0,
    "utilization": 0,
    "ecc": 1,
}


class AcceleratedWorld(World):
    """A runner with one accelerator; four points of eight seconds each make a window of 32 s."""

    def __init__(
        self,
        name: str = STAND_IN,
        *,
        query_ms: int = 8_000,
        passes: int = 1,
        trust: Trust | None = None,
        uuid: str = UUID,
    ) -> None:
        super().__init__(trust or Trust(devices=(uuid,)), query_ms=query_ms, idle_ms=4_500)
        self.devices = (DeviceFacts(uuid=uuid, name=name, memory_bytes=81_559 << 20),)
        self.unlogged_mj = 0
        self._left: tuple[int, int] | None = None  # where the last session's record left the counter: ns, mJ
        self.kind = "simulated" if name.startswith("Jouleseal") else "nvml"
        self.passes = passes
        self.idle_mw, self.work_mw, self.after_ms = 70_000, 300_000, 0
        self.gain_permille = 1_000
        self.pass_work_mw: Callable[[int], int] = lambda passno: self.work_mw

    def prepare(self, stage: Scene, timelines: Sequence[tuple[QueryRecord, ...]]) -> None:
        """Add the device's readings to the scene."""
        power = self.power_of(stage, timelines)

        counted = 7_000_000
        if self._left is not None:
            at, counted = self._left
            counted += (stage.origin - at) * self.idle_mw // 10**9 + self.unlogged_mj - int(power.energy(0) / 10**9)

        @cache
        def energy(t: int) -> int:
            return int(power.energy(t) * self.gain_permille / 1_000 / 10**9) + counted

        end = stage.windows[-1][2] + 100 * MS
        self._left = (stage.origin + end, energy(end))

        state = {f"gpu0.{name}": (lambda t, value=value: value) for name, value in _STATE.items()}
        stage.world = {
            **steady_world(),
            **state,
            "gpu0.energy_mj": lambda t: energy(t // UPDATE * UPDATE),
            "gpu0.power_average_mw": lambda t: int((power.energy(t) - power.energy(t - S)) / S) + t // UPDATE % 2,
        }
        stage.fast = (*FAST, "gpu0.energy_mj", "gpu0.power_average_mw")
        stage.slow = (*SLOW, *state)
        stage.sources = {**cpu_sources(), "gpu": source(self.kind, devices=("gpu0",))}
        device = self.devices[0]
        stage.host = {
            "gpu0.uuid": device.uuid,
            "gpu0.name": device.name,
            "gpu0.memory_bytes": str(device.memory_bytes),
        }

    def power_of(self, stage: Scene, timelines: Sequence[tuple[QueryRecord, ...]]) -> Power:
        """Return the device's power over the session, in milliwatts over nanoseconds since the record's origin."""
        corners = [(-10 * S, self.idle_mw)]
        for records in timelines:
            for record in records:
                at, until = record.sent_ns - stage.origin, record.done_ns - stage.origin
                until += self.after_ms * MS if record is records[-1] else 0
                level = self.pass_work_mw(record.passno)
                corners += [(at, self.idle_mw), (at, level), (until, level), (until, self.idle_mw)]
        return Power(corners)

    def figures_of_run(self, ran: Ran, number: int) -> RunFigures:
        return session_figures(parse_trace(ran.trace), ran.timelines, read_beside(self.beside(ran))).runs[number - 1]

    def figures_of(self, outcome: SessionOutcome) -> SessionFigures:
        trace = parse_trace(self.evidence[outcome.trace_sha256])
        named = {item.name: self.evidence[item.sha256] for item in outcome.byproducts if item.name in BESIDE}
        timelines = [unpack(self.evidence[run.timeline_sha256]) for run in outcome.runs]
        return session_figures(trace, timelines, read_beside(named))


class WalledWorld(AcceleratedWorld):
    """The same node, with a wall meter that reads `rest_w` beside the accelerator, and a site of PUE 1.25."""

    rest_w = 200

    def beside(self, ran: Ran) -> Mapping[str, bytes]:
        """Return the wall meter's log with its calibration, and the site's profile."""
        power = self.power_of(ran.scene, ran.in_order)
        first, last = ran.scene.windows[0][1] - 5 * S, ran.scene.windows[-1][2] + 5 * S
        rows = ["time,watts"]
        for at in range(first - first % (S // 10), last, S // 10):
            watts = self.rest_w + power.joules(at - S // 10, at) * 10
            stamp = Fraction(REALTIME + ran.scene.origin + at, S)
            rows.append(f"{decimal_string(stamp, 1)},{decimal_string(watts, 3)}")
        return {
            "wall-log": "\n".join(rows).encode() + b"\n",
            "wall-calibration": json.dumps(CERTIFICATE).encode(),
            "site": json.dumps(PROFILE).encode(),
        }
