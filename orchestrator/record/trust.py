"""The trust folder of a domain: the chain of roots, the keyring, the policy; read whole, and changed in one step.

    trust/root.json             the newest root
    trust/roots/<n>.root.json   the roots before it, from the first
    trust/keyring.dsse.json     the keyring
    trust/policy.txt            log, witnesses and quorum

The rule for changing it: everything new is prepared in a folder beside it, forced to the disk, and then marked ready.
What was marked ready is carried through by whoever opens the domain next; what was not never happened.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, sync_folder, write_atomic
from protocol.attestation.digest import sha256_hex
from protocol.attestation.keyring import Keyring, open_keyring
from protocol.attestation.refusal import refuse
from protocol.attestation.root import Root, root_fingerprint, verify_chain
from protocol.tlog.policy import Policy, parse_policy

TRUST = "trust"
ROOT_FILE = "root.json"
KEYRING_FILE = "keyring.dsse.json"
POLICY_FILE = "policy.txt"
KEY_EVENTS = "key-events"
PENDING_EVENT = "pending.json"

_ROOTS = "roots"
_NEXT = ".trust-next"
_READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a domain is trusted for: the bytes of its files, and what they say; `root` is the newest of the chain."""

    roots: tuple[bytes, ...]
    keyring_bytes: bytes
    policy_bytes: bytes
    root: Root
    keyring: Keyring
    policy: Policy

    @property
    def domain(self) -> str:
        """The domain's name for good: the fingerprint of its first root, in hexadecimal."""
        return root_fingerprint(self.roots[0])

    def files(self) -> dict[str, bytes]:
        """Return the files of the folder by their paths in it."""
        older = {f"{_ROOTS}/{self.root.version - n}.root.json": data for n, data in enumerate(self.roots[-2::-1], 1)}
        return {
            **older,
            ROOT_FILE: self.roots[-1],
            POLICY_FILE: self.policy_bytes,
            KEYRING_FILE: self.keyring_bytes,
        }


def open_trust(roots: tuple[bytes, ...], keyring_bytes: bytes, policy_bytes: bytes) -> Trust:
    """Return the trust that these files give, every signature and the policy's digest checked; VerificationError."""
    root = verify_chain(roots, root_fingerprint(roots[0]))
    keyring = open_keyring(keyring_bytes, root)
    if keyring.policy_sha256 != sha256_hex(policy_bytes):
        raise refuse(
            "POLICY_REPLACED", observed="policy.txt is not the keyring's", expected="the policy that the keyring binds"
        )
    return Trust(
        roots=roots,
        keyring_bytes=keyring_bytes,
        policy_bytes=policy_bytes,
        root=root,
        keyring=keyring,
        policy=parse_policy(policy_bytes),
    )


def read_trust(folder: Path) -> Trust:
    """Read a trust folder or a copy of one; VerificationError where a file is false, RecordUnsound where it is gone."""
    with disk_errors("the trust folder"):
        older = sorted((folder / _ROOTS).glob("*.root.json"), key=lambda path: (len(path.name), path.name))
        roots = tuple(path.read_bytes() for path in [*older, folder / ROOT_FILE])
        keyring_bytes, policy_bytes = ((folder / name).read_bytes() for name in (KEYRING_FILE, POLICY_FILE))
    return open_trust(roots, keyring_bytes, policy_bytes)


def replace_trust(home: Path, trust: Trust, key_event: bytes | None) -> None:
    """Put the trust in the place of the home's, with a key event that is to be logged; in one step, or not at all."""
    stage = home / _NEXT
    with disk_errors(stage.name):
        if stage.exists():
            shutil.rmtree(stage)
    files: Mapping[str, bytes] = {f"{TRUST}/{name}": data for name, data in trust.files().items()}
    if key_event is not None:
        files = {**files, f"{KEY_EVENTS}/{PENDING_EVENT}": key_event}
    for name, data in files.items():
        make_folder((stage / name).parent)
        write_atomic(stage / name, data)
    write_atomic(stage / _READY, b"")
    finish_replacing(home)


def finish_replacing(home: Path) -> None:
    """Carry through a change that was prepared whole; one that was not is left aside, as if it had never begun."""
    stage = home / _NEXT
    with disk_errors("the trust folder"):
        if not (stage / _READY).exists():
            return
        for path in sorted(path for path in stage.rglob("*") if path.is_file() and path.name != _READY):
            target = home / path.relative_to(stage)
            make_folder(target.parent)
            with suppress(FileNotFoundError):  # another command carried it through first
                os.replace(path, target)  # noqa: PTH105  # beside fsync, the calls that a fault is injected into
            sync_folder(target.parent)
        shutil.rmtree(stage, ignore_errors=True)
