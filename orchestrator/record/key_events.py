"""The key events in a home's log, held against its trust: with an older trust folder in its place, a home is mute.

An older keyring is signed as well as the newest, so its own bytes betray nothing; but the log cannot be put back
unseen, and it holds a key event for every change of a key. The rules, kept whenever the log is opened:
1. The keyring in force is at least as new as the newest that a logged key event names; of that version, it is that one.
2. Every entry was made by a key of the keyring or by a holder of the chain of roots: neither ever forgets a key.
3. Every entry by a holder is opened by its key event's file, which therefore cannot be taken away with the keyring.

What no key event tells is outside these rules: a root of other holders, whose keyring changes no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.disk import disk_errors
from orchestrator.record.trust import KEY_EVENTS, Trust
from protocol.attestation.digest import sha256_hex
from protocol.attestation.key_event import KEY_EVENT, KeyStatement, parse_key_statement
from protocol.attestation.keys import PublicKey
from protocol.attestation.root import TARGETS_ROLE, read_root_draft
from protocol.attestation.sigstore_bundle import SigstoreBundle, parse_sigstore_bundle
from protocol.errors import RecordUnsound, Unverifiable, VerificationError
from protocol.tlog.leaf import Leaf, parse_leaf


def check_not_rolled_back(home: Path, trust: Trust, entries: Sequence[bytes]) -> None:
    """Return if the trust is as new as the log knows it to be (rules 1 and 2).

    `entries` are the log's, which was recomputed. RecordUnsound TRUST_ROLLED_BACK, or STATEMENT_LOST for a file of a
    key event that is not the one in the log.
    """
    known = {item.key for item in trust.keyring.keys} | _holders(trust)
    for index, entry in enumerate(entries):
        key = parse_leaf(entry).key
        if key not in known:
            observed = f"log entry {index} by key {key.key_id[:16]}, which keyring and roots do not name"
            raise _rolled_back(observed, "the keyring or the root that names it")
    for bundle in _files(home):
        stated = _open(bundle, entries)
        version = stated.event.keyring_version
        if version > trust.keyring.version:
            observed = f"keyring version {trust.keyring.version}"
            raise _rolled_back(observed, f"version {version}, of which log entry {bundle.entry.log_index} tells")
        if version == trust.keyring.version and stated.keyring_sha256 != sha256_hex(trust.keyring.to_payload()):
            observed = f"another keyring of version {version}"
            raise _rolled_back(observed, f"the one of which log entry {bundle.entry.log_index} tells")


def check_all_opened(home: Path, trust: Trust, entries: Sequence[bytes]) -> None:
    """Return if every entry by a holder of a root is opened by a file (rule 3); RecordUnsound STATEMENT_LOST."""
    holders = _holders(trust)
    opened = {bundle.entry.log_index for bundle in _files(home)}
    for index, entry in enumerate(entries):
        if parse_leaf(entry).key in holders and index not in opened:
            raise _lost(f"log entry {index}, a key event without its file", f"{KEY_EVENTS}/{index:08d}-{KEY_EVENT}")


def _holders(trust: Trust) -> frozenset[PublicKey]:
    """Return who may ever have signed a key event."""
    return frozenset(key for data in trust.roots for key in read_root_draft(data).role_keys(TARGETS_ROLE).values())


def _files(home: Path) -> list[SigstoreBundle]:
    try:
        with disk_errors(KEY_EVENTS):
            paths = sorted((home / KEY_EVENTS).glob(f"*-{KEY_EVENT}.sigstore.json"))
            return [parse_sigstore_bundle(path.read_bytes()) for path in paths]
    except (VerificationError, Unverifiable) as error:
        raise _lost(str(error), "the key events' files as they were written") from error


def _open(bundle: SigstoreBundle, entries: Sequence[bytes]) -> KeyStatement:
    """Return what a key event's file states, having found exactly it in the log."""
    index = bundle.entry.log_index
    try:
        key = parse_leaf(bundle.entry.body).key
        signature = bundle.envelope.only_signature().signature
        leaf = Leaf(pae_sha256=bundle.envelope.pae_sha256, signature=signature, key=key).to_bytes()
        if index >= len(entries) or entries[index] != leaf:
            raise _lost(f"a key event's file for log entry {index}, which is another", "the file of that entry")
        return parse_key_statement(bundle.envelope.payload)
    except (VerificationError, Unverifiable) as error:
        raise _lost(str(error), "the key events' files as they were written") from error


def _rolled_back(observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code="TRUST_ROLLED_BACK",
        observed=observed,
        expected=expected,
        hint="put the newest trust folder back, from a backup or a bundle; an older one may trust a revoked key",
    )


def _lost(observed: str, expected: str) -> RecordUnsound:
    return RecordUnsound(
        code="STATEMENT_LOST",
        observed=observed,
        expected=expected,
        hint="keep the folders log, statements and key-events as they are and restore them together from one backup",
    )
