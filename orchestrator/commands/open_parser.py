"""The words of `jouleseal open`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_open(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: Path) -> None:
    """Add the command that shows an auditor the answers that they drew."""
    command = commands.add_parser(
        "open",
        help="operator: show an auditor the answers that their seed draws",
        description="Write the answers that an auditor's seed draws from every completed run of a bundle, with salts "
        "and proofs. The file holds answers: give it to the auditor alone.",
    )
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's tar, or its unpacked folder")
    command.add_argument("--seed", required=True, metavar="HEX", help="the auditor's seed, 64 hexadecimal digits")
    command.add_argument("--count", required=True, type=int, metavar="N", help="how many answers of every run")
    command.add_argument("--campaign", type=int, metavar="N", help="one campaign of the bundle, from 1 (default: all)")
    command.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file to write")
    command.add_argument("--home", type=Path, default=home, help="the folder of the operator's keys, log and answers")
    command.add_argument("--json", action="store_true", help="print one JSON document on standard output")
