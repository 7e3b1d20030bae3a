"""P-256 and Ed25519 by the book (SEC 1, RFC 8032), to make the signatures and keys that no library makes for one.

Slow, not constant in time, and for tests alone: who may forge must be able to choose what a library chooses for him.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# P-256 (SEC 2): y^2 = x^3 - 3x + B over the field of P elements; G has order N.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int] | None  # None is the point at infinity

# Ed25519 (RFC 8032 section 5.1): -x^2 + y^2 = 1 + D x^2 y^2 over the field of Q elements; the base has order L.
Q = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, Q) % Q
ROOT = pow(2, (Q - 1) // 4, Q)


def add(one: Point, two: Point) -> Point:
    """Add two points of P-256."""
    if one is None or two is None:
        return one if two is None else two
    (x1, y1), (x2, y2) = one, two
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    rise, run = (3 * x1 * x1 - 3, 2 * y1) if one == two else (y2 - y1, x2 - x1)
    slope = rise * pow(run, -1, P) % P
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def times(number: int, point: Point) -> Point:
    """Multiply a point of P-256."""
    total = None
    for bit in f"{number % N:b}":
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def lift(x: int) -> Point:
    """Return a point of P-256 with this x, None where there is none."""
    square = (x**3 - 3 * x + B) % P
    y = pow(square, (P + 1) // 4, P)
    return (x, y) if y * y % P == square else None


def digest(message: bytes) -> int:
    return int.from_bytes(hashlib.sha256(message).digest(), "big")


def ecdsa(secret: int, message: bytes, k: int) -> tuple[int, int]:
    """Return (r, s) of a message under a secret, with a chosen k."""
    r = times(k, G)[0] % N
    return r, pow(k, -1, N) * (digest(message) + r * secret) % N


def tlv(tag: int, content: bytes) -> bytes:
    """Return a DER element of less than 128 bytes."""
    return bytes([tag, len(content)]) + content


def der_integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def der(r: int, s: int) -> bytes:
    """Return an ECDSA signature in DER, its numbers whatever they are."""
    return tlv(0x30, der_integer(r) + der_integer(s))


def bits(content: bytes, unused: int = 0) -> bytes:
    return tlv(3, bytes([unused]) + content)


EC_KEY = bytes.fromhex("06072a8648ce3d0201")
CURVES = {"p256": bytes.fromhex("06082a8648ce3d030107"), "secp256k1": bytes.fromhex("06052b8104000a")}


def p256_spki(point: Point, curve: str = "p256") -> bytes:
    """Return the SubjectPublicKeyInfo of a point, which need not be on the curve."""
    x, y = point
    raw = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    return ec_spki(raw, CURVES[curve])


def ec_spki(raw: bytes, parameters: bytes) -> bytes:
    return tlv(0x30, tlv(0x30, EC_KEY + parameters) + bits(raw))


@dataclass(frozen=True)
class Ed:
    """A point of Ed25519 in affine coordinates."""

    x: int
    y: int

    def __add__(self, other: Ed) -> Ed:
        product = D * self.x * other.x * self.y * other.y % Q
        x = (self.x * other.y + other.x * self.y) * pow(1 + product, -1, Q) % Q
        y = (self.y * other.y + self.x * other.x) * pow(1 - product, -1, Q) % Q
        return Ed(x, y)

    def __rmul__(self, number: int) -> Ed:
        total = Ed(0, 1)
        for bit in f"{number:b}":
            total += total
            if bit == "1":
                total += self
        return total

    def encode(self) -> bytes:
        return (self.y | (self.x & 1) << 255).to_bytes(32, "little")


def ed_lift(y: int, sign: int) -> Ed | None:
    """Return the point of Ed25519 with this y and sign of x, None where there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, Q) % Q
    x = pow(square, (Q + 3) // 8, Q)
    x = x if x * x % Q == square else x * ROOT % Q
    if x * x % Q != square:
        return None
    return Ed(Q - x if x & 1 != sign else x, y)


BASE = ed_lift(4 * pow(5, -1, Q) % Q, 0)
# A point of order 8, as everybody finds one: the point of order L taken away from one of order 8 L.
TORSION = ed_lift(
    int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"), 0
)


def secret_scalar(seed: bytes) -> int:
    """Return the scalar of a seed (RFC 8032 section 5.1.5)."""
    half = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return (half & ~7 & ~(1 << 255)) | 1 << 254


def challenge(first: bytes, key: bytes, message: bytes, domain: bytes = b"") -> int:
    return int.from_bytes(hashlib.sha512(domain + first + key + message).digest(), "little") % L


def ed_signature(first: bytes, scalar: int) -> bytes:
    return first + scalar.to_bytes(32, "little")
