"""The log's leaves: Rekor v2 `hashedrekord` 0.0.2 entries over the digest of a statement's PAE.

A leaf binds the digest, the signature and the public key, so that third-party tools can check it, and so that whoever
owns a key can find in the log what the key signed.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.digest import DIGEST_BYTES
from protocol.attestation.encoding import b64encode
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.keys import MAX_SIGNATURE_BYTES, MAX_SPKI_BYTES, Algorithm, PublicKey, public_key
from protocol.attestation.refusal import refuse
from protocol.attestation.sigstore_bundle import LEAF_KIND, LEAF_VERSION, MAX_BODY_BYTES

_KEY_DETAILS = {Algorithm.ED25519: "PKIX_ED25519", Algorithm.ECDSA_P256: "PKIX_ECDSA_P256_SHA_256"}
_HASH = "SHA2_256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What was logged: the SHA-256 of a PAE (32 bytes), the signature over that PAE, and the key that made it."""

    pae_sha256: bytes
    signature: bytes
    key: PublicKey

    def to_bytes(self) -> bytes:
        """Return the leaf's bytes, RFC 8785."""
        verifier: dict[str, Json] = {
            "keyDetails": _KEY_DETAILS[self.key.algorithm],
            "publicKey": {"rawBytes": b64encode(self.key.spki)},
        }
        record: dict[str, Json] = {
            "data": {"algorithm": _HASH, "digest": b64encode(self.pae_sha256)},
            "signature": {"content": b64encode(self.signature), "verifier": verifier},
        }
        return dumps({"apiVersion": LEAF_VERSION, "kind": LEAF_KIND, "spec": {"hashedRekordV002": record}})


def parse_leaf(data: bytes) -> Leaf:
    """Read a leaf's bytes strictly; VerificationError BAD_FIELD, NOT_CANONICAL, BAD_KEY or WEAK_KEY."""
    fields = Fields(loads_canonical(data, limit=MAX_BODY_BYTES), "leaf")
    fields.one_of("apiVersion", (LEAF_VERSION,))
    fields.one_of("kind", (LEAF_KIND,))
    spec = fields.child("spec")
    record = spec.child("hashedRekordV002")
    content, signed = record.child("data"), record.child("signature")
    content.one_of("algorithm", (_HASH,))
    digest = content.base64("digest", limit=MAX_SIGNATURE_BYTES)
    if len(digest) != DIGEST_BYTES:
        raise refuse("BAD_FIELD", observed=f"{content.at('digest')}: {len(digest)} bytes", expected="32 bytes")
    verifier = signed.child("verifier")
    key = _read_key(verifier)
    leaf = Leaf(pae_sha256=digest, signature=signed.base64("content", limit=2 * MAX_SIGNATURE_BYTES), key=key)
    for each in (content, signed, verifier, record, spec, fields):
        each.done()
    return leaf


def _read_key(verifier: Fields) -> PublicKey:
    algorithms = {details: algorithm for algorithm, details in _KEY_DETAILS.items()}
    algorithm = algorithms[verifier.one_of("keyDetails", tuple(algorithms))]
    holder = verifier.child("publicKey")
    key = public_key(holder.base64("rawBytes", limit=2 * MAX_SPKI_BYTES), algorithm)
    holder.done()
    return key
