"""`make soak`: a million executions of every parser that touches untrusted bytes, and a dated report of them.

    python -m tests.soak [--executions N] [--only TARGET ...] [--jobs N] [--write]

Each parser runs in a process of its own (`tests.soak.child`). `--write` writes docs/soak.md, findings and all; any
finding makes the exit code 1. Inputs that were findings are kept under build/soak.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.soak.child import MAX_MEMORY, MAX_SECONDS
from tests.soak.targets import MAX_INPUT, TARGETS

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "soak"
PAGE = REPOSITORY / "docs" / "soak.md"
EXECUTIONS = 1_000_000
_DONE = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s*(\d+)")
_COVERAGE = re.compile(r"cov: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What became of one parser; `finding` is empty where nothing was found."""

    name: str
    executions: int
    seconds: float
    mib: int
    branches: int | None
    finding: str


def soak(name: str, executions: int) -> Soaked:
    """Run one parser in its own process and read what it says."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.child", name, str(executions), str(FOLDER)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.monotonic() - began
    told = done.stdout + done.stderr
    (FOLDER / f"{name}.log").write_text(told)
    finding = "" if done.returncode == 0 else f"exit {done.returncode}: {_last(told)}"
    counted, peak, coverage = _DONE.findall(told), _PEAK.findall(told), _COVERAGE.findall(told)
    if counted:
        branches = int(coverage[-1]) if coverage else None
        return Soaked(
            name=name,
            executions=int(counted[-1]),
            seconds=seconds,
            mib=int(peak[-1]),
            branches=branches,
            finding=finding,
        )
    own = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"executions": 0, "mib": 0}
    return Soaked(
        name=name,
        executions=own["executions"],
        seconds=seconds,
        mib=own["mib"],
        branches=None,
        finding=finding,
    )


def page(found: list[Soaked]) -> str:
    """Return the report."""
    guided = any(one.branches is not None for one in found)
    engine = "atheris (libFuzzer, guided by the coverage of our code)" if guided else "mutations of our own, unguided"
    lines = [
        "# Soak report",
        "",
        "Every parser that touches untrusted bytes, fed with mutated ones: it may refuse them with an error of our",
        "tree, and must neither crash nor hang. `python -m tests.soak --write` makes this page;",
        "`make test` runs a short pass.",
        "",
        f"- Date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- Machine: Python {platform.python_version()}, {os.cpu_count()} processors",
        f"- Engine: {engine}",
        f"- Limits: inputs of {MAX_INPUT} bytes, {MAX_SECONDS} s an execution, {MAX_MEMORY >> 20} MiB a process",
        f"- Executions: {sum(one.executions for one in found)} in all",
        f"- A million or more: {sum(one.executions >= EXECUTIONS for one in found)} of {len(TARGETS)} parsers",
        f"- Findings: {sum(bool(one.finding) for one in found)}",
        "",
        "| parser | executions | a second | branches reached | memory at most | finding |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {one.executions} | {one.executions / one.seconds:.0f} |"
        f" {'-' if one.branches is None else one.branches} | {one.mib} MiB | {one.finding or 'none'} |"
        for one in found
    ]
    return "\n".join(lines) + "\n"


def _last(told: str) -> str:
    lines = [line.strip() for line in told.splitlines() if "Error" in line or "ERROR" in line or "ALARM" in line]
    return (lines or told.splitlines()[-1:] or ["no output"])[-1][:120].replace("|", "/")


def main() -> int:
    """Soak the parsers, print the report, and write it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--executions", type=int, default=EXECUTIONS)
    parser.add_argument("--only", nargs="*", choices=[target.name for target in TARGETS])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    names = arguments.only or [target.name for target in TARGETS]
    FOLDER.mkdir(parents=True, exist_ok=True)
    found: list[Soaked] = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for done in as_completed([pool.submit(soak, name, arguments.executions) for name in names]):
            found = sorted([*found, done.result()], key=lambda one: names.index(one.name))
            print(f"{len(found)} of {len(names)}: {done.result().name}", file=sys.stderr)
            if arguments.write:
                PAGE.write_text(page(found))  # as it grows: a run that is stopped has told what it did
    print(page(found))
    return int(any(one.finding for one in found))


if __name__ == "__main__":
    sys.exit(main())
