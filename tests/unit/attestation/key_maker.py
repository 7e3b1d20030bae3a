"""Signers for tests: deterministic Ed25519 keys, and one on P-256."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.attestation.keys import Algorithm, PublicKey, ed25519_key, public_key


@dataclass(frozen=True)
class EdSigner:
    key: Ed25519PrivateKey

    @property
    def public_key(self) -> PublicKey:
        return ed25519_key(self.key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


@dataclass(frozen=True)
class P256Signer:
    key: EllipticCurvePrivateKey

    @property
    def public_key(self) -> PublicKey:
        spki = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return public_key(spki, Algorithm.ECDSA_P256)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, ECDSA(SHA256()))


def ed_signer(number: int) -> EdSigner:
    return EdSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def p256_signer() -> P256Signer:
    return P256Signer(generate_private_key(SECP256R1()))
