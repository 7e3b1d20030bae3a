"""Holders, a domain under two of three of them, and the steps of a ceremony, for tests of keys."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from orchestrator.record import ceremony
from orchestrator.record.ceremony import Change, Enrolment
from orchestrator.record.ceremony_files import CeremonyFile, add_signature, governing_root, read_file
from orchestrator.record.ceremony_home import Installed, install, trust_of
from orchestrator.record.keys import load_key, new_key
from orchestrator.record.trust import Trust
from protocol.attestation.possession import prove
from protocol.attestation.statement import PREDICATE_NAMES
from protocol.errors import UsageError
from tests.unit.attestation.key_maker import EdSigner, ed_signer
from tests.unit.record.record_world import NOW

HOLDERS = (ed_signer(1), ed_signer(2), ed_signer(3))
LATER = NOW  # the registrar of `record_world` lives at this moment
UNIX_LATER = int(LATER.timestamp())


def clock() -> int:
    return UNIX_LATER


def digest_of(folder: Path) -> dict[str, str]:
    """Return what is in a folder, name by name: equal before and after means that nothing was written."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def trust_at(home: Path) -> Trust:
    return trust_of(home / "trust")


def sign_all(files: list[bytes], signers: list, trust: Trust | None) -> list[CeremonyFile]:
    """Let every signer sign every file, as `jouleseal keys root-sign` does."""
    signed = []
    ruling = governing_root(trust, [read_file(data) for data in files])
    for data in files:
        item = read_file(data)
        for signer in signers:
            try:
                item = read_file(add_signature(item, signer, trust, ruling))
            except UsageError as error:
                if error.code != "NOT_A_HOLDER":
                    raise
        signed.append(item)
    return signed


def change_files(change: Change, *, policy: bool = False) -> list[bytes]:
    event = change.event_draft()
    return [change.keyring_draft(), *([event] if event else []), *([change.policy_bytes] if policy else [])]


def put(home: Path, change: Change, signers: list, *, policy: bool = False) -> Installed:
    """Sign a change and install it."""
    return install(home, sign_all(change_files(change, policy=policy), signers, trust_at(home)), clock=clock)


def own_root(home: Path):
    return load_key(home / "keys" / "root.pem")


def grow(home: Path, now: datetime = LATER) -> Installed:
    """Hand a domain of `jouleseal init` over to two of three holders."""
    trust = trust_at(home)
    root = ceremony.draft_root(trust, [holder.public_key for holder in HOLDERS], 2, now, 730)
    files = [root, ceremony.reissue(trust, now).keyring_draft()]
    return install(home, sign_all(files, [own_root(home), *HOLDERS[:2]], trust), clock=clock)


def enrolment(role: str = "auditor", name: str = "audit-house", **changes) -> Enrolment:
    runner = role == "runner"
    facts = {
        "role": role,
        "name": name,
        "organisation": "Audit House",
        "days": 90,
        "predicate_names": PREDICATE_NAMES if runner else (),
    }
    return Enrolment(**{**facts, **changes})


def proof_of(signer: EdSigner, trust: Trust, role: str = "auditor") -> bytes:
    return prove(signer, role, trust.domain)


def rotation(home: Path, last: int, now: datetime = LATER) -> tuple[Change, object]:
    """Return the change that gives the home's runner another key, and that key."""
    trust, successor = trust_at(home), new_key()
    key = ceremony.find_key(trust.keyring, "runner-1")
    proof = prove(successor, "runner", trust.domain)
    return ceremony.rotate(trust, key, proof, last, reason="scheduled", now=now, days=90), successor
