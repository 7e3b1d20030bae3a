"""The options of `jouleseal compare`: which bundles stand beside each other."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "compare",
        help="anybody: quality, energy, latency, throughput and memory of results beside each other",
        description="Compare the completed results of one or more bundles, cell by cell, the first one as the base. "
        "Other hardware classes, methods or datasets are refused. Nothing is verified: jouleseal-verify does that.",
    )
    parser.add_argument(
        "bundles", nargs="+", type=Path, metavar="BUNDLE", help="bundle.tar of each result or of several"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
