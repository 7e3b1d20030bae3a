"""The auditor's front door: `jouleseal-verify`, from arguments to an exit code.

Exit codes: 0 verified, 1 the claim is false, 2 usage, 6 it cannot be judged, 70 our own fault.
The verifier opens no socket and starts no process. It writes a file only where `--state` or `--vsa` names one, and asks
the clock only for a verdict's time and for the age that a policy bounds: all else follows from its arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from protocol.errors import EXIT_INTERNAL, EXIT_VERIFIED, JoulesealError, UsageError
from verifier.auditor_policy import read_auditor_policy
from verifier.demands import Demands, digest, moment, root_pin
from verifier.report import Verdict
from verifier.state import read_state, write_state

_DESCRIPTION = """\
Verify a Jouleseal bundle against a pinned root, on a machine with no network.

  jouleseal-verify BUNDLE --root ROOT     verify: recompute every figure, check every signature and the log
  jouleseal-verify inspect BUNDLE         print what a bundle says, trusting none of it
"""
_EPILOG = "exit codes: 0 verified, 1 false, 2 usage, 6 cannot be judged, 70 our own fault"


class _Parser(argparse.ArgumentParser):
    """Raises UsageError where argparse would leave the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(observed=message, expected=self.format_usage().strip(), hint=f"see {self.prog} --help")


def verify_parser() -> argparse.ArgumentParser:
    """Return the parser of the verifying command."""
    parser = _Parser(
        prog="jouleseal-verify",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle: a .tar file, or the folder it was unpacked into")
    parser.add_argument(
        "--root",
        metavar="ROOT",
        help="the pinned root: its file, or sha256:<fingerprint>; required, and never taken from the bundle",
    )
    parser.add_argument("--image", metavar="DIGEST", help="the image that the result must be about: sha256:<hex>")
    parser.add_argument(
        "--as-of",
        metavar="TIME",
        help="judge as of this time, for example 2026-11-23T12:00:00Z (default: witness time)",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    asked = parser.add_argument_group("what you ask beyond its being true")
    asked.add_argument("--policy", metavar="FILE", help="your demands: tier, hardware classes, signers, maximum age")
    asked.add_argument(
        "--state",
        metavar="FILE",
        help="remember logs and keyrings here, and refuse one that went back or has two histories",
    )
    asked.add_argument(
        "--reproduced-by",
        metavar="BUNDLE",
        help="a second enrolled runner's bundle, which must have measured the same: tier T4",
    )
    return parser


def inspect_parser() -> argparse.ArgumentParser:
    """Return the parser of `inspect`."""
    parser = _Parser(
        prog="jouleseal-verify inspect",
        description="Print what a bundle says about itself. Nothing is verified, and nothing of it may be relied upon.",
        allow_abbrev=False,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle: a .tar file, or the folder it was unpacked into")
    parser.add_argument("--json", action="store_true", help="print as JSON on stdout")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code; every error is said on stderr, as JSON on stdout with `--json`."""
    wants_json = "--json" in argv
    try:
        return _inspect(argv[1:]) if argv[:1] == ["inspect"] else _verify(argv)
    except SystemExit as leaving:  # argparse's --help
        return int(leaving.code or 0)
    except BrokenPipeError:
        sys.stdout = None  # whoever read us has left; the interpreter must not flush what is left
        return EXIT_INTERNAL
    except JoulesealError as error:
        _say(error.as_dict(), wants_json=wants_json)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the command's main: what is not in the error tree is our own fault
        traceback.print_exc()
        unexpected = {
            "kind": type(error).__name__,
            "code": "INTERNAL",
            "observed": str(error) or type(error).__name__,
            "expected": "no unexpected error",
            "hint": "this says nothing about the bundle; report it to the maintainers with the lines above",
        }
        _say(unexpected, wants_json=wants_json)
        return EXIT_INTERNAL


def entry() -> NoReturn:
    """Run as the installed command."""
    sys.exit(main(sys.argv[1:]))


def _verify(argv: Sequence[str]) -> int:
    arguments = verify_parser().parse_args(argv)
    if arguments.root is None:
        raise UsageError(
            code="ROOT_REQUIRED",
            observed="no --root",
            expected="--root ROOT: the root's file, or sha256:<fingerprint>",
            hint="ask the operator for the fingerprint over another channel; a bundle cannot vouch for its own root. "
            "To look without trusting: jouleseal-verify inspect BUNDLE",
        )
    demands = Demands(
        root=root_pin(arguments.root),
        image=digest(arguments.image, option="--image") if arguments.image else None,
        as_of=moment(arguments.as_of) if arguments.as_of else None,
        state=read_state(Path(arguments.state)) if arguments.state else None,
        policy=read_auditor_policy(Path(arguments.policy)) if arguments.policy else None,
        now=datetime.now(UTC),
    )
    # Imported here so that --help and usage errors stay fast: the checks load cryptography.
    from verifier.verify import judge_path  # noqa: PLC0415

    second = arguments.reproduced_by
    others = Demands(root=demands.root, as_of=demands.as_of)
    judged = judge_path(
        Path(arguments.bundle), demands, judge_path(Path(second), others) if second is not None else None
    )
    report = judged.report
    if report.verdict is Verdict.VERIFIED and judged.state.known:
        write_state(Path(arguments.state), judged.state.value)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        from verifier.screen import show_report  # noqa: PLC0415 - see above

        show_report(report)
    return report.verdict.exit_code


def _inspect(argv: Sequence[str]) -> int:
    arguments = inspect_parser().parse_args(argv)
    from verifier.inspection import inspect_path  # noqa: PLC0415 - see _verify

    seen = inspect_path(Path(arguments.bundle))
    if arguments.json:
        print(json.dumps(seen, indent=2, ensure_ascii=False))
    else:
        from verifier.screen import show_inspection  # noqa: PLC0415 - see _verify

        show_inspection(seen)
    return EXIT_VERIFIED


def _say(error: dict[str, str], *, wants_json: bool) -> None:
    if wants_json:
        print(json.dumps({"error": error}, indent=2, ensure_ascii=False))
    print(f"{error['code']}: {error['observed']}", file=sys.stderr)
    print(f"  expected: {error['expected']}", file=sys.stderr)
    print(f"  next:     {error['hint']}", file=sys.stderr)
