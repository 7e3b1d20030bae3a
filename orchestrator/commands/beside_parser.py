"""The words of `jouleseal submission` and `jouleseal equivalence`: what vendors and auditors sign."""

from __future__ import annotations

import argparse
from pathlib import Path

from orchestrator.commands.dataset_parser import add_datasets_folder

_Steps = argparse._SubParsersAction  # noqa: SLF001 - argparse gives the type no other name
SUBMISSION_DAYS = 30
_UNLOCKS = "what opens an encrypted key: a file of mode 0600, or a pipe (default: asked at a terminal)"


def add_beside(commands: _Steps[argparse.ArgumentParser], home: Path) -> None:
    """Add the commands of vendors and auditors, and those with which an operator logs what they say."""
    _add_submission(commands, home)
    _add_equivalence(commands, home)


def _add_submission(commands: _Steps[argparse.ArgumentParser], home: Path) -> None:
    """Add the commands with which a vendor signs what it hands in."""
    command = commands.add_parser("submission", help="vendor: sign what you hand in, so that nobody can say otherwise")
    steps = command.add_subparsers(dest="action", required=True, metavar="STEP")
    sign = steps.add_parser(
        "sign",
        help="sign a submission.yaml and the image that goes with it",
        description="Sign your submission with your own key, which the operator enrolled in the role vendor under your "
        "name. Hand the file in with the submission: jouleseal run SUBMISSION --signed FILE.",
    )
    sign.add_argument("submission", type=Path, metavar="SUBMISSION", help="the submission.yaml, as you hand it in")
    sign.add_argument("--image", required=True, metavar="DIGEST", help="the image's config digest, sha256:<hex>")
    sign.add_argument(
        "--days", type=int, default=SUBMISSION_DAYS, help=f"how long it holds (default {SUBMISSION_DAYS})"
    )
    add_datasets_folder(sign, home)
    _production(sign, required=False)
    _signing(sign)


def _add_equivalence(commands: _Steps[argparse.ArgumentParser], home: Path) -> None:
    """Add the commands by which an auditor finds out whether a vendor serves what was measured."""
    command = commands.add_parser(
        "equivalence",
        help="vendor, auditor: say, and find out, whether production is what was measured",
        description="In this order: the vendor declares, the operator logs, the auditor challenges, the operator logs "
        "and opens the drawn leaves, the auditor checks, the operator logs and publishes. See docs/equivalence.md.",
    )
    steps = command.add_subparsers(dest="action", required=True, metavar="STEP")

    declare = steps.add_parser("declare", help="vendor: sign that you serve the image that a bundle measured")
    _bundle(declare)
    _production(declare, required=True)
    _signing(declare)

    challenge = steps.add_parser("challenge", help="auditor: commit to a draw before anybody can know it")
    _bundle(challenge)
    challenge.add_argument("--declaration", type=Path, required=True, metavar="FILE", help="the vendor's, as logged")
    challenge.add_argument("--secret", type=Path, required=True, metavar="NEW", help="where to keep the secret")
    challenge.add_argument("--leaves", type=int, metavar="N", help="of every run (default: 60 over all runs of a cell)")
    _signing(challenge)

    log = steps.add_parser("log", help="operator: log what a vendor or an auditor signed")
    log.add_argument("file", type=Path, metavar="FILE", help="the signed file")
    log.add_argument("--home", type=Path, default=home, help="the folder of the operator's keys and log")
    log.add_argument("--passphrase-file", type=Path, metavar="FILE", help=_UNLOCKS)
    _out(log)

    draw = steps.add_parser("draw", help="auditor: find the seed that the logged challenge gives, for the operator")
    draw.add_argument("challenge", type=Path, metavar="CHALLENGE", help="the challenge, as the operator logged it")
    draw.add_argument("--secret", type=Path, required=True, metavar="FILE", help="the secret that you committed to")
    _out(draw)

    _add_check(steps, home)

    publish = steps.add_parser("publish", help="operator: write the bundle again, with all that was said of it")
    publish.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle as it was published")
    publish.add_argument("--home", type=Path, default=home, help="the folder of the operator's keys, log and evidence")
    _out(publish)


def _add_check(steps: _Steps[argparse.ArgumentParser], home: Path) -> None:
    check = steps.add_parser(
        "check",
        help="auditor: compare the opened answers with production's, and sign what you find",
        description="Hold the drawn answers of the sealed run against what production answers to the same points, and "
        "sign the finding: places and verdicts, never an answer. Verify the bundle first. Exits 0 where they agree, 1 "
        "where they differ; the finding is written either way.",
    )
    _bundle(check)
    check.add_argument("--declaration", type=Path, required=True, metavar="FILE", help="the vendor's, as logged")
    check.add_argument("--challenge", type=Path, required=True, metavar="FILE", help="your own, as logged")
    check.add_argument("--secret", type=Path, required=True, metavar="FILE", help="the secret that you committed to")
    check.add_argument("--openings", type=Path, required=True, metavar="FILE", help="what `jouleseal open` wrote")
    asked = check.add_mutually_exclusive_group(required=True)
    asked.add_argument("--endpoint", metavar="ADDRESS", help="production: unix:<path>, or <host>:<port> under TLS")
    asked.add_argument(
        "--recorded", type=Path, metavar="FILE", help="production's answers, recorded under the challenge"
    )
    check.add_argument(
        "--tls-roots", type=Path, metavar="PEM", help="whose certificates count (default: this machine's)"
    )
    check.add_argument("--plaintext", action="store_true", help="no TLS to <host>:<port>")
    check.add_argument("--record", type=Path, metavar="NEW", help="keep production's answers, for --recorded")
    add_datasets_folder(check, home)
    _signing(check)


def _bundle(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's tar, or its unpacked folder")
    command.add_argument("--campaign", type=int, default=1, metavar="N", help="which campaign of the bundle, from 1")


def _production(command: argparse.ArgumentParser, *, required: bool) -> None:
    command.add_argument("--engine", required=required, metavar="NAME", help="what you serve it with")
    command.add_argument("--engine-version", required=required, metavar="VERSION", help="its version")
    command.add_argument(
        "--precision",
        action="append",
        required=required,
        metavar="NAME",
        help="what you serve it in, as fp32; repeat it",
    )
    command.add_argument(
        "--difference", action="append", default=[], metavar="TEXT", help="how production differs; repeat it"
    )


def _signing(command: argparse.ArgumentParser) -> None:
    command.add_argument("--key", type=Path, required=True, metavar="KEY", help="your key, a PEM file of mode 0600")
    command.add_argument("--passphrase-file", type=Path, metavar="FILE", help=_UNLOCKS)
    _out(command)


def _out(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    command.add_argument("--json", action="store_true", help="print one JSON document on standard output")
