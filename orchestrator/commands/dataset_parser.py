"""The options of `jouleseal dataset`: build, fetch, verify, show and list datasets, and open a private shard."""

from __future__ import annotations

import argparse
from pathlib import Path

from protocol.methodology.tasks import Task

_SHARD = "the private shard in force: its number and its salted digest, never its points"


def add_datasets_folder(parser: argparse.ArgumentParser, home: Path | None = None) -> None:
    """Declare where built datasets lie; without a home the command takes that of its own `--home`."""
    parser.add_argument(
        "--datasets",
        type=Path,
        metavar="FOLDER",
        default=None if home is None else home / "datasets",
        help="the folder of built datasets (default datasets in the home)",
    )


def add_dataset(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: Path) -> None:
    """Declare the command, its verbs and their options."""
    parser = commands.add_parser("dataset", help="anybody: build, fetch, verify, show and list datasets")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    build = verbs.add_parser(
        "build",
        help="make a dataset from locked packages or from a file of your own",
        description="Make NAME from its locked packages, or with --from-jsonl a dataset of your own, which is measured "
        "and never rated.",
    )
    build.add_argument("name", nargs="?", metavar="NAME", help="a dataset that `jouleseal dataset list` names")
    build.add_argument("--from-jsonl", type=Path, metavar="FILE", help="your own points, a JSON object a line")
    build.add_argument("--task", choices=sorted(task.value for task in Task), help="with --from-jsonl: what is asked")
    build.add_argument("--name", dest="own_name", metavar="NAME", help="with --from-jsonl: a name beginning with own-")
    build.add_argument("--licence", metavar="SPDX", help="with --from-jsonl: under what licence you hold the points")
    build.add_argument("--blobs", type=Path, metavar="DIR", help="with --from-jsonl: where image and audio files lie")
    build.add_argument("--packages", type=Path, metavar="DIR", help="the cache of packages (default: the user's)")
    build.add_argument("--private-shard", action="store_true", help=f"draw {_SHARD}")

    fetch = verbs.add_parser("fetch", help="bring a standard dataset from the Hugging Face hub, or from a mirror of it")
    fetch.add_argument("name", metavar="NAME", help="its name on the hub, such as text_generation")
    fetch.add_argument("--revision", required=True, metavar="HEX", help="the commit, 40 hexadecimal digits; no branch")
    fetch.add_argument(
        "--mirror", type=Path, metavar="DIR", help="read AIEnergyScore/NAME/REVISION/data from here, without a network"
    )

    verify = verbs.add_parser("verify", help="read every point of datasets that are here; all of them by default")
    verify.add_argument("names", nargs="*", metavar="NAME")
    show = verbs.add_parser("show", help="say what a dataset is, and what it is not")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--private-shard", action="store_true", help=f"show {_SHARD}")
    listed = verbs.add_parser("list", help="list the datasets that are here or can be brought")
    opened = verbs.add_parser(
        "open-shard",
        help="operator: write the private shard for an auditor, and retire it",
        description="Write the points and the salt of the shard in force, from which its logged digest follows. The "
        "shard is then retired: later campaigns draw the next one, which shares no point with it.",
    )
    opened.add_argument("name", metavar="NAME")
    opened.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write, for the auditor")
    checked = verbs.add_parser("check-shard", help="auditor: compute an opened shard's digest from its points and salt")
    checked.add_argument("file", type=Path, metavar="FILE", help="what open-shard wrote")
    checked.add_argument("--logged", metavar="HEX", help="the salted digest that the plan logged; compared where given")
    for verb in (build, fetch, verify, show, listed, opened, checked):
        verb.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        verb.add_argument("--home", type=Path, default=home, help="the trust domain and state")
        add_datasets_folder(verb)
