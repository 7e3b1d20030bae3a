"""`jouleseal doctor`: examine this machine and print every finding with its remedy."""

from __future__ import annotations

import argparse
import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator import doctor
from protocol.errors import RigError

_STYLES = {doctor.Health.OK: "green", doctor.Health.WARNING: "yellow", doctor.Health.FAILED: "bold red"}


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 0 where sandboxes may run here, 4 where the operator must act first."""
    diagnosis = doctor.examine(state=arguments.home, probe_image=arguments.probe_image)
    if arguments.json:
        print(json.dumps(diagnosis.to_json(), indent=2))
    else:
        _print(diagnosis)
    return 0 if diagnosis.fit else RigError.exit_code


def _print(diagnosis: doctor.Diagnosis) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in diagnosis.findings:
        health = Text(finding.health.value, style=_STYLES[finding.health])
        said = finding.observed if finding.health is doctor.Health.OK else f"{finding.observed}; {finding.remedy}"
        table.add_row(health, finding.check, Text(said))
    console.print(table)
    failed = sum(finding.health is doctor.Health.FAILED for finding in diagnosis.findings)
    warned = sum(finding.health is doctor.Health.WARNING for finding in diagnosis.findings)
    verdict = "fit to run sandboxes" if diagnosis.fit else "NOT fit: no sandbox may run here"
    console.print(f"\n{len(diagnosis.findings)} checks, {failed} failed, {warned} warnings: {verdict}", highlight=False)
