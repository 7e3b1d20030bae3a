"""Ed25519 keys as PEM text, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from protocol.attestation.keys import Algorithm, PublicKey, ed25519_key, public_key
from protocol.attestation.refusal import refuse

MAX_PEM_BYTES = 8_192  # a key takes under 200; a file may say more around it


@dataclass(frozen=True, slots=True)
class PemSigner:
    """A signer over a key that somebody keeps in a file of their own; a `protocol.attestation.keys.Signer`."""

    _key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> PublicKey:
        """The public half of the signing key."""
        return ed25519_key(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature."""
        return self._key.sign(message)


def pem_signer(pem: bytes) -> PemSigner:
    """Return the signer of an unencrypted PKCS #8 Ed25519 key; VerificationError BAD_KEY for anything else."""
    try:
        key = load_pem_private_key(_bounded(pem), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise refuse("BAD_KEY", observed="no unencrypted PEM private key", expected="an Ed25519 key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise refuse("BAD_KEY", observed=type(key).__name__, expected="an Ed25519 key")
    return PemSigner(key)


def pem_public_key(pem: bytes) -> PublicKey:
    """Return the Ed25519 or P-256 key of a PEM text; VerificationError BAD_KEY or WEAK_KEY where it may not sign."""
    try:
        key = load_pem_public_key(_bounded(pem))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refuse("BAD_KEY", observed="no PEM public key", expected="an Ed25519 or P-256 key") from error
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    match key:
        case Ed25519PublicKey():
            return public_key(spki, Algorithm.ED25519)
        case EllipticCurvePublicKey():
            return public_key(spki, Algorithm.ECDSA_P256)
        case _:
            raise refuse("BAD_KEY", observed=type(key).__name__, expected="an Ed25519 or P-256 key")


def _bounded(pem: bytes) -> bytes:
    if len(pem) > MAX_PEM_BYTES:
        raise refuse("BAD_KEY", observed=f"{len(pem)} bytes", expected=f"at most {MAX_PEM_BYTES}")
    return pem
