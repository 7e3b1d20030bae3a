"""A complete trust domain on one machine: root, keyring, policy, log and one operator witness, made in one go.

The rules:
1. A domain is made once; making it again over an existing one is refused.
2. It is prepared in a folder beside its place and moved in when it is whole; what an interruption left is finished.
3. Every key is a 0600 file of its own. The root is 1-of-1 here and the witness is the operator's own, so results of
   this domain are signed and locally logged (tier T1) and no more; the same files grow into more.
4. A runner's key is followed by others (`keys/runner-<key id>.pem`). The one in force is the one that the keyring says:
   enrolled, not revoked, and the last to begin. A key file that no keyring names yet is passed over.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.disk import disk_errors, make_folder, sync_folder, write_atomic
from orchestrator.record.keys import FileSigner, Unlock, create_key, load_key, no_passphrase, passphrase_of
from orchestrator.record.trust import TRUST, Trust, finish_replacing, read_trust
from protocol.attestation.digest import sha256_hex
from protocol.attestation.keyring import EnrolledKey, Keyring, Role, Scope, sign_keyring
from protocol.attestation.moment import format_moment, parse_moment
from protocol.attestation.root import ROLES, Root, build_root
from protocol.attestation.statement import PREDICATE_NAMES
from protocol.attestation.verify_txt import verify_text
from protocol.errors import RecordUnsound, UsageError, VerificationError
from protocol.tlog.cosignature import WitnessKey
from protocol.tlog.note import LogKey
from protocol.tlog.policy import Policy, build_policy

RUNNER_DAYS = 90  # a runner's key is short-lived: its machine runs other people's images
KEYRING_DAYS = 365
ROOT_DAYS = 730
DOMAIN_BASE = "jouleseal.local"
LOCAL_ORGANISATION = "operator"

_PARTS = ("keys", "witness", "log", "trust")  # trust last: a domain is there when its trust is
_STAGE = ".domain-new"
_READY = "ready"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)
_KEY_NAMES = ("root", "runner", "log", "witness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """An opened domain: its folder, its trust, and its signers; `runner` is the runner's key in force."""

    home: Path
    trust: Trust
    runner: EnrolledKey
    runner_signer: FileSigner
    log_signer: FileSigner
    witness_key: WitnessKey
    witness_signer: FileSigner

    @property
    def root_bytes(self) -> bytes:
        """The bytes of the newest root."""
        return self.trust.roots[-1]

    @property
    def keyring_bytes(self) -> bytes:
        """The bytes of the keyring's file."""
        return self.trust.keyring_bytes

    @property
    def policy_bytes(self) -> bytes:
        """The bytes of the policy's file."""
        return self.trust.policy_bytes

    @property
    def root(self) -> Root:
        """The newest root."""
        return self.trust.root

    @property
    def keyring(self) -> Keyring:
        """The keyring."""
        return self.trust.keyring

    @property
    def policy(self) -> Policy:
        """The policy: log, witnesses and quorum."""
        return self.trust.policy

    @property
    def verify_txt(self) -> bytes:
        """The bytes of VERIFY.txt in this domain's bundles; every campaign result names their digest."""
        return verify_text(self.runner.key)

    @property
    def scope(self) -> Scope:
        """What the runner's key may speak about; RecordUnsound where the keyring gives it nothing."""
        if self.runner.scope is None:
            raise _broken("the runner's key has no scope", "a runner that is enrolled with its devices")
        return self.runner.scope


def create(
    home: Path,
    runner_name: str,
    devices: Sequence[str],
    *,
    now: datetime,
    organisation: str = LOCAL_ORGANISATION,
    root_passphrase: bytes | None = None,
) -> Domain:
    """Make a domain for one runner and its devices (their UUIDs) and return it opened.

    The root's key is encrypted if a passphrase is given; the keys that sign unattended are not.
    UsageError BAD_NAME for a name that is not lower-case letters, digits and hyphens; DOMAIN_EXISTS where one is.
    """
    if _NAME.fullmatch(runner_name) is None or not runner_name.startswith("runner-"):
        raise UsageError(
            code="BAD_NAME",
            observed=f"the runner name {runner_name!r}",
            expected="runner- and lower-case letters, digits or hyphens",
            hint="for example runner-1",
        )
    _finish_moving(home)
    present = [part for part in _PARTS if (home / part).exists()]
    if present:
        raise UsageError(
            code="DOMAIN_EXISTS",
            observed=f"{home.name} already has {', '.join(present)}",
            expected="a folder without a trust domain",
            hint="use the domain that is there, or name another folder: its keys and its log cannot be made again",
        )
    stage = home / _STAGE
    with disk_errors(stage.name):
        if stage.exists():
            shutil.rmtree(stage)
    _prepare(stage, runner_name, devices, now, organisation=organisation, root_passphrase=root_passphrase)
    write_atomic(stage / _READY, b"")
    _finish_moving(home)
    return open_domain(home)


def open_domain(home: Path, unlock: Unlock = no_passphrase) -> Domain:
    """Open the domain in a folder, having checked that its parts belong together.

    `unlock` is asked for the passphrase of a key that is encrypted. UsageError NO_DOMAIN where there is no domain;
    RecordUnsound where a key or a trust file is missing, exposed, locked or false.
    """
    trust = domain_trust(home)
    runner, runner_signer = runner_in_force(home / "keys", trust.keyring, unlock)
    log_signer, witness_signer = (load_key(home / "keys" / f"{name}.pem", unlock) for name in ("log", "witness"))
    if log_signer.public_key != trust.policy.log.public_key:
        raise _broken("keys/log.pem is not the policy's log key", "the key that made the log")
    own = (key for key in trust.policy.witnesses.values() if key.public_key == witness_signer.public_key)
    witness = next(own, None)
    if witness is None:
        raise _broken("keys/witness.pem is none of the policy's", "the witness that the policy names")
    return Domain(
        home=home,
        trust=trust,
        runner=runner,
        runner_signer=runner_signer,
        log_signer=log_signer,
        witness_key=witness,
        witness_signer=witness_signer,
    )


def domain_trust(home: Path) -> Trust:
    """Return the trust of the domain in a folder, for which no key is opened; errors as of `open_domain`."""
    _finish_moving(home)
    finish_replacing(home)
    if not (home / "trust" / "root.json").is_file():
        raise UsageError(
            code="NO_DOMAIN",
            observed=f"{home.name} has no trust domain",
            expected="a folder that `jouleseal init` made",
            hint="run `jouleseal init` once on this machine",
        )
    try:
        return read_trust(home / TRUST)
    except VerificationError as error:
        raise _broken(f"a trust file: {error}", "the files that `jouleseal init` and `jouleseal keys` wrote") from error


def successor_passphrase(home: Path, keyring: Keyring, unlock: Unlock) -> bytes | None:
    """Return the passphrase with which a runner's next key is encrypted: its last key's, None where that has none."""
    enrolled = sorted(keyring.in_role("runner"), key=_precedence, reverse=True)
    paths = [*(runner_key_path(home, each.key.key_id) for each in enrolled), home / "keys" / "runner.pem"]
    return next((passphrase_of(path, unlock) for path in paths if path.exists()), None)


def runner_key_path(home: Path, key_id: str) -> Path:
    """Return where the key file of a runner's next key stands."""
    return home / "keys" / f"runner-{key_id[:16]}.pem"


def _prepare(
    stage: Path,
    runner_name: str,
    devices: Sequence[str],
    now: datetime,
    *,
    organisation: str,
    root_passphrase: bytes | None,
) -> None:
    for part in _PARTS:
        make_folder(stage / part, mode=0o700 if part == "keys" else 0o755)
    secrets = {"root": root_passphrase}
    signers = {name: create_key(stage / "keys" / f"{name}.pem", secrets.get(name)) for name in _KEY_NAMES}
    root_key = signers["root"].public_key
    name = f"{DOMAIN_BASE}/{runner_name}/{root_key.key_id[:8]}"
    log_key = LogKey(name=f"{name}/log", public_key=signers["log"].public_key)
    witness_key = WitnessKey(name=f"{name}/witness", public_key=signers["witness"].public_key)
    policy = build_policy(log=log_key, witnesses={"operator": witness_key}, threshold=1)
    scope = Scope(runner_id=runner_name, devices=tuple(devices), predicate_names=PREDICATE_NAMES)

    def enrol(role: Role, key_name: str, days: int, scope: Scope | None = None) -> EnrolledKey:
        return EnrolledKey(
            key=signers[role].public_key,
            role=role,
            name=key_name,
            organisation=organisation,
            scope=scope,
            not_before=format_moment(now),
            not_after=format_moment(now + timedelta(days=days)),
            last_valid_index=None,
        )

    keyring = Keyring(
        version=1,
        issued_on=format_moment(now),
        policy_sha256=sha256_hex(policy),
        keys=(
            enrol("runner", runner_name, RUNNER_DAYS, scope),
            enrol("log", log_key.name, KEYRING_DAYS),
            enrol("witness", witness_key.name, KEYRING_DAYS),
        ),
    )
    expires = format_moment(now + timedelta(days=ROOT_DAYS))
    roles = {role: ([root_key], 1) for role in ROLES}
    root = build_root(version=1, expires=expires, roles=roles, signers=[signers["root"]])
    write_atomic(stage / "trust" / "policy.txt", policy)
    write_atomic(stage / "trust" / "keyring.dsse.json", sign_keyring(keyring, [signers["root"]]))
    write_atomic(stage / "trust" / "root.json", root)


def _finish_moving(home: Path) -> None:
    """Move the parts of a domain that was prepared whole into their places; one that was not stays aside."""
    stage = home / _STAGE
    with disk_errors(home.name):
        if not (stage / _READY).exists():
            return
        for part in _PARTS:
            if (stage / part).exists() and not (home / part).exists():
                (stage / part).rename(home / part)
        sync_folder(home)
        shutil.rmtree(stage)


def runner_in_force(folder: Path, keyring: Keyring, unlock: Unlock) -> tuple[EnrolledKey, FileSigner]:
    """Return the runner's key in force and its signer; where every key is revoked, the last to begin.

    Only that key's file is opened: those of former keys may be destroyed, and those of no key are nobody's.
    """
    first = folder / "runner.pem"
    opened: dict[Path, FileSigner] = {}
    for enrolled in sorted(keyring.in_role("runner"), key=_precedence, reverse=True):
        own = runner_key_path(folder.parent, enrolled.key.key_id)
        path = own if own.exists() else first
        if path not in opened and path.exists():
            opened[path] = load_key(path, unlock)
        if path in opened and opened[path].public_key == enrolled.key:
            return enrolled, opened[path]
    if not opened:
        load_key(first, unlock)  # says that it is missing
    raise _broken("keys/runner.pem is not enrolled as a runner", "a key that the keyring names")


def _precedence(key: EnrolledKey) -> tuple[bool, datetime]:
    return key.last_valid_index is None, parse_moment(key.not_before)


def _broken(observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code="DOMAIN_BROKEN",
        observed=observed,
        expected=expected,
        hint="restore the folders trust and keys together from one backup",
    )
