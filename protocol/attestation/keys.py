"""Public keys that may sign: Ed25519 and P-256, named by their SPKI digest, with weak keys refused at the door.

The rules:
1. A key is the DER of its SubjectPublicKeyInfo (RFC 5280), in exactly one spelling; its id is the SHA-256 of that.
2. The algorithm is told by the keyring that enrolled the key, never by the artifact that it signed.
3. An Ed25519 key is a canonically encoded point of the curve (RFC 8032 section 5.1.3) whose order is not small: under
   the eight small-order keys a signature verifies for messages that nobody signed.
4. An Ed25519 signature whose R is of small order is refused: nobody makes one by chance, and verifiers disagree on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from protocol.attestation.digest import sha256_hex
from protocol.attestation.refusal import refuse

ED25519_KEY_BYTES = 32
ED25519_SIGNATURE_BYTES = 64
MAX_SPKI_BYTES = 256  # Ed25519 takes 44, P-256 takes 91
MAX_SIGNATURE_BYTES = 80  # Ed25519 takes 64, a DER P-256 signature at most 72

_ED25519_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_SMALL_ORDER = frozenset(
    bytes.fromhex(encoded)
    for encoded in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)
_FIELD = 2**255 - 19
_D = -121665 * pow(121666, -1, _FIELD) % _FIELD
_SQRT_MINUS_ONE = pow(2, (_FIELD - 1) // 4, _FIELD)


class Algorithm(Enum):
    """The signature algorithms, as the keyring writes them."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256-sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key that passed the door: its algorithm and the DER of its SubjectPublicKeyInfo."""

    algorithm: Algorithm
    spki: bytes

    @property
    def key_id(self) -> str:
        """The SHA-256 of the SPKI, in hexadecimal."""
        return _named(self.spki)

    @property
    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 key; VerificationError KEY_ALGORITHM for another algorithm."""
        if self.algorithm is not Algorithm.ED25519:
            raise refuse("KEY_ALGORITHM", observed=self.algorithm.value, expected="ed25519")
        return self.spki[len(_ED25519_SPKI_PREFIX) :]

    def to_pem(self) -> str:
        """Return the key as PEM text, as openssl and TUF write it."""
        return load_der_public_key(self.spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if the signature holds; VerificationError BAD_SIGNATURE if it does not."""
        key = _loaded(self.spki)
        try:
            if isinstance(key, Ed25519PublicKey):
                _check_r(signature)
                key.verify(signature, message)
            elif isinstance(key, EllipticCurvePublicKey):
                key.verify(signature, message, ECDSA(SHA256()))
        except InvalidSignature as error:
            observed = f"a signature that key {self.key_id[:16]} did not make over these bytes"
            raise refuse("BAD_SIGNATURE", observed=observed, expected="a signature over exactly these bytes") from error


class Signer(Protocol):
    """Whatever can sign with one key: a file today, a token or a key service later."""

    @property
    def public_key(self) -> PublicKey:
        """The public half of the signing key."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature over the message."""


def ed25519_key(raw: bytes) -> PublicKey:
    """Return the key of 32 raw bytes; VerificationError WEAK_KEY or BAD_KEY where it may not sign."""
    _check_ed25519(raw)
    return PublicKey(algorithm=Algorithm.ED25519, spki=_ED25519_SPKI_PREFIX + raw)


def public_key(spki: bytes, algorithm: Algorithm) -> PublicKey:
    """Return the key of these DER bytes, which must be of the algorithm that the keyring names.

    VerificationError BAD_KEY for bytes that are no canonical key, KEY_ALGORITHM for a key of another kind, WEAK_KEY for
    an Ed25519 point of small order.
    """
    if len(spki) > MAX_SPKI_BYTES:
        raise refuse("BAD_KEY", observed=f"{len(spki)} bytes", expected=f"at most {MAX_SPKI_BYTES}")
    try:
        key = load_der_public_key(spki)
        canonical = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refuse("BAD_KEY", observed="bytes that are no public key", expected="a DER SPKI") from error
    if canonical != spki:
        raise refuse("BAD_KEY", observed="another spelling of a key", expected="the canonical DER SPKI")
    match algorithm:
        case Algorithm.ED25519 if isinstance(key, Ed25519PublicKey):
            return ed25519_key(key.public_bytes_raw())
        case Algorithm.ECDSA_P256 if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
            return PublicKey(algorithm=algorithm, spki=spki)
        case _:
            raise refuse("KEY_ALGORITHM", observed=type(key).__name__, expected=f"a key for {algorithm.value}")


@lru_cache(maxsize=1024)
def _named(spki: bytes) -> str:
    return sha256_hex(spki)


@lru_cache(maxsize=64)  # a bundle has a few keys, and hundreds of signatures by each
def _loaded(spki: bytes) -> PublicKeyTypes:
    return load_der_public_key(spki)


def _check_r(signature: bytes) -> None:
    """Raise InvalidSignature where R, the first half of an Ed25519 signature, is a point of small order."""
    if signature[:ED25519_KEY_BYTES] in _SMALL_ORDER:
        raise InvalidSignature


@lru_cache(maxsize=1024)  # a log names few keys, each in every entry
def _check_ed25519(raw: bytes) -> None:
    if len(raw) != ED25519_KEY_BYTES:
        raise refuse("BAD_KEY", observed=f"{len(raw)} bytes", expected="the 32 bytes of an Ed25519 key")
    point = _decompress(raw)
    for _ in range(3):  # the cofactor is 8: three doublings take every small-order point to the neutral element
        point = _double(point)
    if point == (0, 1):
        raise refuse(
            "WEAK_KEY",
            observed=f"the small-order Ed25519 key {raw.hex()}",
            expected="a key that somebody can own",
            hint="remove this key and everything that it signed",
        )


def _decompress(raw: bytes) -> tuple[int, int]:
    """Return the point that the bytes encode (RFC 8032 section 5.1.3); BAD_KEY if they encode none."""
    sign, y = raw[31] >> 7, int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _FIELD:
        raise refuse("BAD_KEY", observed="an Ed25519 coordinate beyond the field", expected="a canonical point")
    numerator, denominator = (y * y - 1) % _FIELD, (_D * y * y + 1) % _FIELD
    square = numerator * pow(denominator, -1, _FIELD) % _FIELD
    x = pow(square, (_FIELD + 3) // 8, _FIELD)
    if (x * x - square) % _FIELD:
        x = x * _SQRT_MINUS_ONE % _FIELD
    if (x * x - square) % _FIELD or (x == 0 and sign):
        raise refuse("BAD_KEY", observed="bytes that are no point of Ed25519", expected="a canonical point")
    return (_FIELD - x if x & 1 != sign else x), y


def _double(point: tuple[int, int]) -> tuple[int, int]:
    """Return twice a point, by the complete addition law of twisted Edwards curves with a = -1."""
    x, y = point
    product = _D * x * x * y * y % _FIELD
    doubled_x = 2 * x * y * pow(1 + product, -1, _FIELD) % _FIELD
    doubled_y = (y * y + x * x) * pow(1 - product, -1, _FIELD) % _FIELD
    return doubled_x, doubled_y
