"""A ceremony in plain words: what a file says, what it changes since the one before, and who may sign what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.record.ceremony_files import (
    CeremonyFile,
    EventFile,
    KeyringFile,
    Need,
    PolicyFile,
    RootFile,
    before_of,
)
from orchestrator.record.trust import Trust
from protocol.attestation.digest import sha256_hex
from protocol.attestation.jcs import Json
from protocol.attestation.keyring import EnrolledKey, Keyring
from protocol.attestation.moment import parse_moment
from protocol.attestation.root import ROOT_ROLE, TARGETS_ROLE, Root, read_root_draft
from protocol.tlog.policy import Policy, parse_policy

ID_DIGITS = 16  # of a key id on a screen; 64 bits tell a domain's keys apart
_SECONDS_A_DAY = 86_400

SPEAKS_FOR = {
    "runner": "signs plans, intents, outcomes and results, for its devices alone",
    "log": "signs the log's checkpoints",
    "witness": "cosigns checkpoints, and so says when it saw them",
    "vendor": "signs what it hands in, and that a tested image is what it serves",
    "auditor": "signs verdicts, and what it finds of production",
}


def describe(item: CeremonyFile, trust: Trust | None, now: datetime) -> list[str]:
    """Return what a file says, in lines; with `trust`, what it would change."""
    match item:
        case RootFile():
            # A file's fingerprint changes with each signature; what is signed does not, and can be read out aloud.
            identity = f"what is signed: sha256:{sha256_hex(item.root.signed_bytes)}"
            return _root_lines(item.root, before_of(item.root, trust), now, identity=identity)
        case KeyringFile():
            before = None if trust is None or trust.keyring.version >= item.keyring.version else trust.keyring
            return _keyring_lines(item.keyring, before, now)
        case EventFile():
            event = item.stated.event
            lines = [f"key event: the {event.role} {event.name}, key {_short(event.key_id)}, is {event.event}"]
            if event.last_valid_index is not None:
                lines.append(f"  it signs nothing after log index {event.last_valid_index}")
            if event.successor is not None:
                lines.append(f"  it is followed by key {_short(event.successor)}")
            return [*lines, f"  decided on {event.decided_on}: {event.reason}"]
        case PolicyFile():
            return _policy_lines(parse_policy(item.data), None if trust is None else trust.policy)


def difference(before: Keyring, after: Keyring, now: datetime) -> list[str]:
    """Return what the second keyring changes, key by key."""
    lines = []
    for key in after.keys:
        old = before.find(key.key.key_id)
        if old is None:
            lines += [f"+ {line}" if n == 0 else f"  {line}" for n, line in enumerate(_key_lines(key, now))]
        elif old != key:
            ends = f"signs nothing after log index {key.last_valid_index}"
            what = ends if key.last_valid_index is not None else f"lasts until {key.not_after}"
            lines.append(f"~ {key.role} {key.name}, key {_short(key.key.key_id)}: {what}")
    lines += [f"- {key.role} {key.name}, key {_short(key.key.key_id)}" for key in before.keys if _gone(key, after)]
    if before.policy_sha256 != after.policy_sha256:
        lines.append(f"~ policy {before.policy_sha256[:ID_DIGITS]} becomes {after.policy_sha256[:ID_DIGITS]}")
    return lines or ["the same keys and the same policy, for other holders to sign"]


def signatures(needs: Sequence[Need]) -> list[str]:
    """Return how many have signed, of each threshold."""
    lines = []
    for need in needs:
        who = f" ({', '.join(_short(each) for each in need.signed)})" if need.signed else ""
        state = "reached" if need.met else f"{need.threshold - len(need.signed)} to go"
        lines.append(f"{need.holders}: {len(need.signed)} signed{who}, {need.threshold} must: {state}")
    return lines


def show_lines(trust: Trust, now: datetime) -> list[str]:
    """Return a domain's trust as lines: roots, keyring, windows, and who may sign what."""
    lines = [f"domain   sha256:{trust.domain}", "", "roots, from the first:"]
    roots = [read_root_draft(data) for data in trust.roots]
    for root in roots:
        identity = f"fingerprint sha256:{root.fingerprint}"
        lines += [f"  {line}" for line in _root_lines(root, None, now, identity=identity)]
    targets = trust.root.roles[TARGETS_ROLE]
    who = ", ".join(_short(each) for each in targets.key_ids)
    lines += ["", f"keyring version {trust.keyring.version} of {trust.keyring.issued_on}"]
    lines += [f"  signed by {targets.threshold} of {len(targets.key_ids)}: {who}", "", "keys:"]
    for key in trust.keyring.keys:
        lines += [f"  {line}" for line in _key_lines(key, now)]
    return [*lines, "", *_policy_lines(trust.policy, None)]


def show_json(trust: Trust, now: datetime) -> dict[str, Json]:
    """Return the same as one JSON document."""
    roots: list[Json] = []
    for root in (read_root_draft(data) for data in trust.roots):
        role = root.roles[ROOT_ROLE]
        roots.append(
            {
                "version": root.version,
                "fingerprint": f"sha256:{root.fingerprint}",
                "expires": root.expires,
                "daysLeft": days_left(root.expires, now),
                "threshold": role.threshold,
                "keyIds": list(role.key_ids),
                "signedBy": [key_id for key_id, _ in root.signatures],
            }
        )
    keys: list[Json] = [
        {
            **key.to_json(),
            "state": state_of(key, now),
            "daysLeft": days_left(key.not_after, now),
            "signs": SPEAKS_FOR[key.role],
        }
        for key in trust.keyring.keys
    ]
    return {
        "domain": f"sha256:{trust.domain}",
        "roots": roots,
        "keyring": {
            "version": trust.keyring.version,
            "issuedOn": trust.keyring.issued_on,
            "policySha256": trust.keyring.policy_sha256,
            "keys": keys,
        },
        "quorum": trust.policy.quorum,
    }


def state_of(key: EnrolledKey, now: datetime) -> str:
    """Return whether a key is in force: `in force`, `not yet`, `expired` or `ended` (followed, or revoked)."""
    if key.last_valid_index is not None:
        return "ended"
    if now < parse_moment(key.not_before):
        return "not yet"
    return "in force" if now <= parse_moment(key.not_after) else "expired"


def days_left(until: str, now: datetime) -> int:
    """Return the whole days until a time; negative once it is past."""
    return int((parse_moment(until) - now).total_seconds() // _SECONDS_A_DAY)


def _root_lines(root: Root, before: Root | None, now: datetime, *, identity: str) -> list[str]:
    role = root.roles[ROOT_ROLE]
    lines = [
        f"root version {root.version}, expires {root.expires} ({_left(root.expires, now)})",
        f"  {identity}",
        f"  {role.threshold} of {len(role.key_ids)} holders sign roots and keyrings:",
    ]
    signed = {key_id for key_id, _ in root.signatures}
    lines += [f"    {key_id} ({root.keys[key_id].algorithm.value}){_mark(key_id, signed)}" for key_id in role.key_ids]
    if before is not None:
        old = before.roles[ROOT_ROLE]
        lines.append(f"  since version {before.version}: {old.threshold} of {len(old.key_ids)} before")
        lines += [f"    + {key_id}" for key_id in role.key_ids if key_id not in old.key_ids]
        lines += [f"    - {key_id}" for key_id in old.key_ids if key_id not in role.key_ids]
    return lines


def _keyring_lines(keyring: Keyring, before: Keyring | None, now: datetime) -> list[str]:
    signed = sha256_hex(keyring.to_payload())
    lines = [f"keyring version {keyring.version} of {keyring.issued_on}", f"  what is signed: sha256:{signed}"]
    if before is not None:
        lines.append(f"  since version {before.version}:")
        return lines + [f"    {line}" for line in difference(before, keyring, now)]
    for key in keyring.keys:
        lines += [f"  {line}" for line in _key_lines(key, now)]
    return lines


def _key_lines(key: EnrolledKey, now: datetime) -> list[str]:
    state = state_of(key, now)
    if key.last_valid_index is not None:
        state = f"ended: signs nothing after log index {key.last_valid_index}"
    elif state != "not yet":
        state = f"{state}, {_left(key.not_after, now)}"
    lines = [
        f"{key.role} {key.name} of {key.organisation}: key {key.key.key_id}",
        f"  from {key.not_before} to {key.not_after} ({state})",
        f"  {SPEAKS_FOR[key.role]}",
    ]
    if key.scope is not None:
        lines.append(f"  devices: {', '.join(key.scope.devices) or 'none, the class cpu'}")
        lines.append(f"  predicates: {', '.join(key.scope.predicate_names)}")
    return lines


def _policy_lines(policy: Policy, before: Policy | None) -> list[str]:
    lines = [f"policy: log {policy.log.name}, quorum {policy.quorum}"]
    for name, group in policy.groups.items():
        lines.append(f"  {name}: {group.threshold} of {', '.join(group.members)}")
    known = {} if before is None else before.witnesses
    new = "" if before is None else "+ "
    for name, witness in policy.witnesses.items():
        lines.append(f"  {'' if name in known else new}witness {name}: {witness.name}")
    return lines


def _gone(key: EnrolledKey, after: Keyring) -> bool:
    return after.find(key.key.key_id) is None


def _left(until: str, now: datetime) -> str:
    days = days_left(until, now)
    return f"{days} days left" if days >= 0 else f"past for {-days} days"


def _mark(key_id: str, signed: set[str]) -> str:
    return ", signed" if key_id in signed else ""


def _short(key_id: str) -> str:
    return key_id[:ID_DIGITS]
