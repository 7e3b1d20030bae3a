"""The front door: argv in, exit code out.

Each command lives in a file of its own under `commands/`; a command's imports (engine, wire, metrics) are paid when it
runs, not when help is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from orchestrator import __version__
from orchestrator.commands.beside_parser import add_beside
from orchestrator.commands.compare_parser import add_compare
from orchestrator.commands.dataset_parser import add_dataset, add_datasets_folder
from orchestrator.commands.keys_parser import add_keys
from orchestrator.commands.log_parser import DEFAULT_WITNESS_HOME, UNLOCKS, add_log, add_witness
from orchestrator.commands.open_parser import add_open
from orchestrator.commands.quality_parser import add_quality
from orchestrator.commands.restate_parser import add_restate
from orchestrator.interrupt import ignore_signals
from protocol.errors import EXIT_INTERNAL, JoulesealError, UsageError
from protocol.methodology.scenario import OFFICIAL_POINTS, OFFICIAL_RUNS

DEFAULT_HOME = "~/.local/state/jouleseal"
_OWN = ("protocol", "orchestrator", "verifier")
_EPILOG = (
    "exit codes: 0 done, 1 the claim is false, 2 usage, 3 the submission must change, 4 the machine must be fixed, "
    "5 the measurement was disturbed, 6 cannot be judged, 70 our own fault"
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `jouleseal` with all its commands."""
    parser = argparse.ArgumentParser(
        prog="jouleseal",
        description="Run sealed AI models, meter their energy from outside, sign what was seen.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"jouleseal {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    new = commands.add_parser("new", help="vendor: make a container folder that passes check as it stands")
    new.add_argument("dir", type=Path, metavar="DIR", help="a folder that does not exist yet or is empty")
    new.add_argument("--from", dest="template", choices=["python"], default="python", help="what to start from")

    check = commands.add_parser("check", help="vendor: run the operator's own launch profile and conformance suite")
    check.add_argument(
        "target", metavar="IMAGE|SUBMISSION", help="an image reference with --task, or a submission.yaml"
    )
    check.add_argument("--task", action="append", help="a task to check when an image is given; may be repeated")
    check.add_argument("--samples", type=_positive, default=64, help="public points to ask per task (default 64)")

    init = commands.add_parser("init", help="operator: make a complete local trust domain")
    init.add_argument("--name", default="local", help="the organisation's name in the keyring (default local)")
    init.add_argument("--passphrase-file", type=Path, metavar="FILE", help="encrypt the root's key with what it holds")
    init.add_argument(
        "--device", action="append", default=[], metavar="UUID", help="an accelerator that it may measure"
    )

    doctor = commands.add_parser("doctor", help="operator: check this machine and print every finding with its remedy")
    doctor.add_argument("--probe-image", default="jouleseal/probe:local", help="image of the probe container")
    doctor.add_argument(
        "--device", action="append", default=[], metavar="UUID", help="an accelerator to look at; may be repeated"
    )
    doctor.add_argument(
        "--qualify", action="store_true", help="measure how the instruments behave, and save what is found"
    )
    doctor.add_argument(
        "--records", type=Path, metavar="DIR", help="with --qualify: keep the records that it stands on"
    )

    add_keys(commands, Path(os.environ.get("JOULESEAL_HOME", DEFAULT_HOME)).expanduser())
    run = _run_parser(commands)
    label = commands.add_parser("label", help="public: draw the label of a result in a bundle")
    label.add_argument("bundle", type=Path, metavar="BUNDLE")
    label.add_argument("--campaign", type=_positive, default=1, help="which result of the bundle, from 1")
    label.add_argument("--out", type=Path, default=Path("label.svg"), help="the SVG file to write")

    report = commands.add_parser(
        "report",
        help="public: draw the power of every run in a bundle, as one page",
        description="Draw the evidence of one campaign as a static page with a picture of every run. Nothing is "
        "verified: that is what jouleseal-verify is for.",
    )
    report.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's tar, or its unpacked folder")
    report.add_argument("--campaign", type=_positive, default=1, help="which campaign of the bundle, from 1")
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder for index.html and pictures")

    meter = commands.add_parser(
        "meter",
        help="anybody: run any command and measure its energy, with its doubt",
        description="Run COMMAND and measure it as a run is measured. The exit code is the meter's own: 0 for a valid "
        "window, 5 for a void one; COMMAND's exit status is reported beside the figures. With --json COMMAND's "
        "standard output goes to standard error.",
    )
    meter.add_argument("--device", action="append", default=[], metavar="UUID", help="an accelerator; may be repeated")
    meter.add_argument("--record", type=Path, metavar="FILE", help="keep the meter's record in this file")
    meter.add_argument("--wall", type=Path, metavar="CSV", help="a wall meter's log, being written: adds channel node")
    meter.add_argument("--wall-calibration", type=Path, metavar="JSON", help="what that meter's certificate says")
    meter.add_argument(
        "--gain-calibration",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="an accelerator's document of jouleseal calibrate: less doubt, the same method; one for each device",
    )
    meter.add_argument("--site", type=Path, metavar="JSON", help="the site's PUE: prints the total too")
    meter.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run, after two dashes")

    calibrate = commands.add_parser(
        "calibrate",
        help="operator: find an accelerator's gain from a wall meter, for a smaller doubt",
        description="Find what the accelerator's counter must be multiplied with, from records that jouleseal meter "
        "--record kept while a wall meter logged, and write how sure that is. Measures nothing itself.",
    )
    calibrate.add_argument(
        "records", nargs="+", type=Path, metavar="RECORD", help="of one device; work of several powers"
    )
    calibrate.add_argument(
        "--wall", type=Path, required=True, metavar="CSV", help="the wall meter's log, over all records"
    )
    calibrate.add_argument(
        "--wall-calibration", type=Path, required=True, metavar="JSON", help="what that meter's certificate says"
    )
    calibrate.add_argument(
        "--psu-efficiency", required=True, metavar="LOW-HIGH", help="of the node's supplies at every load, as 0.94-0.96"
    )
    calibrate.add_argument("--out", type=Path, required=True, metavar="FILE", help="the document to write")

    _declared_elsewhere(commands)
    home = Path(os.environ.get("JOULESEAL_HOME", DEFAULT_HOME)).expanduser()
    add_datasets_folder(run)
    add_datasets_folder(check, home)
    for command in (check, init, doctor, run, label, report, new, meter, calibrate):
        command.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    for command in (init, run, doctor):
        command.add_argument(
            "--home",
            type=Path,
            default=home,
            help=f"the trust domain and state (default $JOULESEAL_HOME or {DEFAULT_HOME})",
        )
    return parser


def _declared_elsewhere(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands whose options stand in modules of their own."""
    home = Path(os.environ.get("JOULESEAL_HOME", DEFAULT_HOME)).expanduser()
    add_witness(commands, Path(os.environ.get("JOULESEAL_WITNESS_HOME", DEFAULT_WITNESS_HOME)).expanduser())
    add_log(commands, home)
    add_restate(commands)
    add_compare(commands)
    add_open(commands, home)
    add_beside(commands, home)
    add_dataset(commands, home)
    add_quality(commands, home)


def _run_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    run = commands.add_parser("run", help="operator: measure submissions and write a signed, verified bundle")
    run.add_argument("submissions", nargs="+", type=Path, metavar="SUBMISSION", help="submission.yaml of each vendor")
    run.add_argument("--out", type=Path, default=Path("jouleseal-output"), help="folder for bundle.tar and root.json")
    run.add_argument("--points", type=_positive, default=OFFICIAL_POINTS, help="shorten: points per run (unofficial)")
    run.add_argument("--runs", type=_positive, default=OFFICIAL_RUNS, help="shorten: runs per cell (unofficial)")
    run.add_argument("--device", metavar="UUID", help="measure on this accelerator (default: class cpu, estimated)")
    run.add_argument("--wall", type=Path, metavar="CSV", help="a wall meter's log, being written: adds the whole node")
    run.add_argument("--wall-calibration", type=Path, metavar="JSON", help="what that meter's certificate says")
    run.add_argument(
        "--gain-calibration", type=Path, metavar="JSON", help="the device's document of jouleseal calibrate"
    )
    run.add_argument("--site", type=Path, metavar="JSON", help="the site's PUE: publishes the total too")
    run.add_argument("--passphrase-file", type=Path, metavar="FILE", help=UNLOCKS)
    run.add_argument(
        "--signed", type=Path, action="append", default=[], metavar="FILE", help="a submission as its vendor signed it"
    )
    run.add_argument("--abandon-open", action="store_true", help="close an unfinished campaign of other submissions")
    return run


def main(argv: Sequence[str], *, last: bool = False) -> int:
    """Run one command; returns the exit code of the error tree, 70 for what is our own fault.

    `last` says that nothing but the process's end follows, so that a signal after the work is done changes nothing.
    """
    arguments = build_parser().parse_args(argv)
    arguments.last = last
    try:
        return _run(arguments)
    except JoulesealError as error:
        _print_error(error, arguments)
        return error.exit_code
    except KeyboardInterrupt:
        _print_error(_interrupted(), arguments)
        return 130
    except Exception:  # noqa: BLE001 - the one place where the unexpected becomes exit code 70
        traceback.print_exc()
        print("jouleseal: this is our own fault; please report the lines above", file=sys.stderr)
        return EXIT_INTERNAL


def entry() -> None:
    """Console script."""
    code = main(sys.argv[1:], last=True)
    ignore_signals()
    sys.exit(code)


def _run(arguments: argparse.Namespace) -> int:
    try:
        return _dispatch(arguments)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] in _OWN:
            raise
        raise _not_installed(missing.name) from missing


def _dispatch(arguments: argparse.Namespace) -> int:  # noqa: C901, PLR0911, PLR0912 - one return a command
    # Imports inside, so that `--help` answers without loading the engine, the wire or the metric libraries.
    match arguments.command:
        case "new":
            from orchestrator.commands import new  # noqa: PLC0415

            return new.run(arguments)
        case "check":
            from orchestrator.commands import check  # noqa: PLC0415

            return check.run(arguments)
        case "init":
            from orchestrator.commands import init  # noqa: PLC0415

            return init.run(arguments)
        case "doctor":
            from orchestrator.commands import doctor  # noqa: PLC0415

            return doctor.run(arguments)
        case "meter":
            from orchestrator.commands import meter  # noqa: PLC0415

            return meter.run(arguments)
        case "calibrate":
            from orchestrator.commands import calibrate  # noqa: PLC0415

            return calibrate.run(arguments)
        case "keys":
            from orchestrator.commands import keys  # noqa: PLC0415

            return keys.run(arguments)
        case "label":
            from orchestrator.commands import label  # noqa: PLC0415

            return label.run(arguments)
        case "report":
            from orchestrator.commands import report  # noqa: PLC0415

            return report.run(arguments)
        case "log":
            from orchestrator.commands import log  # noqa: PLC0415

            return log.run(arguments)
        case "open":
            from orchestrator.commands import open_leaves  # noqa: PLC0415

            return open_leaves.run(arguments)
        case "submission":
            from orchestrator.commands import submission  # noqa: PLC0415

            return submission.run(arguments)
        case "equivalence":
            from orchestrator.commands import equivalence  # noqa: PLC0415

            return equivalence.run(arguments)
        case "dataset":
            from orchestrator.commands import dataset  # noqa: PLC0415

            return dataset.run(arguments)
        case "compare":
            from orchestrator.commands import compare  # noqa: PLC0415

            return compare.run(arguments)
        case "quality":
            from orchestrator.commands import quality  # noqa: PLC0415

            return quality.run(arguments)
        case "restate":
            from orchestrator.commands import restate  # noqa: PLC0415

            return restate.run(arguments)
        case "witness":
            from orchestrator.commands import witness  # noqa: PLC0415

            return witness.run(arguments)
        case _:
            from orchestrator.commands import run  # noqa: PLC0415

            return run.run(arguments)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _not_installed(module: str) -> UsageError:
    return UsageError(
        code="NOT_INSTALLED",
        observed=f"the Python package that provides {module!r} is not installed",
        expected="the packages of the extra `runner`",
        hint="pip install 'jouleseal[runner]'; the base install holds only the verifier",
    )


def _interrupted() -> UsageError:
    return UsageError(code="INTERRUPTED", observed="Ctrl-C", expected="the command to end", hint="run it again")


def _print_error(error: JoulesealError, arguments: argparse.Namespace) -> None:
    if arguments.last:
        ignore_signals()  # a second Ctrl-C does not cut short what the first one's end has to say
    if arguments.json:
        print(json.dumps({"error": error.as_dict()}, indent=2))
        return
    print(f"jouleseal: {error.code}", file=sys.stderr)
    print(f"  observed  {error.observed}", file=sys.stderr)
    print(f"  expected  {error.expected}", file=sys.stderr)
    print(f"  next      {error.hint}", file=sys.stderr)
