"""The options of `jouleseal restate`: which result, and the site, grid and factors that it is restated for."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_restate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "restate",
        help="anybody: a result's carbon, water, embodied impact and cost for a site, grid and year of your own",
        description="Restate the signed energy of a bundle's result by a factor table. Nothing is measured again, and "
        "nothing is verified: jouleseal-verify does that.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="bundle.tar, or a folder with its files")
    parser.add_argument("--campaign", type=_counted, default=1, metavar="N", help="which result of the bundle (from 1)")
    parser.add_argument(
        "--factors", type=Path, metavar="FILE", help="a factor table (default: the one that comes along)"
    )
    parser.add_argument("--site", type=Path, metavar="FILE", help="a site profile (default: the one that was signed)")
    parser.add_argument("--grid", metavar="CODE", help="the region whose electricity it is, such as FRA or WOR")
    parser.add_argument("--pue", metavar="X", help="power usage effectiveness of the site, 1 to 5")
    parser.add_argument("--wue", metavar="L", help="the site's own water, litres per kWh of IT energy")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def _counted(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
