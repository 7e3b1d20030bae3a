"""`make soak`: a million executions of every parser that touches untrusted bytes, and a dated report of them.

    python -m tests.soak [--executions N] [--only TARGET ...] [--jobs N] [--write]

Each parser runs in a process of its own (`tests.soak.child`). `--write` writes docs/soak.md, findings and all, and
keeps the rows of the parsers that were not run this time, each with its day; any finding makes the exit code 1. Inputs
that were findings are kept under build/soak.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.soak.child import MAX_MEMORY, MAX_SECONDS
from tests.soak.target import MAX_INPUT
from tests.soak.targets import TARGETS

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "build" / "soak"
PAGE = REPOSITORY / "docs" / "soak.md"
EXECUTIONS = 1_000_000
_DONE = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb:\s*(\d+)")
_RATE = re.compile(r"stat::average_exec_per_sec:\s*(\d+)")
_EXIT = re.compile(r"(?m)^exit (-?\d+)$")
_OWN = re.compile(r'(?m)^\{"executions".*\}$')
_DATE = re.compile(r"(?m)^date (\d{4}-\d\d-\d\d)$")
_ROW = re.compile(r"(?m)^\| ([a-z-]+) \| (\d+) \| (\d+) \| (-|\d+) \| (\d+) MiB \| (\d{4}-\d\d-\d\d) \| (.*) \|$")
_COVERAGE = re.compile(r"cov: (\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What became of one parser; `finding` is empty where nothing was found."""

    name: str
    executions: int
    rate: int
    mib: int
    branches: int | None
    day: str
    finding: str


def soak(name: str, executions: int) -> None:
    """Run one parser in its own process and keep what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.child", name, str(executions), str(FOLDER)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    ended = f"{datetime.now(UTC):%Y-%m-%d}"
    (FOLDER / f"{name}.log").write_text(f"{done.stderr}{done.stdout}\ndate {ended}\nexit {done.returncode}\n")


def kept(text: str) -> dict[str, Soaked]:
    """Return the rows of a report, by parser."""
    return {
        name: Soaked(
            name=name,
            executions=int(executions),
            rate=int(rate),
            branches=None if branches == "-" else int(branches),
            mib=int(mib),
            day=day,
            finding="" if finding == "none" else finding,
        )
        for name, executions, rate, branches, mib, day, finding in _ROW.findall(text)
    }


def notes(text: str) -> list[str]:
    """Return what a report notes about the rows that it has."""
    return re.findall(r"(?m)^- Note: .*$(?:\n  .*$)*", text)


def read(name: str, log: str) -> Soaked:
    """Return what one parser's process said."""
    ended = _EXIT.findall(log)
    finding = "" if ended[-1:] == ["0"] else f"exit {''.join(ended[-1:]) or 'unknown'}: {_last(log)}"
    day = "".join(_DATE.findall(log)[-1:])
    counted, coverage = _DONE.findall(log), _COVERAGE.findall(log)
    if counted:
        return Soaked(
            name=name,
            executions=int(counted[-1]),
            rate=int(_RATE.findall(log)[-1]),
            mib=int(_PEAK.findall(log)[-1]),
            branches=int(coverage[-1]) if coverage else None,
            day=day,
            finding=finding,
        )
    own = json.loads(_OWN.findall(log)[-1]) if not finding else {"executions": 0, "mib": 0, "seconds": 1}
    rate = int(own["executions"] / max(own["seconds"], 1))
    return Soaked(
        name=name,
        executions=own["executions"],
        rate=rate,
        mib=own["mib"],
        branches=None,
        day=day,
        finding=finding,
    )


def page(found: Mapping[str, Soaked], noted: Sequence[str] = ()) -> str:
    """Return the report on the parsers that there are, in their order."""
    rows = [found[target.name] for target in TARGETS if target.name in found]
    absent = [target.name for target in TARGETS if target.name not in found]
    guided = any(one.branches is not None for one in rows)
    engine = "atheris (libFuzzer, guided by the coverage of our code)" if guided else "mutations of our own, unguided"
    lines = [
        "# Soak report",
        "",
        "Every parser that touches untrusted bytes, fed with mutated ones: it may refuse them with an error of our",
        "tree, and must neither crash nor hang. `python -m tests.soak --write` makes this page, `--only` renews some",
        "rows and keeps the others; `make test` runs a short pass, and finds a parser that nobody soaks.",
        "",
        f"- Days: {', '.join(sorted({one.day for one in rows}))}",
        f"- Machine: Python {platform.python_version()}, {os.cpu_count()} processors",
        f"- Engine: {engine}",
        f"- Limits: inputs of {MAX_INPUT} bytes, {MAX_SECONDS} s an execution, {MAX_MEMORY >> 20} MiB a process",
        f"- Executions: {sum(one.executions for one in rows)} in all",
        f"- A million or more: {sum(one.executions >= EXECUTIONS for one in rows)} of {len(TARGETS)} parsers",
        f"- Not soaked yet: {', '.join(absent) or 'none'}",
        f"- Findings: {sum(bool(one.finding) for one in rows)}",
        *noted,
        "",
        "| parser | executions | a second | branches reached | memory at most | day | finding |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.name} | {one.executions} | {one.rate} |"
        f" {'-' if one.branches is None else one.branches} | {one.mib} MiB | {one.day} | {one.finding or 'none'} |"
        for one in rows
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
    names = [target.name for target in TARGETS] if arguments.only is None else arguments.only
    FOLDER.mkdir(parents=True, exist_ok=True)
    before = PAGE.read_text() if PAGE.exists() else ""
    found, noted = kept(before), notes(before)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        running = {pool.submit(soak, name, arguments.executions): name for name in names}
        for done in as_completed(running):
            done.result()
            name = running[done]
            found[name] = read(name, (FOLDER / f"{name}.log").read_text(errors="replace"))
            if arguments.write:
                PAGE.write_text(page(found, noted))  # as it grows: a run that is stopped has told what it did
    print(page(found, noted))
    return int(any(found[name].finding for name in names))


if __name__ == "__main__":
    sys.exit(main())
