"""`jouleseal doctor`: examine this machine, qualify it where asked, and print every finding with its remedy."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator import doctor
from orchestrator.disk import make_folder, write_atomic
from orchestrator.meter import qualify
from protocol.errors import RigError, UsageError

_STYLES = {doctor.Health.OK: "green", doctor.Health.WARNING: "yellow", doctor.Health.FAILED: "bold red"}

Row = tuple[doctor.Health, str, str, str]


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 0 where sandboxes may run here, 4 where the operator must act first."""
    if arguments.qualify:
        return _qualify(arguments)
    if arguments.records is not None:
        raise UsageError(
            code="RECORDS_OF_NOTHING",
            observed="--records without --qualify",
            expected="a qualification whose records are to be kept",
            hint="add --qualify",
        )
    found = doctor.examine(state=arguments.home, probe_image=arguments.probe_image, devices=arguments.device)
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        _print([(f.health, f.check, f.observed, f.remedy) for f in found.findings], fit=found.fit)
    return 0 if found.fit else RigError.exit_code


def _qualify(arguments: argparse.Namespace) -> int:
    """Examine and qualify, save the document in the state folder, print it."""
    if not arguments.json:
        seconds = "half a minute" if arguments.device else "ten seconds"
        Console(stderr=True).print(f"qualifying the rig; this takes about {seconds}", highlight=False)
    diagnosis = doctor.examine(state=arguments.home, probe_image=arguments.probe_image)
    with tempfile.TemporaryDirectory(prefix="jouleseal-qualify-") as folder:
        found = doctor.qualify(diagnosis, arguments.device, Path(folder))
        if arguments.records is not None:
            _keep(Path(folder), arguments.records)
    make_folder(arguments.home, mode=0o700)
    write_atomic(arguments.home / qualify.FILE, found.to_bytes())
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        _print([(doctor.health_of(f), f.name, f.observed, f.remedy) for f in found.findings], fit=found.fit)
        print(f"saved as {arguments.home / qualify.FILE}")
    return 0 if found.fit else RigError.exit_code


def _keep(source: Path, target: Path) -> None:
    """Keep the records: who doubts a figure can compute it again."""
    make_folder(target)
    for record in sorted(source.iterdir()):
        write_atomic(target / record.name, record.read_bytes())


def _print(rows: Sequence[Row], *, fit: bool) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for health, name, observed, remedy in rows:
        said = observed if health is doctor.Health.OK else f"{observed}; {remedy}"
        table.add_row(Text(health.value, style=_STYLES[health]), name, Text(said))
    console.print(table)
    failed = sum(health is doctor.Health.FAILED for health, *_ in rows)
    warned = sum(health is doctor.Health.WARNING for health, *_ in rows)
    verdict = "fit to run sandboxes" if fit else "NOT fit: no sandbox may run here"
    console.print(f"\n{len(rows)} checks, {failed} failed, {warned} warnings: {verdict}", highlight=False)
