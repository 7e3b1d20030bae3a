"""Prints every table of docs/benchmarks.md, measured here in one run: driver, sampler, verifier, record, starts.

`python benchmarks/run.py [--json]`; needs root, an engine and the images of `make images`. Each table also runs alone.
The driver's table is taken against the null model in a real sandbox under the official launch profile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import driver

from orchestrator.launch.engine import DockerEngine
from orchestrator.launch.profile import build_profile
from protocol.submission import Resources
from protocol.units import MIB

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
DEMO = REPOSITORY / "demo-output"
NULL_IMAGE = "jouleseal/null:local"
BIN = Path(sys.executable).parent
START_ROUNDS = 11
START_GOAL_S = 0.4
START_COMMANDS: dict[str, Sequence[str]] = {
    "import orchestrator.cli": (sys.executable, "-c", "import orchestrator.cli"),
    "jouleseal --help": (str(BIN / "jouleseal"), "--help"),
    "jouleseal-verify --help": (str(BIN / "jouleseal-verify"), "--help"),
}
RESOURCES = Resources(memory_bytes=512 * MIB, cpus=1, shm_bytes=64 * MIB)
START_TIMEOUT_S = 30.0


@contextlib.contextmanager
def sealed_null_model() -> Iterator[tuple[int, int]]:
    """The null model under the official profile: verified descriptors of its wire socket and of its raw socket."""
    with contextlib.ExitStack() as stack:
        engine = DockerEngine.connect(rig_id="benchmark")
        stack.callback(engine.close)
        engine.reap()
        image = engine.resolve(NULL_IMAGE)
        sandbox = engine.launch(image, build_profile(image, RESOURCES, None, engine.facts()), "benchmark-null")
        stack.callback(sandbox.destroy)
        wire_fd = sandbox.open_socket(START_TIMEOUT_S)
        stack.callback(os.close, wire_fd)
        raw_fd = os.open(f"/proc/{sandbox.init_pid}/root/run/jouleseal/raw.sock", os.O_PATH | os.O_NOFOLLOW)
        stack.callback(os.close, raw_fd)
        yield wire_fd, raw_fd


def starts() -> dict[str, float]:
    """Return the median seconds that each command takes from start to end, interleaved."""
    took: dict[str, list[float]] = {name: [] for name in START_COMMANDS}
    for _ in range(START_ROUNDS):
        for name, command in START_COMMANDS.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in took.items()}


def parts() -> dict[str, list[str]]:
    """Return the other benchmarks, scripts with arguments; the verifier also on the demo's bundle if there is one."""
    long = ["verifier.py", "--campaigns", "15"]
    found = {
        "Loading datasets": ["datasets.py"],
        "Sampler": ["sampler.py"],
        "Verifier, a synthetic bundle larger than the demo's": ["verifier.py"],
        "Verifier, sixty sessions of ten runs of 100 queries": [*long, "--points", "100"],
        "Verifier, sixty sessions of ten official runs": long,
        "Record": ["record.py"],
    }
    if (DEMO / "bundle.tar").exists():
        bundle = ["verifier.py", str(DEMO / "bundle.tar"), "--root", str(DEMO / "root.json")]
        found["Verifier, the demo's bundle"] = bundle
    return found


def output_of(script: Sequence[str], *, as_json: bool) -> str:
    """Run one of the other benchmarks in a process of its own and return what it printed."""
    command = [sys.executable, str(HERE / script[0]), *script[1:], *(["--json"] if as_json else [])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    if not done.stdout.strip():
        raise SystemExit(f"{script[0]} printed nothing:\n{done.stderr}")
    return done.stdout


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    with sealed_null_model() as (wire_fd, raw_fd):
        table = driver.measure(wire_fd, raw_fd)
    found = {name: output_of(script, as_json=arguments.json) for name, script in parts().items()}
    seconds = starts()
    machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    if arguments.json:
        others = {name: json.loads(text) for name, text in found.items()}
        print(json.dumps({"machine": machine, "Driver": table.as_json(), **others, "Starts, s": seconds}, indent=2))
        return 0
    print(f"machine: {machine}\n\nDriver, to the null model in a sandbox\n{table.render()}\n")
    for name, text in found.items():
        print(f"{name}\n{text.rstrip()}\n")
    print(f"Start of the commands, median of {START_ROUNDS}; goal under {START_GOAL_S} s")
    for name, value in seconds.items():
        print(f"  {name:<26} {value:6.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
