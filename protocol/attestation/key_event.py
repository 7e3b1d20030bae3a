"""The predicate `key-event`: a key was enrolled, renewed, replaced or revoked, said in the log where it is used.

The rules:
1. Its subject is the keyring that makes the change, by the SHA-256 of its payload: the keyring has the authority (a
   threshold signed it), the event says when the log's readers could know.
2. It is signed by one key of the root's `targets` role, never by the key that it is about, which may be stolen.
3. It belongs to no runner's chain and to no campaign, and stands in the log between campaigns.
4. Reading is strict, as of every predicate: a wrong field raises VerificationError BAD_FIELD, and one that this version
   does not know Unverifiable UNKNOWN_FIELD. docs/manifest.md specifies every field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from protocol.attestation.digest import sha256_hex
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, Envelope, read_envelope
from protocol.attestation.fields import Fields, Unknown
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.keyring import ROLES, Keyring, Role
from protocol.attestation.refusal import refuse
from protocol.attestation.root import TARGETS_ROLE, Root
from protocol.attestation.statement import STATEMENT_TYPE, predicate_type

KEY_EVENT = "key-event"
KEYRING_SUBJECT = "keyring"

EventKind = Literal["enrolled", "renewed", "rotated", "revoked"]
EVENT_KINDS: tuple[EventKind, ...] = ("enrolled", "renewed", "rotated", "revoked")
_UNENDED: tuple[EventKind, ...] = ("enrolled", "renewed")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEvent:
    """What happened to one key; `last_valid_index` is the last log index that it may have signed.

    `keyring_version` is that of the subject, `previous_keyring` the SHA-256 of the payload before it. Only a rotation
    or a revocation has a last index, and only a rotation a successor.
    """

    event: EventKind
    key_id: str
    role: Role
    name: str
    successor: str | None
    last_valid_index: int | None
    reason: str
    decided_on: str
    keyring_version: int
    previous_keyring: str

    def to_json(self) -> dict[str, Json]:
        """Return the predicate's JSON object."""
        return {
            "event": self.event,
            "keyId": self.key_id,
            "role": self.role,
            "name": self.name,
            "successor": self.successor,
            "lastValidIndex": self.last_valid_index,
            "reason": self.reason,
            "decidedOn": self.decided_on,
            "keyringVersion": self.keyring_version,
            "previousKeyring": self.previous_keyring,
        }

    @classmethod
    def from_json(cls, value: object) -> KeyEvent:
        """Read the predicate strictly; what is null and what is not follows from `event`."""
        fields = Fields(value, KEY_EVENT, unknown=Unknown.UNJUDGED)
        kind = fields.one_of("event", EVENT_KINDS)
        _check_null(fields, "successor", null=kind != "rotated")
        _check_null(fields, "lastValidIndex", null=kind in _UNENDED)
        event = cls(
            event=kind,
            key_id=fields.sha256("keyId"),
            role=fields.one_of("role", ROLES),
            name=fields.text("name"),
            successor=None if fields.is_null("successor") else fields.sha256("successor"),
            last_valid_index=None if fields.is_null("lastValidIndex") else fields.integer("lastValidIndex"),
            reason=fields.text("reason"),
            decided_on=fields.moment("decidedOn"),
            keyring_version=fields.integer("keyringVersion", minimum=2),
            previous_keyring=fields.sha256("previousKeyring"),
        )
        fields.done()
        if event.successor == event.key_id:
            raise refuse("BAD_FIELD", observed=f"{fields.at('successor')} is the key itself", expected="another key")
        return event

    def to_payload(self, keyring_sha256: str) -> bytes:
        """Return the RFC 8785 bytes of the statement about the keyring whose payload has this digest."""
        return dumps(
            {
                "_type": STATEMENT_TYPE,
                "subject": [{"name": KEYRING_SUBJECT, "digest": {"sha256": keyring_sha256}}],
                "predicateType": predicate_type(KEY_EVENT),
                "predicate": self.to_json(),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatement:
    """A key event as it was stated: the event, and the SHA-256 of the payload of the keyring that makes the change."""

    event: KeyEvent
    keyring_sha256: str


def parse_key_statement(payload: bytes) -> KeyStatement:
    """Read the payload of a key event strictly, without asking who signed it."""
    fields = Fields(loads_canonical(payload), "statement")
    fields.one_of("_type", (STATEMENT_TYPE,))
    fields.one_of("predicateType", (predicate_type(KEY_EVENT),))
    subjects = list(fields.children("subject", limit=2))
    if len(subjects) != 1:
        raise refuse("BAD_SUBJECT", observed=f"{len(subjects)} subjects", expected="exactly one subject")
    subjects[0].one_of("name", (KEYRING_SUBJECT,))
    digest = subjects[0].child("digest")
    keyring_sha256 = digest.sha256("sha256")
    digest.done()
    subjects[0].done()
    event = KeyEvent.from_json(fields.json_object("predicate"))
    fields.done()
    return KeyStatement(event=event, keyring_sha256=keyring_sha256)


def read_key_event(data: bytes) -> Envelope:
    """Return the envelope of a key event's file, signed or not yet; its payload has been read strictly."""
    envelope = read_envelope(Fields(loads_canonical(data), KEY_EVENT), payload_type=IN_TOTO_PAYLOAD_TYPE)
    parse_key_statement(envelope.payload)
    return envelope


def open_key_event(envelope: Envelope, root: Root, keyring: Keyring) -> KeyStatement:
    """Return a key event that one key of the root's `targets` role signed and that the keyring bears out.

    VerificationError UNKNOWN_SIGNER for another signer, BAD_SIGNATURE, BAD_SUBJECT for another keyring, OTHER_CHANGE
    where the keyring does not say of the key what the event says.
    """
    stated = parse_key_statement(envelope.payload)
    hint = envelope.only_signature().key_hint
    key = root.role_keys(TARGETS_ROLE).get(hint)
    if key is None:
        observed = f"a signature by {hint[:16]!r}"
        raise refuse("UNKNOWN_SIGNER", observed=observed, expected="a key to which the root delegates the keyring")
    envelope.verify(key)
    check_borne_out(stated, keyring)
    return stated


def check_borne_out(stated: KeyStatement, keyring: Keyring) -> None:
    """Return if the keyring is the subject and says of the key what the event says."""
    event = stated.event
    if (stated.keyring_sha256, event.keyring_version) != (sha256_hex(keyring.to_payload()), keyring.version):
        observed = f"an event of keyring version {event.keyring_version}"
        raise refuse("BAD_SUBJECT", observed=observed, expected=f"of keyring version {keyring.version}, by its digest")
    found = keyring.find(event.key_id)
    said = None if found is None else (found.role, found.name, found.last_valid_index)
    if said != (event.role, event.name, event.last_valid_index):
        observed = f"{event.event} {event.role} {event.name} up to index {event.last_valid_index}"
        raise refuse("OTHER_CHANGE", observed=observed, expected=f"{said}, as the keyring says of {event.key_id[:16]}")
    heir = None if event.successor is None else keyring.find(event.successor)
    if event.successor is not None and (heir is None or (heir.role, heir.name) != (event.role, event.name)):
        raise refuse("OTHER_CHANGE", observed="a successor that is not enrolled", expected="a key of the same runner")


def _check_null(fields: Fields, name: str, *, null: bool) -> None:
    if fields.is_null(name) != null:
        observed, expected = ("a value", "null") if null else ("null", "a value")
        raise refuse("BAD_FIELD", observed=f"{fields.at(name)}: {observed}", expected=f"{expected}, by the event")
