"""Changes of who is trusted, made as drafts: a next root, or a next keyring with one key more, renewed or ended.

The rules:
1. A draft changes nothing. It counts when a threshold of the holders has signed it and it is installed.
2. A key is enrolled only with a proof that somebody holds it, in this role, for this domain; once; and for a time.
3. A runner's key lives at most 90 days, has a runner's name and devices that no other runner in force has.
4. Another key's window may be made longer, a year at a time: the log's own key has no successor.
5. What was enrolled stays in the keyring, revoked or not: what it signed while it was in force stays true. A revocation
   is never taken back.
6. A policy keeps its log and its witnesses; witnesses may be added and the quorum may change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.record.trust import Trust
from protocol.attestation.digest import sha256_hex
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, MAX_SIGNATURES, Envelope
from protocol.attestation.jcs import dumps
from protocol.attestation.key_event import EventKind, KeyEvent
from protocol.attestation.keyring import EnrolledKey, Keyring, Role, Scope, sign_keyring
from protocol.attestation.keys import PublicKey
from protocol.attestation.moment import format_moment, parse_moment
from protocol.attestation.possession import read_possession
from protocol.attestation.refusal import refuse
from protocol.attestation.root import ROLES as ROOT_ROLES
from protocol.attestation.root import build_root
from protocol.errors import UsageError, VerificationError
from protocol.tlog.policy import NO_QUORUM, parse_policy

MAX_RUNNER_DAYS = 90  # a runner's machine runs other people's images
MAX_KEY_DAYS = 365
MAX_ROOT_DAYS = 1096  # three years, with a leap day
MIN_KEY_PREFIX = 8

_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_RUNNER_NAME = re.compile(r"runner-[a-z0-9](?:[a-z0-9-]{0,54}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What is asked for a key: its role, its name there, whose it is, for how many days; devices of a runner alone."""

    role: Role
    name: str
    organisation: str
    days: int
    devices: tuple[str, ...] = ()
    predicate_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A keyring that is to follow, the policy that it binds, and what it does to one key (None: to no key)."""

    keyring: Keyring
    policy_bytes: bytes
    event: KeyEvent | None

    def keyring_draft(self) -> bytes:
        """Return the keyring's file without a signature."""
        return sign_keyring(self.keyring, [])

    def event_draft(self) -> bytes | None:
        """Return the key event's file without a signature."""
        if self.event is None:
            return None
        payload = self.event.to_payload(sha256_hex(self.keyring.to_payload()))
        return dumps(Envelope(payload_type=IN_TOTO_PAYLOAD_TYPE, payload=payload, signatures=()).to_json())


def draft_root(trust: Trust | None, holders: Sequence[PublicKey], threshold: int, now: datetime, days: int) -> bytes:
    """Return a root without signatures, of these holders and their threshold: the first, or the next of a domain.

    UsageError BAD_THRESHOLD, KEY_TWICE, BAD_WINDOW.
    """
    _check_days(days, MAX_ROOT_DAYS)
    if not 1 <= threshold <= len(holders) <= MAX_SIGNATURES:
        raise _unfit(
            "BAD_THRESHOLD",
            f"{threshold} of {len(holders)} holders",
            f"at least one, and at most all, of 1 to {MAX_SIGNATURES} holders",
            "2 of 3 lets one holder be away, or lost, and one be dishonest",
        )
    if len(set(holders)) != len(holders):
        raise _unfit("KEY_TWICE", "one holder's key twice", "each key once", "ask each holder for a key of its own")
    roles = {role: (tuple(holders), threshold) for role in ROOT_ROLES}
    version = 1 if trust is None else trust.root.version + 1
    return build_root(version=version, expires=format_moment(now + timedelta(days=days)), roles=roles, signers=[])


def reissue(trust: Trust, now: datetime) -> Change:
    """Return the same keys as the next keyring, for the holders of another root to sign."""
    return Change(keyring=_next(trust, trust.keyring.keys, now), policy_bytes=trust.policy_bytes, event=None)


def enrol(trust: Trust, proof: bytes, asked: Enrolment, now: datetime, policy_bytes: bytes | None = None) -> Change:
    """Return the change that adds a key, whose holder proved that it holds it; with another policy, if one is given.

    VerificationError for a proof that does not hold, of another role or domain; UsageError KEY_TWICE, NAME_TAKEN,
    DEVICE_TAKEN, BAD_NAME, BAD_SCOPE, BAD_WINDOW, POLICY_UNFIT.
    """
    key = _proven(trust, proof, asked.role)
    _check_asked(trust.keyring, asked)
    enrolled = EnrolledKey(
        key=key,
        role=asked.role,
        name=asked.name,
        organisation=asked.organisation,
        scope=_scope(asked),
        not_before=format_moment(now),
        not_after=format_moment(now + timedelta(days=asked.days)),
        last_valid_index=None,
    )
    keyring = _next(trust, (*trust.keyring.keys, enrolled), now)
    if policy_bytes is not None:
        keyring = replace(keyring, policy_sha256=sha256_hex(policy_bytes))
        check_policy(trust, keyring, policy_bytes)
    reason = f"enrolled for {asked.organisation}"
    event = _event(trust, "enrolled", enrolled, keyring, reason=reason)
    return Change(keyring=keyring, policy_bytes=policy_bytes or trust.policy_bytes, event=event)


def renew(trust: Trust, key: EnrolledKey, *, now: datetime, days: int) -> Change:
    """Return the change that lets a key last until `days` from now; a runner's key is followed by another instead.

    UsageError A_RUNNER, REVOKED_ALREADY, BAD_WINDOW where that is sooner than it lasts already.
    """
    _check_days(days, MAX_KEY_DAYS)
    if key.role == "runner":
        hint = "give it another key: jouleseal keys rotate"
        raise _unfit("A_RUNNER", f"{key.name} is a runner", "a key that no other follows", hint)
    if key.last_valid_index is not None:
        hint = "enrol another key in its place"
        raise _unfit("REVOKED_ALREADY", f"{key.name} is revoked", "a key in force", hint)
    longer = replace(key, not_after=format_moment(now + timedelta(days=days)))
    if parse_moment(longer.not_after) < parse_moment(key.not_after):
        hint = "a window is only ever made longer; to end a key, revoke it"
        raise _unfit("BAD_WINDOW", f"until {longer.not_after}", f"{key.not_after} or later", hint)
    keyring = _next(trust, _replaced(trust.keyring, longer), now)
    event = _event(trust, "renewed", longer, keyring, reason=f"in force until {longer.not_after}")
    return Change(keyring=keyring, policy_bytes=trust.policy_bytes, event=event)


def rotate(
    trust: Trust, key: EnrolledKey, proof: bytes, last_index: int, *, reason: str, now: datetime, days: int
) -> Change:
    """Return the change that gives a runner's key a successor; the old one signs nothing after `last_index`.

    A key that is revoked already keeps the lower of the two indexes. UsageError NOT_A_RUNNER, and as `enrol`.
    """
    if key.role != "runner":
        raise _unfit(
            "NOT_A_RUNNER",
            f"{key.name} is a {key.role}",
            "a runner, whose key is followed by another",
            "enrol the other key beside it, and change the policy so that the old one is not needed",
        )
    _check_days(days, MAX_RUNNER_DAYS)
    last = last_index if key.last_valid_index is None else min(last_index, key.last_valid_index)
    old = replace(key, last_valid_index=last)
    heir = replace(
        key,
        key=_proven(trust, proof, "runner"),
        not_before=format_moment(now),
        not_after=format_moment(now + timedelta(days=days)),
        last_valid_index=None,
    )
    keyring = _next(trust, (*_replaced(trust.keyring, old), heir), now)
    event = _event(trust, "rotated", old, keyring, reason=reason, successor=heir.key.key_id)
    return Change(keyring=keyring, policy_bytes=trust.policy_bytes, event=event)


def revoke(trust: Trust, key: EnrolledKey, last_index: int, *, reason: str, now: datetime) -> Change:
    """Return the change after which a key has signed nothing beyond `last_index`, whatever it signs.

    UsageError REVOKED_ALREADY where it ends there or earlier, LOG_KEY for the key of the domain's own log.
    """
    if key.key == trust.policy.log.public_key:
        raise _unfit(
            "LOG_KEY",
            f"{key.name} is the key of this domain's log",
            "a key that the log is not made of",
            "a log ends with its key: make a new domain; the last witnessed checkpoint is where this one ends",
        )
    if key.last_valid_index is not None and key.last_valid_index <= last_index:
        raise _unfit(
            "REVOKED_ALREADY",
            f"key {key.key.key_id[:16]} ends at index {key.last_valid_index}",
            "a key in force, or an earlier index",
            "a revocation is never taken back and never made later",
        )
    old = replace(key, last_valid_index=last_index)
    keyring = _next(trust, _replaced(trust.keyring, old), now)
    event = _event(trust, "revoked", old, keyring, reason=reason)
    return Change(keyring=keyring, policy_bytes=trust.policy_bytes, event=event)


def find_key(keyring: Keyring, text: str) -> EnrolledKey:
    """Return the one key that is meant: by its id, by the beginning of one, or by the name of a key in force.

    UsageError NO_SUCH_KEY, or WHICH_KEY where several are meant.
    """
    named = [item for item in keyring.keys if item.name == text and item.last_valid_index is None]
    by_id = _HEX.fullmatch(text) is not None and len(text) >= MIN_KEY_PREFIX
    found = named or [item for item in keyring.keys if by_id and item.key.key_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{item.name} ({item.key.key_id[:16]})" for item in found or keyring.keys)
    raise _unfit(
        "WHICH_KEY" if found else "NO_SUCH_KEY",
        f"{text[:80]!r} means {len(found)} keys of the keyring",
        f"one of {known}"[:400],
        "name it by its key id; `jouleseal keys show` prints them",
    )


def check_policy(trust: Trust, keyring: Keyring, policy_bytes: bytes) -> None:
    """Return if the policy may follow the domain's; UsageError POLICY_UNFIT, VerificationError BAD_POLICY.

    Its log is the same, every witness of before is in it, and the keyring enrols each key of it in its role and name.
    """
    policy = parse_policy(policy_bytes)
    if policy.log != trust.policy.log:
        raise _policy_unfit(f"the log {policy.log.name}", f"{trust.policy.log.name}, with the key that it has")
    for witness in trust.policy.witnesses.values():
        if witness not in policy.witnesses.values():
            expected = "every witness of before; the quorum need not ask it"
            raise _policy_unfit(f"no witness {witness.name}, whose lines are in the log's history", expected)
    if policy.quorum == NO_QUORUM:
        raise _policy_unfit("the quorum none, with which nobody has seen the log", "a witness, or a group of them")
    asked = [("log", policy.log.name, policy.log.public_key)]
    asked += [("witness", each.name, each.public_key) for each in policy.witnesses.values()]
    for role, name, key in asked:
        enrolled = keyring.find(key.key_id)
        if enrolled is None or (enrolled.role, enrolled.name) != (role, name):
            raise _policy_unfit(
                f"the {role} {name} with key {key.key_id[:16]}", "that key, enrolled in that role and name"
            )


def check_step(before: Trust, after: Trust) -> None:
    """Return if one trust may follow the other; VerificationError CHANGE_REFUSED says which rule forbids it.

    Signatures, the chain of roots and the policy's digest are what `open_trust` has checked already.
    """
    if after.roots[: len(before.roots)] != before.roots:
        raise _refused("another chain of roots", "the chain of before, and roots after it")
    if after.keyring.version != before.keyring.version + 1:
        observed = f"keyring version {after.keyring.version} after {before.keyring.version}"
        raise _refused(observed, f"version {before.keyring.version + 1}")
    for old in before.keyring.keys:
        _check_kept(old, after.keyring)
    for key in after.keyring.keys:
        if key not in before.keyring.keys:
            _check_window(key, after.keyring)
    check_policy(before, after.keyring, after.policy_bytes)


def _check_kept(old: EnrolledKey, keyring: Keyring) -> None:
    """Return if a keyring says of a key what the one before said, apart from an end or a longer window."""
    new = keyring.find(old.key.key_id)
    if new is None or replace(new, last_valid_index=old.last_valid_index, not_after=old.not_after) != old:
        raise _refused(f"{old.name} ({old.key.key_id[:16]}) is gone or another", "every key of before, as it was")
    ended, ends = old.last_valid_index, new.last_valid_index
    if ended is not None and (ends is None or ends > ended):
        raise _refused(f"key {old.key.key_id[:16]} ends at {ends}", f"at most {ended}: a revocation stays")
    until, was = parse_moment(new.not_after), parse_moment(old.not_after)
    if until < was or (until > was and (old.role == "runner" or ends is not None)):
        raise _refused(f"key {old.key.key_id[:16]} until {new.not_after}", f"until {old.not_after}, as it was")


def _check_window(key: EnrolledKey, keyring: Keyring) -> None:
    """Return if a key that is new or renewed lasts no longer than its role may, counted from this keyring."""
    limit = MAX_RUNNER_DAYS if key.role == "runner" else MAX_KEY_DAYS
    start = key.not_before if key.role == "runner" else keyring.issued_on
    if parse_moment(key.not_after) - parse_moment(start) > timedelta(days=limit):
        raise _refused(f"the {key.role} {key.name} for longer than {limit} days", f"at most {limit} days")


def _next(trust: Trust, keys: tuple[EnrolledKey, ...], now: datetime) -> Keyring:
    version = trust.keyring.version + 1
    return replace(trust.keyring, version=version, issued_on=format_moment(now), keys=keys)


def _replaced(keyring: Keyring, key: EnrolledKey) -> tuple[EnrolledKey, ...]:
    return tuple(key if item.key == key.key else item for item in keyring.keys)


def _event(
    trust: Trust, kind: EventKind, key: EnrolledKey, keyring: Keyring, *, reason: str, successor: str | None = None
) -> KeyEvent:
    event = KeyEvent(
        event=kind,
        key_id=key.key.key_id,
        role=key.role,
        name=key.name,
        successor=successor,
        last_valid_index=key.last_valid_index,
        reason=reason,
        decided_on=keyring.issued_on,
        keyring_version=keyring.version,
        previous_keyring=sha256_hex(trust.keyring.to_payload()),
    )
    try:
        return KeyEvent.from_json(event.to_json())
    except VerificationError as error:
        hint = "say why in one line; it is published"
        raise _unfit("BAD_REASON", error.observed, error.expected, hint) from error


def _proven(trust: Trust, proof: bytes, role: Role) -> PublicKey:
    """Return the key whose holder proved, for this role and this domain, that it holds it."""
    if proof.startswith(b"-----BEGIN"):
        raise _unfit(
            "NO_PROOF",
            "a key without a proof that somebody holds it",
            "a proof of possession",
            f"its holder runs: jouleseal keys prove KEY --role {role} --domain sha256:{trust.domain} --out FILE",
        )
    shown = read_possession(proof)
    if (shown.role, shown.domain) != (role, trust.domain):
        observed = f"a proof for the role {shown.role} in the domain {shown.domain[:16]}"
        expected = f"for the role {role} in the domain {trust.domain[:16]}"
        hint = "ask the holder for a proof for this role and domain"
        raise refuse("OTHER_PURPOSE", observed=observed, expected=expected, hint=hint)
    present = trust.keyring.find(shown.key.key_id)
    if present is not None or shown.key.key_id in trust.root.keys:
        what = "a root key" if present is None else f"the {present.role} {present.name}"
        hint = "make a key for each role and each party: jouleseal keys new"
        raise _unfit("KEY_TWICE", f"key {shown.key.key_id[:16]} is {what} already", "a key of its own", hint)
    return shown.key


def _check_asked(keyring: Keyring, asked: Enrolment) -> None:
    _check_days(asked.days, MAX_RUNNER_DAYS if asked.role == "runner" else MAX_KEY_DAYS)
    in_force = [item for item in keyring.in_role(asked.role) if item.last_valid_index is None]
    if asked.role == "runner" and _RUNNER_NAME.fullmatch(asked.name) is None:
        hint = "for example runner-2"
        raise _unfit("BAD_NAME", f"the runner {asked.name!r}"[:100], "runner- and letters, digits or hyphens", hint)
    if asked.name in [item.name for item in in_force]:
        hint = "a runner's next key is made by `jouleseal keys rotate`; another party takes another name"
        raise _unfit("NAME_TAKEN", f"a {asked.role} {asked.name} is in force", "a name of its own", hint)
    taken = {device for item in in_force if item.scope is not None for device in item.scope.devices}
    for device in sorted(taken & set(asked.devices)):
        hint = "a device has one runner, so that nobody can measure on it beside the record"
        raise _unfit("DEVICE_TAKEN", f"device {device} has a runner in force", "a device without one", hint)


def _scope(asked: Enrolment) -> Scope | None:
    if asked.role == "runner":
        names = asked.predicate_names
        return Scope(runner_id=asked.name, devices=asked.devices, predicate_names=names)
    if asked.devices or asked.predicate_names:
        hint = "leave out --device and --predicate"
        raise _unfit("BAD_SCOPE", f"devices or predicates for a {asked.role}", "a scope for runners alone", hint)
    return None


def _check_days(days: int, most: int) -> None:
    if not 1 <= days <= most:
        hint = "a shorter window costs a rotation; a longer one gives a thief more time"
        raise _unfit("BAD_WINDOW", f"{days} days", f"1 to {most} days", hint)


def _policy_unfit(observed: str, expected: str) -> UsageError:
    hint = "begin with the domain's trust/policy.txt, add lines to it, and enrol whom it names first"
    return _unfit("POLICY_UNFIT", observed, expected, hint)


def _refused(observed: str, expected: str) -> VerificationError:
    hint = "make the draft again from the trust folder that is in force now"
    return refuse("CHANGE_REFUSED", observed=observed, expected=expected, hint=hint)


def _unfit(code: str, observed: str, expected: str, hint: str) -> UsageError:
    return UsageError(code=code, observed=observed, expected=expected, hint=hint)
