"""The keyring: which keys speak in a trust domain, in which role, for what, and until when.

The rules:
1. It is a DSSE envelope signed by a threshold of the root's `targets` keys; every signature in it is by one of them.
2. A key stands in it once, in one role; its algorithm is the one written here, whatever an artifact says.
3. A runner's key has a scope: the runner's id, its devices, and the predicate types that it may sign.
4. A key is revoked by the last log index that it may have signed, never by a time that its holder could claim.
5. The policy (log, witnesses, quorum) is bound by its digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from protocol.attestation.encoding import b64encode
from protocol.attestation.envelope import Envelope, Signature, pae, read_envelope
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.keys import MAX_SPKI_BYTES, Algorithm, PublicKey, Signer, public_key
from protocol.attestation.refusal import refuse
from protocol.attestation.root import TARGETS_ROLE, Root
from protocol.attestation.statement import PREDICATE_NAMES

KEYRING_TYPE = "jouleseal-keyring/1"
KEYRING_PAYLOAD_TYPE = "application/vnd.jouleseal.keyring+json"
MAX_KEYS = 1024
MAX_SCOPE = 256

Role = Literal["runner", "log", "witness", "vendor", "auditor"]
ROLES: tuple[Role, ...] = ("runner", "log", "witness", "vendor", "auditor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a runner's key may speak about: one runner, its devices, and predicates by their names."""

    runner_id: str
    devices: tuple[str, ...]
    predicate_names: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `scope`."""
        return {
            "runnerId": self.runner_id,
            "devices": list(self.devices),
            "predicateTypes": list(self.predicate_names),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledKey:
    """One key of the keyring; `name` is the runner's id, the log's origin or the witness's name.

    Times are RFC 3339; `last_valid_index` is null until the key is revoked; only a runner has a scope.
    """

    key: PublicKey
    role: Role
    name: str
    organisation: str
    scope: Scope | None
    not_before: str
    not_after: str
    last_valid_index: int | None

    def to_json(self) -> dict[str, Json]:
        """Return one object of `keys`."""
        return {
            "keyId": self.key.key_id,
            "algorithm": self.key.algorithm.value,
            "publicKey": b64encode(self.key.spki),
            "role": self.role,
            "name": self.name,
            "organisation": self.organisation,
            "scope": None if self.scope is None else self.scope.to_json(),
            "notBefore": self.not_before,
            "notAfter": self.not_after,
            "lastValidIndex": self.last_valid_index,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of a domain at one version; `policy_sha256` is the digest of the policy file in hexadecimal."""

    version: int
    issued_on: str
    policy_sha256: str
    keys: tuple[EnrolledKey, ...]

    def find(self, key_id: str) -> EnrolledKey | None:
        """Return the key of this id, if it is enrolled."""
        return next((item for item in self.keys if item.key.key_id == key_id), None)

    def in_role(self, role: Role) -> tuple[EnrolledKey, ...]:
        """Return the keys of a role."""
        return tuple(item for item in self.keys if item.role == role)

    def to_payload(self) -> bytes:
        """Return the RFC 8785 bytes that are signed."""
        return dumps(
            {
                "_type": KEYRING_TYPE,
                "version": self.version,
                "issuedOn": self.issued_on,
                "policySha256": self.policy_sha256,
                "keys": [item.to_json() for item in self.keys],
            }
        )


def sign_keyring(keyring: Keyring, signers: Sequence[Signer]) -> bytes:
    """Return the bytes of the keyring file, signed by each signer; signatures stand in the order of their key ids."""
    payload = keyring.to_payload()
    message = pae(KEYRING_PAYLOAD_TYPE, payload)
    pairs = sorted((signer.public_key.key_id, signer.sign(message)) for signer in signers)
    signatures = tuple(Signature(key_hint=key_id, signature=signature) for key_id, signature in pairs)
    return dumps(Envelope(payload_type=KEYRING_PAYLOAD_TYPE, payload=payload, signatures=signatures).to_json())


def add_keyring_signature(data: bytes, signer: Signer) -> bytes:
    """Return the keyring file with one more signature; a signer that signed before changes nothing.

    Whether the signer's key is one that the root names is for whoever asks.
    """
    envelope = read_keyring_draft(data)
    pairs = {item.key_hint: item.signature for item in envelope.signatures}
    key_id = signer.public_key.key_id
    if key_id not in pairs:
        pairs[key_id] = signer.sign(envelope.pae)
    signatures = tuple(Signature(key_hint=each, signature=signature) for each, signature in sorted(pairs.items()))
    return dumps(replace(envelope, signatures=signatures).to_json())


def read_keyring_draft(data: bytes) -> Envelope:
    """Return the envelope of a keyring file, however few have signed it; its payload is for `parse_keyring`."""
    return read_envelope(Fields(loads_canonical(data), "keyring"), payload_type=KEYRING_PAYLOAD_TYPE)


def open_keyring(data: bytes, root: Root) -> Keyring:
    """Return the keyring in a file that a threshold of the root's `targets` keys signed.

    VerificationError: BELOW_THRESHOLD, UNKNOWN_SIGNER, KEY_TWICE, WEAK_KEY, KEY_ALGORITHM, BAD_FIELD, NOT_CANONICAL.
    """
    envelope = read_keyring_draft(data)
    signatures = [(item.key_hint, item.signature) for item in envelope.signatures]
    if [key_id for key_id, _ in signatures] != sorted({key_id for key_id, _ in signatures}):
        raise refuse("KEY_TWICE", observed="signatures out of order or twice", expected="one a key, ordered by key id")
    unknown = {key_id for key_id, _ in signatures} - root.role_keys(TARGETS_ROLE).keys()
    if unknown:
        observed = f"a signature by {min(unknown)[:16]!r}"
        raise refuse("UNKNOWN_SIGNER", observed=observed, expected="keys that the root names")
    root.check_threshold(TARGETS_ROLE, signatures, envelope.pae)
    return parse_keyring(envelope.payload)


def parse_keyring(payload: bytes) -> Keyring:
    """Read a keyring whose bytes are canonical, without asking who signed it."""
    fields = Fields(loads_canonical(payload), "keyring")
    fields.one_of("_type", (KEYRING_TYPE,))
    keys = tuple(_read_key(item) for item in fields.children("keys", limit=MAX_KEYS))
    keyring = Keyring(
        version=fields.integer("version", minimum=1),
        issued_on=fields.moment("issuedOn"),
        policy_sha256=fields.sha256("policySha256"),
        keys=keys,
    )
    fields.done()
    if len({item.key.key_id for item in keys}) != len(keys):
        raise refuse("KEY_TWICE", observed="one key enrolled twice", expected="each key once, in one role")
    return keyring


def _read_key(fields: Fields) -> EnrolledKey:
    algorithms = {algorithm.value: algorithm for algorithm in Algorithm}
    algorithm = algorithms[fields.one_of("algorithm", tuple(algorithms))]
    key = public_key(fields.base64("publicKey", limit=2 * MAX_SPKI_BYTES), algorithm)
    if fields.sha256("keyId") != key.key_id:
        raise refuse("BAD_KEY", observed=f"{fields.at('keyId')} is another key's", expected=key.key_id)
    role = fields.one_of("role", ROLES)
    if fields.is_null("scope") == (role == "runner"):
        raise refuse("BAD_FIELD", observed=f"{fields.at('scope')} of a {role}", expected="a scope for runners alone")
    enrolled = EnrolledKey(
        key=key,
        role=role,
        name=fields.text("name"),
        organisation=fields.text("organisation"),
        scope=None if fields.is_null("scope") else _read_scope(fields.child("scope")),
        not_before=fields.moment("notBefore"),
        not_after=fields.moment("notAfter"),
        last_valid_index=None if fields.is_null("lastValidIndex") else fields.integer("lastValidIndex"),
    )
    fields.done()
    return enrolled


def _read_scope(fields: Fields) -> Scope:
    names = fields.texts("predicateTypes", limit=MAX_SCOPE)
    if not set(names) <= set(PREDICATE_NAMES):
        raise refuse("BAD_FIELD", observed=f"{fields.at('predicateTypes')}: {names}"[:200], expected="our predicates")
    devices = fields.texts("devices", limit=MAX_SCOPE)
    scope = Scope(runner_id=fields.text("runnerId"), devices=devices, predicate_names=names)
    fields.done()
    return scope
