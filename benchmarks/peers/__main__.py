"""`python -m benchmarks.peers`: our meter and its peers on one stand-in device, in one run.

Makes the peers' environments where they are missing, runs every case, every fault and the costs, prints the page and
leaves the raw results in build/peers/results.json. `--write` writes docs/benchmarks-peers.md, `--render` makes the page
anew from the raw results of the last run. Exits 1 where something that was asked for does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from benchmarks.peers import cases, environments, faults, lanes, page, table
from benchmarks.peers.cases import Lane
from protocol.units import NS_PER_MS

RESULTS: Final = environments.CACHE / "results.json"
PAGE: Final = environments.HERE.parents[1] / "docs" / "benchmarks-peers.md"
SIDE_BY_SIDE: Final = 11
COST_COUNTS: Final = {20: 1, 5: 3}
QUICK_COST_COUNTS: Final = {5: 1}
SEED: Final = 20


def main() -> int:
    """Run and print; exits 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks-peers.md")
    parser.add_argument("--quick", action="store_true", help="few windows: to see that everything works")
    parser.add_argument("--render", action="store_true", help="measure nothing; make the page from the last results")
    parser.add_argument("--lanes", type=int, default=SIDE_BY_SIDE, help=f"lanes side by side (default {SIDE_BY_SIDE})")
    parser.add_argument("--shapes", nargs="+", choices=cases.SHAPES, default=cases.SHAPES, help="only these waves")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    if not arguments.render:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(measure(arguments), indent=1), encoding="ascii")
    result = json.loads(RESULTS.read_text(encoding="ascii"))
    text = page.render(result)
    print(text)
    if arguments.write:
        PAGE.write_text(text, encoding="utf-8")
    return 0 if all(claim.holds for claim in table.claims(result["rows"], result["tools"], result["lengths"])) else 1


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything; returns the raw results with what is to be known of them."""
    lanes.interpreters(lanes.METERS)  # before the clock starts: a first run installs
    began, busy = time.monotonic(), _cpu_ticks()
    counts = cases.QUICK if arguments.quick else cases.WINDOWS
    every = cases.lanes(counts, arguments.seed, arguments.shapes)
    rows: list[dict[str, Any]] = []
    for number in range(0, len(every), arguments.lanes):
        rows += _batch(every[number : number + arguments.lanes], f"cases {number + 1}", arguments.seed + number)
    alone = cases.lanes(QUICK_COST_COUNTS if arguments.quick else COST_COUNTS, arguments.seed, ("pulse",))[:1]
    costs = _batch(alone, "costs", arguments.seed)
    wrong = _batch(faults.lanes(), "faults", arguments.seed)
    return {
        "rows": rows,
        "faults": wrong,
        "costs": costs,
        "tools": [meter.name for meter in lanes.METERS],
        "shapes": list(arguments.shapes),
        "counts": counts,
        "lengths": sorted(counts),
        "lanes": arguments.lanes,
        "lead_ms": lanes.LEAD_NS / NS_PER_MS,
        "minutes": (time.monotonic() - began) / 60,
        "environment": _environment(_busy_share(busy, _cpu_ticks())),
    }


def _batch(some: Sequence[Lane], what: str, seed: int) -> list[dict[str, Any]]:
    began = time.monotonic()
    rows = lanes.run(some, lanes.METERS, seed)
    late = sum(row["late_begin"] for row in rows)
    load = os.getloadavg()[0]
    took = time.monotonic() - began
    print(
        f"{what}: {len(some)} lanes, {late} of {len(rows)} begun late, {took:.0f} s, load {load:.1f}", file=sys.stderr
    )
    return rows


def _environment(busy: float) -> dict[str, Any]:
    cpus = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    versions = {"Jouleseal": metadata.version("jouleseal")}
    versions |= {peer: environments.pinned(peer) for peer in environments.PEERS}
    return {
        "cpu": cpus[0] if cpus else "unknown",
        "cores": os.cpu_count(),
        "kernel": ".".join(platform.release().split(".")[:2]),
        "python": platform.python_version(),
        "versions": versions | {"nvidia-ml-py": metadata.version("nvidia-ml-py")},
        "busy": busy,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _cpu_ticks() -> tuple[int, int]:
    """Return the machine's busy and all ticks so far (proc(5): user nice system idle iowait ...)."""
    ticks = [int(word) for word in _lines("/proc/stat")[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _busy_share(before: tuple[int, int], after: tuple[int, int]) -> float:
    return (after[0] - before[0]) / max(after[1] - before[1], 1)


if __name__ == "__main__":
    sys.exit(main())
