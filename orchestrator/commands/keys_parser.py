"""The options of `jouleseal keys`: one table of its steps, light enough to be read for `--help`."""

from __future__ import annotations

import argparse
from pathlib import Path

_ROLES = ("runner", "log", "witness", "vendor", "auditor")


def add_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser], home: Path) -> None:
    """Add `keys` and its steps; `home` is where a domain is by default."""
    keys = commands.add_parser(
        "keys",
        help="key holders: who is trusted, and for what: roots, keyrings, rotation, revocation",
        description="Every step works on plain files, explains itself, and writes nothing with --dry-run. docs/keys.md "
        "walks three holders through it.",
    )
    steps = keys.add_subparsers(dest="step", required=True, metavar="STEP")
    _add_new(steps)
    _add_encrypt(steps)
    _add_prove(steps)
    _add_root_init(steps)
    _add_root_sign(steps)
    _add_enrol(steps)
    _add_renew(steps)
    _add_rotate(steps)
    _add_revoke(steps)
    _add_install(steps)
    _add_show(steps)
    for name, step in steps.choices.items():
        step.add_argument("--json", action="store_true", help="print one JSON document on standard output")
        if name in {"enrol", "renew", "rotate", "revoke", "install", "show"}:
            step.add_argument("--home", type=Path, default=home, help="the domain's home (default as of jouleseal run)")


def _add_new(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    new = steps.add_parser("new", help="make a key: a private file of mode 0600, and its public half beside it")
    new.add_argument(
        "key", type=Path, metavar="KEY", help="as alice.pem; its public half, alice.pub, is made again if lost"
    )
    new.add_argument("--encrypt", action="store_true", help="ask for a passphrase, and encrypt the key with it")
    _passphrase(new)
    _dry_run(new)


def _add_encrypt(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encrypt = steps.add_parser("encrypt", help="encrypt keys that lie open, such as those of jouleseal init, in place")
    encrypt.add_argument("keys", type=Path, nargs="+", metavar="KEY", help="as home/keys/runner.pem")
    encrypt.set_defaults(encrypt=True)
    _passphrase(encrypt)
    _dry_run(encrypt)


def _add_prove(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prove = steps.add_parser("prove", help="prove that you hold a key, for a role in a domain; needed to enrol it")
    prove.add_argument("key", type=Path, metavar="KEY")
    prove.add_argument("--role", choices=_ROLES, required=True)
    prove.add_argument("--domain", required=True, metavar="FINGERPRINT", help="as `jouleseal keys show` prints it")
    prove.add_argument("--out", type=Path, required=True, metavar="FILE", help="the proof to write")
    _passphrase(prove)
    _dry_run(prove)


def _add_root_init(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    init = steps.add_parser("root-init", help="draft a root: who may sign, and how many of them must")
    init.add_argument(
        "--holder", type=Path, action="append", required=True, metavar="PUB", help="a holder's public key; repeat it"
    )
    init.add_argument("--threshold", type=int, required=True, metavar="M", help="how many holders must sign")
    init.add_argument("--days", type=int, default=730, help="until it expires (default 730)")
    init.add_argument(
        "--from", dest="trust", type=Path, metavar="DIR", help="the trust folder to follow on (default: a first root)"
    )
    init.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder for the drafts")
    _dry_run(init)


def _add_root_sign(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    sign = steps.add_parser("root-sign", help="see what is signed, and add one holder's signature")
    sign.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a root, a keyring, a key event")
    sign.add_argument(
        "--key", type=Path, action="append", required=True, metavar="KEY", help="the holder's private key"
    )
    sign.add_argument("--from", dest="trust", type=Path, metavar="DIR", help="a copy of the trust folder, to compare")
    sign.add_argument("--yes", action="store_true", help="sign without asking")
    _passphrase(sign)
    _dry_run(sign)


def _add_enrol(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    enrol = steps.add_parser("enrol", help="add a key to the keyring, against its holder's proof")
    enrol.add_argument("proof", type=Path, metavar="PROOF", help="what `jouleseal keys prove` wrote")
    enrol.add_argument("--role", choices=_ROLES, required=True)
    enrol.add_argument("--name", required=True, help="the runner's id, or the name in a witness's or a log's own key")
    enrol.add_argument("--organisation", required=True, help="whose key it is; who signs for outside parties counts")
    enrol.add_argument(
        "--device", action="append", default=[], metavar="UUID", help="a device that a runner may measure"
    )
    enrol.add_argument(
        "--predicate", action="append", metavar="NAME", help="what a runner may sign (default: all four)"
    )
    enrol.add_argument("--days", type=int, help="how long it lasts (default and most: 90 for a runner, 365 otherwise)")
    enrol.add_argument("--policy", type=Path, metavar="FILE", help="another policy.txt that comes into force with it")
    _change(enrol)


def _add_renew(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    renew = steps.add_parser("renew", help="let a key that is no runner's last longer: the log's own has no successor")
    renew.add_argument("name", metavar="KEY", help="a key id, the beginning of one, or a name in the keyring")
    renew.add_argument("--days", type=int, default=365, help="until so many days from now (default and most: 365)")
    _change(renew)


def _add_rotate(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rotate = steps.add_parser("rotate", help="give a runner its next key, and the old one its end")
    rotate.add_argument("runner", nargs="?", metavar="RUNNER", help="its name or key id (default: the home's own)")
    rotate.add_argument("--proof", type=Path, help="of a key made elsewhere (default: make the key in this home)")
    rotate.add_argument("--reason", default="scheduled rotation", help="published in the key event")
    rotate.add_argument("--days", type=int, default=90, help="how long the next key lasts (default and most: 90)")
    _last_index(rotate)
    _change(rotate)


def _add_revoke(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    revoke = steps.add_parser("revoke", help="say that a key signed nothing after a place in the log, and why")
    revoke.add_argument("name", metavar="KEY", help="a key id, the beginning of one, or a name in the keyring")
    revoke.add_argument("--reason", required=True, help="published in the key event")
    _last_index(revoke)
    _change(revoke)


def _add_install(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    install = steps.add_parser("install", help="put signed files in force in the domain's home, and log it")
    install.add_argument("files", type=Path, nargs="+", metavar="FILE", help="the files of one step, signed")
    _passphrase(install)
    _dry_run(install)


def _add_show(steps: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    show = steps.add_parser("show", help="print roots, keys, windows, days left, and who may sign what")
    show.add_argument(
        "--from", dest="trust", type=Path, metavar="DIR", help="a copy of a trust folder (default: home's)"
    )


def _change(step: argparse.ArgumentParser) -> None:
    step.add_argument("--from", dest="trust", type=Path, metavar="DIR", help="a copy of the trust folder; needs --out")
    step.add_argument(
        "--out", type=Path, metavar="DIR", help="write drafts for other holders (default: sign and install)"
    )
    step.add_argument(
        "--key",
        type=Path,
        action="append",
        metavar="KEY",
        help="a holder's private key (default: keys/root.pem of home)",
    )
    _passphrase(step)
    _dry_run(step)


def _last_index(step: argparse.ArgumentParser) -> None:
    step.add_argument(
        "--last-valid-index",
        type=int,
        metavar="N",
        help="the last log index that it may have signed (default: the last)",
    )


def _passphrase(step: argparse.ArgumentParser) -> None:
    step.add_argument("--passphrase-file", type=Path, metavar="FILE", help="its first line opens an encrypted key")
    step.add_argument("--passphrase-fd", type=int, metavar="N", help="as --passphrase-file, from an open descriptor")


def _dry_run(step: argparse.ArgumentParser) -> None:
    step.add_argument("--dry-run", action="store_true", help="say what would change, and write nothing")
