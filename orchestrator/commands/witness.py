"""`jouleseal witness init | watch | serve | cosign | show`: a party that remembers what a log has shown.

A witness needs no trust in the operator: it holds its own key, remembers the last checkpoint of each log that it
watches, and refuses whatever does not follow from it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from threading import Event

from orchestrator.commands.log_parser import DEFAULT_LISTEN
from orchestrator.commands.passphrase import unlocker
from orchestrator.disk import disk_errors, write_atomic
from orchestrator.record.keys import read_passphrase_file
from orchestrator.record.witness_home import KEY_FILE, WitnessHome, create_witness, open_witness, read_log
from orchestrator.record.witness_server import Address, WitnessServer
from protocol.errors import UsageError
from protocol.tlog.note import LogKey, parse_note
from protocol.tlog.proofs import GrowthText

_OLD = b"old "


def run(arguments: argparse.Namespace) -> int:
    """Do what the second word says."""
    if arguments.action == "init":
        return _init(arguments)
    witness = open_witness(arguments.home, clock=unix_now, unlock=unlocker(arguments.passphrase_file))
    match arguments.action:
        case "watch":
            witness.watch(read_log_argument(arguments.log))
            return _show(witness, as_json=arguments.json)
        case "serve":
            return _serve(witness, arguments)
        case "cosign":
            return _cosign(witness, arguments)
        case _:
            return _show(witness, as_json=arguments.json)


def _init(arguments: argparse.Namespace) -> int:
    given = arguments.passphrase_file
    passphrase = None if given is None else read_passphrase_file(given)
    witness = create_witness(arguments.home, arguments.name, clock=unix_now, passphrase=passphrase)
    for text in arguments.log:
        witness.watch(read_log_argument(text))
    return _show(witness, as_json=arguments.json)


def unix_now() -> int:
    """Return the time in whole Unix seconds."""
    return int(time.time())


def read_log_argument(text: str) -> LogKey:
    """Return the log that an argument names: a verifier key, or a file that holds one or is a policy."""
    path = Path(text)
    if "+" in text and not path.exists():
        return read_log(text)
    return read_log(_read(path).decode("utf-8", "replace"))


def _serve(witness: WitnessHome, arguments: argparse.Namespace) -> int:
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = WitnessServer(witness, _address(arguments))
    said = {"witness": witness.key.name, "vkey": witness.key.to_vkey(), "url": server.url}
    if arguments.json:
        print(json.dumps({**said, "logs": [log.name for log in witness.logs()]}), flush=True)
    else:
        print(f"witness  {said['vkey']}\nlistens  {said['url']}", flush=True)
    if not server.address.is_local:
        print("witness: reachable from other machines; put a proxy that speaks TLS before it", file=sys.stderr)
    server.run_until(stop)
    if not arguments.json:
        print("witness: stopped, everything that was asked is answered", flush=True)
    return 0


def _address(arguments: argparse.Namespace) -> Address:
    if arguments.socket is not None:
        return Address(socket=arguments.socket)
    host, _, port = arguments.listen.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(
            code="BAD_ADDRESS",
            observed=repr(arguments.listen[:80]),
            expected="HOST:PORT",
            hint=f"for example {DEFAULT_LISTEN}",
        )
    return Address(host=host.strip("[]"), port=int(port))


def _cosign(witness: WitnessHome, arguments: argparse.Namespace) -> int:
    """Cosign one checkpoint from a file: a growth proof, or a bare note for a log that was never cosigned before."""
    data = _read(arguments.file)
    if not data.startswith(_OLD):
        parse_note(data)
        data = GrowthText(old_size=0, proof=(), note=data).to_bytes()
    cosigned = witness.cosign(data)
    if arguments.out is not None:
        write_atomic(arguments.out, cosigned)
    if arguments.json:
        print(json.dumps({"cosigned": cosigned.decode("utf-8")}, indent=2))
    elif arguments.out is None:
        sys.stdout.write(cosigned.decode("utf-8"))
    else:
        print(f"cosigned  {arguments.out}")
    return 0


def _show(witness: WitnessHome, *, as_json: bool) -> int:
    watched = [(log, witness.remembered_size(log)) for log in witness.logs()]
    label = witness.key.name.rpartition("/")[2]
    if as_json:
        said = {
            "witness": witness.key.name,
            "vkey": witness.key.to_vkey(),
            "publicKey": witness.key.public_key.to_pem(),
            "keyId": witness.key.public_key.key_id,
            "logs": [{"vkey": log.to_vkey(), "size": size} for log, size in watched],
        }
        print(json.dumps(said, indent=2))
        return 0
    print(f"witness {witness.key.name} in {witness.folder}")
    print(f"  vkey    {witness.key.to_vkey()}")
    print(f"  key id  {witness.key.public_key.key_id}")
    for log, size in watched:
        print(f"  watches {log.name}, remembers {size} entries")
    if not watched:
        print("  watches no log yet: jouleseal witness watch LOG, with the log's vkey or its policy.txt")
    print("give the log's operator, by a way on which nothing can be replaced:")
    print(f"  its line of policy.txt       witness {label} {witness.key.to_vkey()}")
    proof = f"jouleseal keys prove {witness.folder / KEY_FILE} --role witness --domain FINGERPRINT --out {label}.proof"
    print(f"  a proof for the keyring      {proof}")
    print("  a line of witnesses.json     the URL at which `jouleseal witness serve` listens")
    return 0


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UsageError(
            code="NO_SUCH_FILE",
            observed=f"{path} is no file",
            expected="a file",
            hint="check the path",
        )
    with disk_errors(path.name):
        return path.read_bytes()
