"""The arguments of `jouleseal witness` and `jouleseal log`."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_WITNESS_HOME = "~/.local/state/jouleseal-witness"
DEFAULT_LISTEN = "127.0.0.1:7391"

UNLOCKS = "its first line opens encrypted keys (mode 0600, a pipe, or a service's credential)"

_MAX_DIGITS = 18


def add_witness(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: Path) -> None:
    """Add `witness` and its actions; `home` is where a witness is unless it is named."""
    witness = commands.add_parser("witness", help="anybody: remember what a log has shown, and cosign only its growth")
    actions = witness.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="make a witness with a key of its own, and say what to enrol")
    init.add_argument("name", metavar="NAME", help="its key name, under a domain of yours: audit.example/witness-1")
    init.add_argument("--log", action="append", default=[], metavar="LOG", help="a log to watch; may be repeated")
    watch = actions.add_parser("watch", help="watch one more log")
    watch.add_argument("log", metavar="LOG", help="the log's verifier key, or a file with it, or its policy.txt")
    serve = actions.add_parser("serve", help="answer C2SP tlog-witness over HTTP until it is told to stop")
    place = serve.add_mutually_exclusive_group()
    place.add_argument("--listen", default=DEFAULT_LISTEN, metavar="HOST:PORT", help=f"default {DEFAULT_LISTEN}")
    place.add_argument("--socket", type=Path, metavar="PATH", help="a unix socket instead")
    cosign = actions.add_parser("cosign", help="cosign one checkpoint without a network: file in, cosigned note out")
    cosign.add_argument("file", type=Path, metavar="FILE", help="from jouleseal log prove --from SIZE, or a bare note")
    cosign.add_argument("--out", type=Path, metavar="FILE", help="where to write the note (default standard output)")
    show = actions.add_parser("show", help="print its key, and what it remembers of each log")
    words = "encrypt its key with what this file's first line holds"
    init.add_argument("--passphrase-file", type=Path, metavar="FILE", help=words)
    for action in (watch, serve, cosign, show):
        action.add_argument("--passphrase-file", type=Path, metavar="FILE", help=UNLOCKS)
    for action in (init, watch, serve, cosign, show):
        action.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        words = f"the witness's folder (default $JOULESEAL_WITNESS_HOME or {DEFAULT_WITNESS_HOME})"
        action.add_argument("--home", type=Path, default=home, help=words)


def add_log(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: Path) -> None:
    """Add `log` and its actions; `home` is the domain's folder unless it is named."""
    log = commands.add_parser("log", help="operator, auditor: what a log shows, proves, and does not get away with")
    actions = log.add_subparsers(dest="action", required=True, metavar="ACTION")
    checkpoint = actions.add_parser("checkpoint", help="ask every witness again, and print the latest cosigned note")
    checkpoint.add_argument("--add", type=Path, metavar="NOTE", help="add the lines of this note, cosigned by file")
    checkpoint.add_argument("--passphrase-file", type=Path, metavar="FILE", help=UNLOCKS)
    checkpoint.add_argument("--as-is", action="store_true", help="print what is published, and ask nobody")
    prove = actions.add_parser("prove", help="print an inclusion proof, or a consistency proof with --from")
    prove.add_argument("entry", nargs="?", metavar="ENTRY", help="an index, or a statement's file")
    prove.add_argument("--from", dest="old", type=_whole, metavar="SIZE", help="prove growth since this size")
    prove.add_argument("--to", dest="new", type=_whole, metavar="SIZE", help="to this size (default the latest signed)")
    audit = actions.add_parser("audit", help="recompute the whole log and check everything that was signed; 1 if wrong")
    audit.add_argument(
        "--note", action="append", default=[], type=Path, metavar="FILE", help="a note kept elsewhere; may be repeated"
    )
    monitor = actions.add_parser("monitor", help="find foreign entries, hidden campaigns and forks; 1 if there are any")
    monitor.add_argument("--against", type=Path, metavar="FOLDER", help="another copy of the log")
    monitor.add_argument(
        "--statements", action="append", default=[], type=Path, metavar="DIR", help="the runner's own; may be repeated"
    )
    monitor.add_argument("--key", action="append", default=[], metavar="ID", help="a runner's key id; may be repeated")
    monitor.add_argument("--state", type=Path, metavar="FILE", help="remember the log's head here between looks")
    monitor.add_argument("--every", type=_seconds, metavar="SECONDS", help="look again and again, until it is wrong")
    words = "the domain's folder (default as of `jouleseal run`)"
    for action in (checkpoint, prove):
        action.add_argument("--home", type=Path, default=home, help=words)
        action.add_argument("--out", type=Path, metavar="FILE", help="write it here too")
    for action in (audit, monitor):
        action.add_argument("folder", nargs="?", type=Path, default=home, metavar="FOLDER", help=f"{words}, or a copy")
    for action in (prove, audit, monitor):
        action.add_argument("--policy", type=Path, metavar="FILE", help="the policy (default the domain's trust/)")
    for action in (checkpoint, prove, audit, monitor):
        action.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> int:
    seconds = _whole(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError("look at most once a second")
    return seconds
