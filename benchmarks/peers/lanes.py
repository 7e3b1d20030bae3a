"""Runs lanes: the device's script, the tools that measure it at the same time, and what each of them said.

The tools of a lane share one scripted device and nothing else; each is a process of its own, in its own environment,
without network where this user may take it away. Nothing is timed before every tool of every lane stands.
"""

from __future__ import annotations

import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Final

from benchmarks.peers import environments
from benchmarks.peers.cases import Lane, Timed, timed
from protocol.units import NS_PER_MS, NS_PER_S

HERE: Final = Path(__file__).parent
REPOSITORY: Final = HERE.parents[1]
STANDIN: Final = REPOSITORY / "tests" / "standin"
LEAD_NS: Final = 20 * NS_PER_MS  # begin() is called so long before the work begins
MOVE_NS: Final = 2_800 * NS_PER_MS  # after a window, when nobody looks, the script's pulse moves to the next one
STARTING_S: Final = 180.0
ENDING_S: Final = 30.0
MEAN_MS: Final = 100
DITHER_MW: Final = 1  # a real sensor's last digit is not still for ever, and our meter voids one that is


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A tool: what it is called, its script, and the environment that it runs in ("" for our own)."""

    name: str
    script: str
    environment: str = ""


METERS: Final = (
    Meter(name="Jouleseal", script="ours.py"),
    Meter(name="Zeus", script="zeus_window.py", environment="zeus"),
    Meter(name="CodeCarbon", script="codecarbon_task.py", environment="codecarbon"),
    Meter(name="CarbonTracker", script="carbontracker_epoch.py", environment="carbontracker"),
    Meter(name="nvitop", script="nvitop_collector.py", environment="nvitop"),
    Meter(name="counter difference", script="counter_difference.py"),
    Meter(name="1 s polling", script="polling.py"),
)


@dataclass(slots=True)
class Run:
    """A tool at work in a lane: its process and what it has said."""

    meter: Meter
    process: subprocess.Popen[str]
    said: list[dict[str, Any]] = field(default_factory=list)
    ready: bool = False
    ended: bool = False


@dataclass(slots=True)
class Track:
    """A lane at work."""

    lane: Lane
    device: Any
    runs: list[Run]
    time: Timed | None = None


def interpreters(meters: Sequence[Meter]) -> dict[str, str]:
    """Return the interpreter of each environment that is wanted, making what is not there."""
    wanted = {meter.environment for meter in meters} - {""}
    return {"": sys.executable} | {peer: str(environments.python_of(peer)) for peer in wanted}


@contextmanager
def stage() -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the library and an nvidia-smi that exists, and the environment variables that lead there."""
    sys.path.insert(0, str(STANDIN))
    # Imported here because it lies with the tests.
    from accelerator import build  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="peers") as name:
        folder = Path(name)
        build(folder)
        # CodeCarbon looks for the command before it loads the library.
        command = folder / "bin" / "nvidia-smi"
        command.parent.mkdir()
        command.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
        command.chmod(0o755)
        variables = os.environ | {
            "LD_LIBRARY_PATH": str(folder),
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "HOME": str(folder),
        }
        yield folder, variables


def run(lanes: Sequence[Lane], meters: Sequence[Meter], seed: int) -> list[dict[str, Any]]:
    """Run lanes side by side; returns a row for each window and tool: what was said, and the truth."""
    pythons, chance = interpreters(meters), random.Random(seed)
    with stage() as (folder, variables), ExitStack() as stack:
        heard: queue.SimpleQueue[tuple[Run, str]] = queue.SimpleQueue()
        tracks = [_track(lane, number, folder) for number, lane in enumerate(lanes)]
        for track in tracks:
            for meter in meters:
                one = _start(meter, pythons[meter.environment], track.device.script, variables)
                listener = threading.Thread(target=_listen, args=(one, heard), daemon=True)
                stack.callback(_end, one, listener)
                listener.start()
                track.runs.append(one)
        runs = [one for track in tracks for one in track.runs]
        _await(runs, heard, time.monotonic() + STARTING_S, lambda one: one.ready)
        edits = [edit for track in tracks for edit in _go(track, chance)]
        _conduct(sorted(edits, key=lambda edit: edit[0]))
        _await(runs, heard, time.monotonic() + ENDING_S, lambda one: one.ended)
    return [row for track in tracks for one in track.runs for row in _rows(track, one)]


def _track(lane: Lane, number: int, folder: Path) -> Track:
    from accelerator import Device  # noqa: PLC0415 - as in `stage`

    device = Device(folder / f"device-{number}.txt")
    device.set(**_described(lane))
    return Track(lane=lane, device=device, runs=[])


def _described(lane: Lane) -> dict[str, object]:
    common = {"tick_ms": lane.tick_ms, "mean_ms": MEAN_MS, "dither_mw": DITHER_MW}
    # The start of a wave is known only when its windows are; until then it is what `Device` says.
    return {**{key: value for key, value in lane.wave.facts().items() if key != "start_ns"}, **common, **lane.facts}


def _start(meter: Meter, python: str, script: Path, variables: dict[str, str]) -> Run:
    command = [python, str(HERE / "runners" / meter.script)]
    if os.geteuid() == 0:
        command = ["unshare", "--net", "--", *command]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=variables | {"JOULESEAL_STANDIN": str(script)},
        cwd=REPOSITORY if not meter.environment else script.parent,
        start_new_session=True,
    )
    return Run(meter=meter, process=process)


def _listen(one: Run, heard: queue.SimpleQueue[tuple[Run, str]]) -> None:
    assert one.process.stdout is not None
    for line in one.process.stdout:
        heard.put((one, line))
    one.process.wait()
    heard.put((one, ""))


def _take(one: Run, line: str) -> None:
    if not line:
        one.ready = one.ended = True
        return
    said = json.loads(line)
    if "ready" in said:
        one.ready = True
    else:
        one.said.append(said)


def _await(runs: Sequence[Run], heard: queue.SimpleQueue[tuple[Run, str]], until: float, done: Any) -> None:  # noqa: ANN401
    while not all(done(one) for one in runs) and time.monotonic() < until:
        try:
            _take(*heard.get(timeout=0.5))
        except queue.Empty:
            continue


def _go(track: Track, chance: random.Random) -> list[tuple[int, Any, dict[str, object]]]:
    """Lay the lane out in time, tell its tools, and return what is to be changed when."""
    track.time = plan = timed(track.lane, time.monotonic_ns(), chance)
    marks = [pulse_lines(plan, number) for number in range(len(plan.windows))]
    track.device.set(start_ns=plan.wave.start_ns, **marks[0])
    line = json.dumps({"windows": plan.windows, "lead_ns": LEAD_NS})
    for one in track.runs:
        if one.process.stdin is not None:
            with suppress(BrokenPipeError):  # a tool that could not be started has said so, and is gone
                one.process.stdin.write(line + "\n")
                one.process.stdin.flush()
    moves = [(plan.windows[number - 1][2] + MOVE_NS, track.device, marks[number]) for number in range(1, len(marks))]
    opens = plan.windows[0][1]
    return moves + [
        (opens + edit.after_ns, track.device, _now(edit.facts, opens + edit.after_ns)) for edit in track.lane.edits
    ]


def _now(facts: dict[str, object], at_ns: int) -> dict[str, object]:
    return {key: at_ns if value == "now" else value for key, value in facts.items()}


def pulse_lines(plan: Timed, number: int) -> dict[str, object]:
    """Return the lines of one pulse, the counter holding what the pulses before it took above idle."""
    begin, end = plan.pulses[number]
    before = plan.pulses[:number]
    idle = Fraction(plan.wave.low_mw)
    above = sum((plan.wave.joules(before, a, b) * 1_000 - idle * (b - a) / NS_PER_S for a, b in before), Fraction(0))
    held = int(str(plan.lane.facts.get("offset_mj", 0)))
    return {
        "pulse_ns": begin,
        "pulse_end_ns": end,
        "offset_mj": held + (ceil(above) if plan.wave.inside != "always" else 0),
    }


def _conduct(edits: Sequence[tuple[int, Any, dict[str, object]]]) -> None:
    for at, device, facts in edits:
        time.sleep(max(at - time.monotonic_ns(), 0) / NS_PER_S)
        device.set(**facts)


def _rows(track: Track, one: Run) -> Iterator[dict[str, Any]]:
    """Return what a tool said of each window, beside the truth of what lay between its own two calls."""
    plan = track.time
    assert plan is not None
    by_name = {said["window"]: said for said in one.said if "window" in said}
    never = next((said for said in one.said if "window" not in said), {"raises": f"exit {one.process.returncode}"})
    for name, opens, closes in plan.windows:
        said = by_name.get(name, never)
        start, end = said.get("begun_ns", opens), said.get("ending_ns", closes)
        row = {"lane": plan.lane.name, "shape": plan.lane.shape, "tick_ms": plan.lane.tick_ms, "tool": one.meter.name}
        row |= {"length_s": (closes - opens) // NS_PER_S, "window": name, "scripted_ns": [opens, closes]}
        row |= {"truth": plan.truth((opens, closes), start, end), "late_begin": start > opens}
        if said.get("open_ns") is not None:
            row["truth_of_marks"] = plan.truth((opens, closes), said["open_ns"], said["close_ns"])
        yield row | said


def _end(one: Run, listener: threading.Thread) -> None:
    if one.process.poll() is None:
        one.process.kill()
    listener.join()
    for pipe in (one.process.stdin, one.process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
