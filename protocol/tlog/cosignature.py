"""C2SP cosignatures (cosignature/v1, type 0x04): a witness saw this checkpoint, and says when."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.keys import ED25519_SIGNATURE_BYTES, PublicKey, Signer
from protocol.attestation.refusal import refuse
from protocol.tlog.note import KEY_ID_BYTES, NoteSignature, format_vkey, full_key_id

COSIGNATURE_TYPE = 0x04

_TIMESTAMP_BYTES = 8
_MAX_TIMESTAMP = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessKey:
    """An Ed25519 key that cosigns checkpoints with a time; a `protocol.tlog.note.NoteKey`."""

    name: str
    public_key: PublicKey

    @property
    def key_id(self) -> bytes:
        """The four bytes in a signature line."""
        return full_key_id(self.name, COSIGNATURE_TYPE, self.public_key.raw)[:KEY_ID_BYTES]

    def check(self, text: bytes, signature: bytes) -> int | None:
        """Return the time of the cosignature in Unix seconds; VerificationError BAD_SIGNATURE or MALFORMED_NOTE."""
        if len(signature) != _TIMESTAMP_BYTES + ED25519_SIGNATURE_BYTES:
            expected = f"{_TIMESTAMP_BYTES + ED25519_SIGNATURE_BYTES} bytes"
            raise refuse("MALFORMED_NOTE", observed=f"a cosignature of {len(signature)} bytes", expected=expected)
        timestamp = int.from_bytes(signature[:_TIMESTAMP_BYTES], "big")
        if timestamp > _MAX_TIMESTAMP:
            raise refuse("MALFORMED_NOTE", observed=f"the time {timestamp}", expected="a time before 2^63")
        self.public_key.verify(signature[_TIMESTAMP_BYTES:], cosigned_message(text, timestamp))
        return timestamp

    def sign(self, text: bytes, timestamp: int, signer: Signer) -> NoteSignature:
        """Return the line in which the witness cosigns the checkpoint body at this time (Unix seconds)."""
        signature = signer.sign(cosigned_message(text, timestamp))
        stamped = timestamp.to_bytes(_TIMESTAMP_BYTES, "big") + signature
        return NoteSignature(name=self.name, key_id=self.key_id, signature=stamped)

    def to_vkey(self) -> str:
        """Return the key as a verifier key line."""
        return format_vkey(self.name, COSIGNATURE_TYPE, self.public_key.raw)


def cosigned_message(text: bytes, timestamp: int) -> bytes:
    """Return the bytes that a witness signs: a header, the time, and the whole checkpoint body."""
    return b"cosignature/v1\ntime %d\n%s" % (timestamp, text)
