"""Proof of possession: whoever asks for a key to be enrolled shows that it holds the private half, for this purpose.

The challenge names the key, the role in which it is to speak, and the domain. It is signed in an envelope of a type
of its own, so that no signature made for anything else passes as a proof, and no proof passes as anything else. A
domain is named by the fingerprint of the first root in its chain, which stays the same when roots are replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.encoding import b64encode
from protocol.attestation.envelope import Envelope, Signature, pae, read_envelope
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.keyring import ROLES, Role
from protocol.attestation.keys import MAX_SPKI_BYTES, Algorithm, PublicKey, Signer, public_key
from protocol.attestation.refusal import refuse

POSSESSION_TYPE = "jouleseal-possession/1"
POSSESSION_PAYLOAD_TYPE = "application/vnd.jouleseal.possession+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Possession:
    """What a proof says: this key, in this role, in the domain of this root fingerprint (64 hexadecimal digits)."""

    key: PublicKey
    role: Role
    domain: str

    def to_payload(self) -> bytes:
        """Return the RFC 8785 bytes of the challenge."""
        value: dict[str, Json] = {
            "_type": POSSESSION_TYPE,
            "keyId": self.key.key_id,
            "algorithm": self.key.algorithm.value,
            "publicKey": b64encode(self.key.spki),
            "role": self.role,
            "domain": self.domain,
        }
        return dumps(value)


def prove(signer: Signer, role: Role, domain: str) -> bytes:
    """Return the bytes of a proof file: the challenge for the signer's key, signed by it."""
    payload = Possession(key=signer.public_key, role=role, domain=domain).to_payload()
    signature = signer.sign(pae(POSSESSION_PAYLOAD_TYPE, payload))
    item = Signature(key_hint=signer.public_key.key_id, signature=signature)
    return dumps(Envelope(payload_type=POSSESSION_PAYLOAD_TYPE, payload=payload, signatures=(item,)).to_json())


def read_possession(data: bytes) -> Possession:
    """Return what a proof file says, its signature checked with the key that it names.

    VerificationError: BAD_FIELD, NOT_CANONICAL, BAD_SIGNATURE, BAD_SIGNATURE_COUNT, BAD_KEY, WEAK_KEY, KEY_ALGORITHM.
    """
    envelope = read_envelope(Fields(loads_canonical(data), "proof"), payload_type=POSSESSION_PAYLOAD_TYPE)
    fields = Fields(loads_canonical(envelope.payload), "possession")
    fields.one_of("_type", (POSSESSION_TYPE,))
    algorithms = {algorithm.value: algorithm for algorithm in Algorithm}
    algorithm = algorithms[fields.one_of("algorithm", tuple(algorithms))]
    key = public_key(fields.base64("publicKey", limit=2 * MAX_SPKI_BYTES), algorithm)
    if fields.sha256("keyId") != key.key_id:
        raise refuse("BAD_KEY", observed=f"{fields.at('keyId')} is another key's", expected=key.key_id)
    possession = Possession(key=key, role=fields.one_of("role", ROLES), domain=fields.sha256("domain"))
    fields.done()
    envelope.verify(key)
    return possession
