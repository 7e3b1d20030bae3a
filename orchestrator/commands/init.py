"""`jouleseal init`: make a complete local trust domain in one command, and say what it would take to grow out of it."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from orchestrator.disk import make_folder
from orchestrator.record import domain
from orchestrator.record.keys import read_passphrase_file
from protocol.attestation.digest import sha256_hex

RUNNER_NAME = "runner-1"


def run(arguments: argparse.Namespace) -> int:
    """Make the domain under `--home` and print the fingerprint of its root, which auditors pin."""
    make_folder(arguments.home, mode=0o700)
    made = domain.create(
        arguments.home,
        RUNNER_NAME,
        devices=tuple(arguments.device),
        now=datetime.now(UTC),
        organisation=arguments.name,
        root_passphrase=None if arguments.passphrase_file is None else read_passphrase_file(arguments.passphrase_file),
    )
    fingerprint = f"sha256:{sha256_hex(made.root_bytes)}"
    root = arguments.home / "trust" / "root.json"
    if arguments.json:
        print(json.dumps({"home": str(arguments.home), "root": str(root), "fingerprint": fingerprint}, indent=2))
        return 0
    print(f"made a local trust domain in {arguments.home}")
    print(f"  root         {root}")
    print(f"  fingerprint  {fingerprint}   (publish it: auditors pin it with --root)")
    print(f"  runner key   {made.runner.key.key_id}, valid {domain.RUNNER_DAYS} days")
    print("  tier         T1: signed and locally logged, by keys that all lie on this machine")
    print("  T2 needs     witnesses of other organisations in the policy's quorum (docs/log.md)")
    print("  T3 needs     T2 throughout, so that every intent was witnessed outside before its session")
    print("  it grows     to a root of several holders, outside witnesses and more runners (docs/keys.md)")
    return 0
