"""The auditor's front door: `jouleseal-verify`, from arguments to an exit code.

Exit codes: 0 verified, 1 the claim is false, 2 usage, 6 it cannot be judged, 70 our own fault.
The verifier opens no socket and starts no process. It writes a file only where `--state` or `--vsa` names one, and asks
the clock only for a verdict's time and for the age that a policy bounds: all else follows from its arguments.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

from protocol.errors import EXIT_INTERNAL, EXIT_VERIFIED, JoulesealError, UsageError
from verifier.auditor_policy import read_auditor_policy
from verifier.demands import Demands, digest, moment, root_pin
from verifier.report import Verdict
from verifier.state import read_state, write_state

_DESCRIPTION = """\
Verify a Jouleseal bundle against a pinned root, on a machine with no network.

  jouleseal-verify BUNDLE --root ROOT     verify: recompute every figure, check every signature and the log
  jouleseal-verify inspect BUNDLE         print what a bundle says, trusting none of it
  jouleseal-verify open-leaves BUNDLE     check answers that the operator opened for you
  jouleseal-verify vsa FILE               check a verdict that another verifier signed
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
    signing = parser.add_argument_group("your verdict, signed")
    signing.add_argument("--vsa", metavar="OUT", help="write the verdict here, as a SLSA Verification Summary")
    signing.add_argument("--key", metavar="KEYFILE", help="your Ed25519 key, a PEM file that only you can read")
    signing.add_argument("--verifier-id", metavar="URI", help="who you are, as a keyring lists you (default: your key)")
    return parser


def open_leaves_parser() -> argparse.ArgumentParser:
    """Return the parser of `open-leaves`."""
    parser = _Parser(
        prog="jouleseal-verify open-leaves",
        description="Check answers that the operator opened against the signed outcomes of a verified bundle.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle: a .tar file, or the folder it was unpacked into")
    parser.add_argument("--root", metavar="ROOT", required=True, help="the pinned root: its file or fingerprint")
    parser.add_argument("--openings", metavar="FILE", required=True, help="the leaves that the operator opened")
    parser.add_argument("--seed", metavar="HEX", help="the 32 bytes by which you drew the leaves")
    parser.add_argument("--count", metavar="N", type=int, help="how many leaves of every run you drew")
    parser.add_argument(
        "--references", metavar="FILE", help="the right labels, a JSON array in the order of the dataset's points"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON on stdout")
    return parser


def vsa_parser() -> argparse.ArgumentParser:
    """Return the parser of `vsa`."""
    parser = _Parser(
        prog="jouleseal-verify vsa",
        description="Check a verdict. Only one by a verifier whom you list counts, and only one that passed exits 0.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="the verdict")
    listing = parser.add_mutually_exclusive_group(required=True)
    listing.add_argument("--verifier-key", metavar="PUB", help="the verifier's public key, a PEM file")
    listing.add_argument("--keyring", metavar="FILE", help="a keyring whose auditors count; needs --root")
    parser.add_argument(
        "--verifier-id", metavar="URI", help="the id that goes with --verifier-key (default: the key's)"
    )
    parser.add_argument("--root", metavar="ROOT", help="the pinned root's file: verdicts under another one are refused")
    parser.add_argument("--bundle", metavar="BUNDLE", help="the bundle that the verdict must be about")
    parser.add_argument("--image", metavar="DIGEST", help="the image that the verdict must be about: sha256:<hex>")
    parser.add_argument("--json", action="store_true", help="print as JSON on stdout")
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
        command = _COMMANDS.get(argv[0]) if argv else None
        return _verify(argv) if command is None else command(argv[1:])
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
    """Run as the installed command: a short life, in which everything that is made is needed until the end."""
    gc.disable()  # looking for cycles among hundreds of thousands of records took a fifth of the time, and found none
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
    _check_signing(arguments)
    # Imported here so that --help and usage errors stay fast: the checks load cryptography.
    from verifier.verify import judge_path  # noqa: PLC0415

    second = None
    if arguments.reproduced_by is not None:
        second = judge_path(Path(arguments.reproduced_by), Demands(root=demands.root, as_of=demands.as_of))
    judged = judge_path(Path(arguments.bundle), demands, second)
    report = judged.report
    if arguments.vsa is not None:
        from verifier.verdict import sign_verdict  # noqa: PLC0415 - see above

        bundles = [(Path(arguments.bundle), judged)]
        if second is not None:
            bundles.append((Path(arguments.reproduced_by), second))
        sign_verdict(
            Path(arguments.vsa),
            Path(arguments.key),
            verifier_id=arguments.verifier_id,
            demands=demands,
            bundles=bundles,
            now=datetime.now(UTC),
        )
    if report.verdict is Verdict.VERIFIED and judged.state.known:
        write_state(Path(arguments.state), judged.state.value)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        from verifier.screen import show_report  # noqa: PLC0415 - see above

        show_report(report)
    return report.verdict.exit_code


def _check_signing(arguments: argparse.Namespace) -> None:
    if (arguments.vsa is None) != (arguments.key is None) or (arguments.verifier_id and arguments.vsa is None):
        raise UsageError(
            observed="one of --vsa and --key without the other, or --verifier-id without both",
            expected="--vsa OUT --key KEYFILE",
            hint="make a key with: openssl genpkey -algorithm ed25519 -out auditor.pem && chmod 600 auditor.pem",
        )


def _vsa(argv: Sequence[str]) -> int:
    arguments = vsa_parser().parse_args(argv)
    if arguments.keyring is not None and (arguments.root is None or arguments.verifier_id is not None):
        raise UsageError(
            observed="--keyring without --root, or with --verifier-id",
            expected="--keyring FILE --root ROOT: the keyring says who its auditors are",
            hint="see jouleseal-verify vsa --help",
        )
    from protocol.attestation.bundle import read_bundle  # noqa: PLC0415 - see _verify
    from verifier import verdict  # noqa: PLC0415 - see _verify

    listed = (
        verdict.listed_by_key(Path(arguments.verifier_key), arguments.verifier_id)
        if arguments.keyring is None
        else verdict.listed_by_keyring(Path(arguments.keyring), Path(arguments.root))
    )
    summary = verdict.read_verdict(Path(arguments.file), listed)
    verdict.check_about(
        summary,
        bundle_sha256=verdict.tar_digest(read_bundle(Path(arguments.bundle))) if arguments.bundle else None,
        image=digest(arguments.image, option="--image") if arguments.image else None,
        root=root_pin(arguments.root) if arguments.root else None,
    )
    from verifier.screen import show_verdict  # noqa: PLC0415 - see _verify

    told = verdict.verdict_json(summary)
    if arguments.json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        show_verdict(told)
    return EXIT_VERIFIED


def _open_leaves(argv: Sequence[str]) -> int:
    arguments = open_leaves_parser().parse_args(argv)
    if (arguments.seed is None) != (arguments.count is None) or (arguments.count or 1) < 1:
        raise UsageError(
            observed="one of --seed and --count without the other, or a count below 1",
            expected="--seed HEX --count N, as you sent them to the operator",
            hint="draw a seed with: openssl rand -hex 32",
        )
    from verifier import opening_files  # noqa: PLC0415 - see _verify
    from verifier.screen import show_report  # noqa: PLC0415 - see _verify
    from verifier.verify import judge_path  # noqa: PLC0415 - see _verify

    draw = None if arguments.seed is None else opening_files.read_draw(arguments.seed, arguments.count)
    references = opening_files.read_references(Path(arguments.references)) if arguments.references else ()
    judged = judge_path(Path(arguments.bundle), Demands(root=root_pin(arguments.root)))
    if judged.report.verdict is not Verdict.VERIFIED:
        show_report(judged.report, sys.stderr)
        return judged.report.verdict.exit_code
    found = opening_files.judge_openings(Path(arguments.openings), judged, draw=draw, references=references)
    print(json.dumps(found.to_json(), indent=2) if arguments.json else found.to_text())
    return EXIT_VERIFIED


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


_COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    "inspect": _inspect,
    "open-leaves": _open_leaves,
    "vsa": _vsa,
}
