"""The words of `jouleseal quality`."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.commands.dataset_parser import add_datasets_folder


def add_quality(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: Path) -> None:
    """Add the command that scores opened answers again."""
    command = commands.add_parser(
        "quality",
        help="auditor: score opened answers again, and compare with the signed quality",
        description="Score the answers that an operator opened against the dataset that the plan names, by the code "
        "that scored them when they were measured. Every leaf is checked against its signed root; the signatures are "
        "not: jouleseal-verify open-leaves does that, and whether the leaves are those that were drawn.",
    )
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's tar, or its unpacked folder")
    command.add_argument("--openings", required=True, type=Path, metavar="FILE", help="what the operator opened")
    command.add_argument("--campaign", type=_counted, default=1, metavar="N", help="which campaign, from 1")
    command.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    add_datasets_folder(command, home)


def _counted(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
