"""Measures what reading a dataset costs before the first window: points per second and memory, digests checked.

`python benchmarks/datasets.py [--json] [--datasets FOLDER]`: the sets in the package, a synthetic one of 1,000 pictures
of 48 KiB in files of their own (the size of the standard image sets), and every set of the folder where one is given.
Each is read in a process of its own; memory is how much its peak grew from before the reading.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.datasets.build import assemble, keep
from orchestrator.datasets.store import PACKAGED, load, present
from protocol.methodology.tasks import Task
from protocol.samples import ImageInput, Point
from protocol.units import MIB

ROUNDS = 5
PICTURES = 1_000
PICTURE_BYTES = 48 << 10
SYNTHETIC = "own-synthetic-pictures"


def synthetic(folder: Path) -> None:
    """Keep a dataset of pictures in a folder; only their size matters, so they are no pictures inside."""

    def content(number: int) -> bytes:
        seed = hashlib.sha256(number.to_bytes(4, "big")).digest()
        return b"\x89PNG\r\n\x1a\n" + seed * (PICTURE_BYTES // len(seed))

    points = tuple(
        Point(index=n, point_id=f"p-{n}", source="none", input=ImageInput(content=content(n)), reference="none")
        for n in range(PICTURES)
    )
    task, parts = Task.IMAGE_CLASSIFICATION, (points, points[:1], ())
    keep(assemble(SYNTHETIC, task, parts, licence="CC0-1.0", note="", attribution={}, origin={}), folder)


def one(name: str, folder: Path) -> dict[str, float | int | str]:
    """Return what reading one set costs in this process."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew: proc(5)
    before = memory("VmRSS")
    dataset, took = None, []
    for _ in range(ROUNDS):
        dataset = None  # so that two are never held at once
        began = time.perf_counter()
        dataset = load(name, folder)
        took.append(time.perf_counter() - began)
    if dataset is None:
        raise SystemExit("no round was run")
    every = (*dataset.points, *dataset.warm_up, *dataset.pool)
    seconds = statistics.median(took)
    grown = (memory("VmHWM") - before) / MIB
    return {
        "dataset": name,
        "points": len(every),
        "seconds": round(seconds, 4),
        "pointsPerSecond": round(len(every) / seconds),
        "memoryMiB": round(grown, 1),
    }


def memory(field: str) -> int:
    """Return a figure of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:"))


def measured(name: str, folder: Path) -> dict[str, float | int | str]:
    """Return the same from a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--datasets", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float | int | str] = json.loads(done.stdout)
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--datasets", type=Path, help="a folder of built datasets to read too")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(one(arguments.one, arguments.datasets)))
        return 0
    with tempfile.TemporaryDirectory(prefix="jouleseal-") as scratch:
        synthetic(Path(scratch))
        rows = [measured(name, Path(scratch)) for name in (*PACKAGED, SYNTHETIC)]
    if arguments.datasets is not None:
        rows += [measured(name, arguments.datasets) for name in present(arguments.datasets) if name not in PACKAGED]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    print(f"{'dataset':<26} {'points':>7} {'seconds':>8} {'points/s':>9} {'memory, MiB':>12}")
    for row in rows:
        cells = (row["points"], row["seconds"], row["pointsPerSecond"], row["memoryMiB"])
        print(f"{row['dataset']:<26} {cells[0]:>7} {cells[1]:>8} {cells[2]:>9} {cells[3]:>12}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
