"""DSSE envelopes (secure-systems-lab/dsse protocol 1.0.2): what is signed is the PAE of the payload's exact bytes.

The rules: base64 has one spelling; a key id is a hint and selects nothing; an envelope is identified by the SHA-256 of
its PAE, never by the bytes of a file, because ECDSA signatures and JSON have many encodings.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.digest import sha256, sha256_hex
from protocol.attestation.encoding import b64encode
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import MAX_JSON_BYTES, Json
from protocol.attestation.keys import MAX_SIGNATURE_BYTES, PublicKey, Signer
from protocol.attestation.refusal import refuse

IN_TOTO_PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_SIGNATURES = 16  # more key holders than any root or keyring has
MAX_KEY_HINT = 128  # ours is 64 hexadecimal digits

_BASE64_GROUP = 4  # characters that three bytes take


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature and the hint that came with it; the hint is free text and proves nothing."""

    key_hint: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload, its type, and the signatures over the PAE of both."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def pae(self) -> bytes:
        """The bytes that were signed."""
        return pae(self.payload_type, self.payload)

    @property
    def pae_sha256(self) -> bytes:
        """The digest that the log records, 32 raw bytes."""
        return sha256(self.pae)

    @property
    def statement_id(self) -> str:
        """The name by which other statements refer to this one: SHA-256 of the PAE in hexadecimal."""
        return sha256_hex(self.pae)

    def only_signature(self) -> Signature:
        """Return the one signature of a statement; VerificationError BAD_SIGNATURE_COUNT for none or several."""
        if len(self.signatures) != 1:
            observed = f"{len(self.signatures)} signatures"
            raise refuse("BAD_SIGNATURE_COUNT", observed=observed, expected="exactly one signature")
        return self.signatures[0]

    def verify(self, key: PublicKey) -> None:
        """Return if the one signature was made by the key; VerificationError BAD_SIGNATURE otherwise."""
        key.verify(self.only_signature().signature, self.pae)

    def to_json(self) -> dict[str, Json]:
        """Return the envelope as DSSE's JSON object."""
        signatures = [{"keyid": item.key_hint, "sig": b64encode(item.signature)} for item in self.signatures]
        return {"payload": b64encode(self.payload), "payloadType": self.payload_type, "signatures": signatures}


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding; lengths count bytes, not characters."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, signer: Signer) -> Envelope:
    """Return an envelope with the signer's one signature, hinted by its key id."""
    signature = signer.sign(pae(payload_type, payload))
    item = Signature(key_hint=signer.public_key.key_id, signature=signature)
    return Envelope(payload_type=payload_type, payload=payload, signatures=(item,))


def read_envelope(fields: Fields, *, payload_type: str) -> Envelope:
    """Read a DSSE object of the one payload type that fits here; VerificationError names the field that does not."""
    kind = fields.one_of("payloadType", (payload_type,))
    payload = fields.base64("payload", limit=MAX_JSON_BYTES)
    signatures = []
    for item in fields.children("signatures", limit=MAX_SIGNATURES):
        hint = item.free_text("keyid", limit=MAX_KEY_HINT)
        limit = _BASE64_GROUP * MAX_SIGNATURE_BYTES
        signatures.append(Signature(key_hint=hint, signature=item.base64("sig", limit=limit)))
        item.done()
    fields.done()
    return Envelope(payload_type=kind, payload=payload, signatures=tuple(signatures))
