"""What doubting costs: `jouleseal-verify` over a given bundle, or over a synthetic one of the demo's size.

The synthetic bundle is campaigns of four cells, ten runs of latency queries each, with a meter's record at the default
cadence. By default it is one campaign of 1,000 queries a run: 40,000 queries and about 3 MB of samples. `--campaigns
15` makes sixty sessions, which are 600 runs. Each round is a fresh process, from start to exit: wall time, processor
time and peak memory are those of the whole command, interpreter and imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
GOAL_SECONDS = 1.0
GOAL_MIB = 150.0
OFFICIAL_POINTS = 1000
SHORT_QUERY_MS = 5  # of a long story: its samples are mostly those of its idle windows
QUERY_MS = 170  # so that ten passes of 1,000 queries take about the record that four sessions of the demo leave


def main() -> int:
    """Measure and print; exits 1 if the bundle is not verified or a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", nargs="?", help="a bundle; without one, a synthetic one is made")
    parser.add_argument("--root", help="the pinned root of the given bundle")
    parser.add_argument("--campaigns", type=int, default=1, help="of the synthetic bundle, each of forty runs")
    parser.add_argument("--points", type=int, default=OFFICIAL_POINTS, help="queries of a synthetic run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.bundle:
            bundle, root = arguments.bundle, arguments.root
        else:
            bundle, root = synthetic(Path(folder), arguments.campaigns, arguments.points)
        goal_mib = GOAL_MIB if arguments.campaigns == 1 else None
        found = measure(bundle, root, arguments.rounds, goal_mib)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0 if found["met"] else 1


def synthetic(folder: Path, campaigns: int, points: int) -> tuple[str, str]:
    """Write a bundle of so many campaigns and return its path and its root."""
    sys.path.insert(0, str(REPOSITORY))
    from protocol.methodology.scenario import Precision  # noqa: PLC0415 - only a synthetic bundle needs a world
    from tests.worlds.world import World, cell  # noqa: PLC0415

    world = World(query_ms=QUERY_MS if campaigns == 1 else SHORT_QUERY_MS, idle_ms=2000)
    precisions = (Precision.FP32, Precision.FP16, Precision.BF16, Precision.INT8)
    cells = [replace(cell(points=points, runs=10), precision=precision) for precision in precisions]
    for _ in range(campaigns):
        world.campaign(cells, official=points == OFFICIAL_POINTS)
    (folder / "bundle.tar").write_bytes(world.tar())
    return str(folder / "bundle.tar"), world.pin


def measure(bundle: str, root: str, rounds: int, goal_mib: float | None) -> dict[str, Any]:
    """Run the command in a fresh process `rounds` times; seconds are medians, memory the highest peak."""
    command = [sys.executable, "-m", "verifier", bundle, "--root", root, "--json"]
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed command has its bytecode
    seconds, processor, peaks, report = [], [], [], {}
    for _ in range(rounds):
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE)
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds.append(time.perf_counter() - started)
        processor.append(usage.ru_utime + usage.ru_stime)
        peaks.append(usage.ru_maxrss / 1024)
        report = json.loads(output)
    median, peak = statistics.median(seconds), max(peaks)
    return {
        "bundle_bytes": Path(bundle).stat().st_size,
        "verdict": report["verdict"],
        "checked": {result["id"]: result["detail"] for result in report["checks"]},
        "rounds": rounds,
        "seconds_median": round(median, 3),
        "seconds_best": round(min(seconds), 3),
        "cpu_seconds_median": round(statistics.median(processor), 3),
        "peak_mib": round(peak, 1),
        "goal_seconds": GOAL_SECONDS,
        "goal_mib": goal_mib,
        "met": report["verdict"] == "verified" and median < GOAL_SECONDS and (goal_mib is None or peak < goal_mib),
    }


def show(found: dict[str, Any]) -> None:
    """Print one table."""
    goal = f"goal {found['goal_seconds']:.0f} s"
    print(f"verifier: {found['bundle_bytes'] / 1e6:.1f} MB bundle, {found['verdict']}")
    print(f"  {found['checked']['timeline']}")
    print(f"  {found['checked']['trace']}")
    print(f"  wall time, median of {found['rounds']}  {found['seconds_median']:7.3f} s    {goal}")
    print(f"  wall time, best        {found['seconds_best']:7.3f} s")
    print(f"  processor time, median {found['cpu_seconds_median']:7.3f} s")
    goal = "" if found["goal_mib"] is None else f"  goal {found['goal_mib']:.0f} MiB"
    print(f"  peak memory            {found['peak_mib']:7.1f} MiB{goal}")


if __name__ == "__main__":
    raise SystemExit(main())
