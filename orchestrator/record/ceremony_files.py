"""The files that go from holder to holder in a ceremony: what each is, who has signed it, and when it is enough.

Four kinds: a root, a keyring, a key event and a policy. Each is the file that stands in the trust folder in the end,
only that fewer have signed it; nothing in a file says that it is whole, the signatures do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestrator.record.ceremony import check_step
from orchestrator.record.trust import Trust, open_trust
from protocol.attestation.envelope import Envelope, sign
from protocol.attestation.jcs import dumps
from protocol.attestation.key_event import KeyStatement, open_key_event, parse_key_statement, read_key_event
from protocol.attestation.keyring import Keyring, add_keyring_signature, parse_keyring, read_keyring_draft
from protocol.attestation.keys import PublicKey, Signer
from protocol.attestation.refusal import refuse
from protocol.attestation.root import ROOT_ROLE, TARGETS_ROLE, Root, add_root_signature, read_root_draft
from protocol.errors import UsageError, VerificationError


@dataclass(frozen=True, slots=True)
class RootFile:
    """A root, however few have signed it."""

    data: bytes
    root: Root


@dataclass(frozen=True, slots=True)
class KeyringFile:
    """A keyring, however few have signed it."""

    data: bytes
    envelope: Envelope
    keyring: Keyring


@dataclass(frozen=True, slots=True)
class EventFile:
    """A key event, signed or not yet."""

    data: bytes
    envelope: Envelope
    stated: KeyStatement


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy; nobody signs it, a keyring binds it."""

    data: bytes


CeremonyFile: TypeAlias = RootFile | KeyringFile | EventFile | PolicyFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One threshold: whose it is, the ids of its keys, which of them signed, and how many must."""

    holders: str
    key_ids: tuple[str, ...]
    signed: tuple[str, ...]
    threshold: int

    @property
    def met(self) -> bool:
        """Whether enough have signed."""
        return len(self.signed) >= self.threshold


def read_file(data: bytes) -> CeremonyFile:
    """Return what a file is; VerificationError where it is none of the four or breaks its format."""
    if data.startswith(b'{"signatures":'):
        return RootFile(data, read_root_draft(data))
    if b'"payloadType":"application/vnd.in-toto+json"' in data:
        envelope = read_key_event(data)
        return EventFile(data, envelope, parse_key_statement(envelope.payload))
    if data.startswith(b"{"):
        envelope = read_keyring_draft(data)
        return KeyringFile(data, envelope, parse_keyring(envelope.payload))
    return PolicyFile(data)


def governing_root(trust: Trust | None, files: Iterable[CeremonyFile]) -> Root | None:
    """Return the root whose holders sign a keyring that comes with these files: the newest that is known."""
    roots = [item.root for item in files if isinstance(item, RootFile)]
    roots += [trust.root] if trust is not None else []
    return max(roots, key=lambda root: root.version, default=None)


def needs(item: CeremonyFile, trust: Trust | None, governing: Root | None) -> tuple[Need, ...]:
    """Return the thresholds that a file must reach; VerificationError BAD_SIGNATURE where a signature does not hold.

    A root after the first needs that of the version before it too, which is looked for in `trust`.
    """
    match item:
        case RootFile():
            before = before_of(item.root, trust)
            own = _root_need(item.root, item.root, f"holders of version {item.root.version}")
            if before is None:
                return (own,)
            return (_root_need(item.root, before, f"holders of version {before.version}"), own)
        case KeyringFile() if governing is not None:
            envelope = item.envelope
            signed = _signed(
                governing, TARGETS_ROLE, [(s.key_hint, s.signature) for s in envelope.signatures], envelope.pae
            )
            return (_need(governing, TARGETS_ROLE, signed, f"holders of root version {governing.version}"),)
        case EventFile() if governing is not None:
            pairs = [(s.key_hint, s.signature) for s in item.envelope.signatures]
            signed = _signed(governing, TARGETS_ROLE, pairs, item.envelope.pae)
            return (replace(_need(governing, TARGETS_ROLE, signed, "any one holder"), threshold=1),)
        case _:
            return ()


def before_of(root: Root, trust: Trust | None) -> Root | None:
    """Return the version before a root, if the trust has it."""
    if trust is None:
        return None
    return next((known for data in trust.roots if (known := read_root_draft(data)).version == root.version - 1), None)


def add_signature(item: CeremonyFile, signer: Signer, trust: Trust | None, governing: Root | None) -> bytes:
    """Return the file with the signer's signature; the same bytes where it has nothing to add.

    UsageError NOT_A_HOLDER for a key that counts nowhere here, NO_ROOT where it is not known who may sign.
    """
    if isinstance(item, PolicyFile):
        return item.data
    asked = needs(item, trust, governing)
    if not asked:
        raise UsageError(
            code="NO_ROOT",
            observed="a keyring or a key event, and no root that says who signs it",
            expected="the trust folder, or the root's file",
            hint="give --from with a copy of the trust folder, or name the root's file too",
        )
    key_id = signer.public_key.key_id
    if key_id not in {each for need in asked for each in need.key_ids}:
        listed = ", ".join(each[:16] for need in asked for each in need.key_ids)
        raise UsageError(
            code="NOT_A_HOLDER",
            observed=f"key {key_id[:16]}",
            expected=f"one of {listed}"[:400],
            hint="use the key whose public half the root names; a signature by another key makes the file invalid",
        )
    match item:
        case RootFile():
            return add_root_signature(item.data, signer)
        case KeyringFile():
            return add_keyring_signature(item.data, signer)
        case EventFile():
            if item.envelope.signatures:
                return item.data
            return dumps(sign(item.envelope.payload_type, item.envelope.payload, signer).to_json())


def follow(before: Trust, files: Sequence[CeremonyFile]) -> tuple[Trust, bytes | None]:
    """Return the trust that these files make of the one before, and the key event that says so, all of it checked.

    VerificationError: those of the formats and thresholds, CHANGE_REFUSED, and EVENT_MISSING where the keys change and
    no key event says how.
    """
    roots = sorted((item for item in files if isinstance(item, RootFile)), key=lambda item: item.root.version)
    newer = tuple(item.data for item in roots if item.root.version > before.root.version)
    keyrings = [item for item in files if isinstance(item, KeyringFile)]
    policies = [item for item in files if isinstance(item, PolicyFile)]
    events = [item for item in files if isinstance(item, EventFile)]
    if len(keyrings) != 1 or len(policies) > 1 or len(events) > 1:
        raise refuse(
            "CHANGE_REFUSED",
            observed=f"{len(keyrings)} keyrings, {len(policies)} policies and {len(events)} key events",
            expected="one keyring, and at most one policy and one key event",
            hint="name the files of one step",
        )
    policy_bytes = policies[0].data if policies else before.policy_bytes
    after = open_trust((*before.roots, *newer), keyrings[0].data, policy_bytes)
    check_step(before, after)
    told: set[str | None] = set()
    if events:
        event = open_key_event(events[0].envelope, after.root, after.keyring).event
        told = {event.key_id, event.successor}
    untold = {item.key.key_id for item in after.keyring.keys if item not in before.keyring.keys} - told
    if untold:
        raise refuse(
            "EVENT_MISSING",
            observed=f"a change of key {min(untold)[:16]} that no key event tells",
            expected="the key event that was drafted with the keyring",
            hint="name the key event's file too",
        )
    return after, events[0].data if events else None


def _root_need(draft: Root, whose: Root, holders: str) -> Need:
    return _need(whose, ROOT_ROLE, _signed(whose, ROOT_ROLE, draft.signatures, draft.signed_bytes), holders)


def _need(root: Root, role: str, signed: tuple[str, ...], holders: str) -> Need:
    asked = root.roles[role]
    return Need(holders=holders, key_ids=asked.key_ids, signed=signed, threshold=asked.threshold)


def _signed(root: Root, role: str, pairs: Sequence[tuple[str, bytes]], message: bytes) -> tuple[str, ...]:
    keys: dict[str, PublicKey] = root.role_keys(role)
    signed = []
    for key_id, signature in pairs:
        if key_id in keys:
            try:
                keys[key_id].verify(signature, message)
            except VerificationError as error:
                hint = "take the file as it was before this signature was added"
                raise VerificationError(
                    code=error.code, observed=error.observed, expected=error.expected, hint=hint
                ) from error
            signed.append(key_id)
    return tuple(signed)
