"""Signatures and keys at the edges of ECDSA on P-256 and of Ed25519, each with the verdict that it must get.

Made here, in the manner of Wycheproof's tables. A verdict on a signature is True where it must hold; one on a key is
the error code with which it is refused, or None where it is let in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from protocol.attestation.keys import Algorithm
from tests.unit.attestation.edge_curves import (
    BASE,
    CURVES,
    EC_KEY,
    TORSION,
    Ed,
    G,
    L,
    N,
    P,
    Q,
    add,
    bits,
    challenge,
    der,
    der_integer,
    digest,
    ec_spki,
    ecdsa,
    ed_lift,
    ed_signature,
    lift,
    p256_spki,
    secret_scalar,
    times,
    tlv,
)

MESSAGE = b"DSSEv1 1 t 5 edges"
SECRET = 0xC0FFEE
KEY = times(SECRET, G)
K = 0xDECAF
SEED = b"an edge of Ed25519, 32 bytes lon"
SCALAR = secret_scalar(SEED)
ED_KEY = SCALAR * BASE
NEUTRAL_R = "R is the neutral element"
ED_PREFIX = bytes.fromhex("302a300506032b6570032100")


@dataclass(frozen=True)
class SignatureCase:
    """A signature over `message` under the key of `spki`, and whether it holds."""

    name: str
    spki: bytes
    signature: bytes
    holds: bool
    algorithm: Algorithm = Algorithm.ECDSA_P256
    message: bytes = MESSAGE


@dataclass(frozen=True)
class KeyCase:
    """Bytes that claim to be a key for an algorithm, and the code with which they are refused; None lets them in."""

    name: str
    spki: bytes
    algorithm: Algorithm
    code: str | None


def ecdsa_cases() -> Iterator[SignatureCase]:
    """Yield the cases of ECDSA under an ordinary key."""
    r, s = ecdsa(SECRET, MESSAGE, K)
    first, second, body = der_integer(r), der_integer(s), der_integer(r) + der_integer(s)

    def case(name: str, signature: bytes, *, holds: bool = False) -> SignatureCase:
        return SignatureCase(name, p256_spki(KEY), signature, holds)

    yield case("honest", der(r, s), holds=True)
    yield case("its twin, s for n - s, which anybody can make", der(r, N - s), holds=True)
    for name, value in {"0": 0, "1": 1, "n": N, "n - 1": N - 1, "n + 1": N + 1, "p": P, "2^256": 2**256}.items():
        yield case(f"r is {name}", der(value, s))
        yield case(f"s is {name}", der(r, value))
        yield case(f"r and s are {name}", der(value, value))
    yield case("r and s are exchanged", der(s, r))
    yield case("r + n", der(r + N, s))
    yield case("s + n", der(r, s + N))
    yield case("r - n, negative", der(r - N, s))
    yield case("s - n, negative", der(r, s - N))
    yield case("-r", der(-r, s))
    yield case("-s", der(r, -s))
    yield case("r of thousands of bits", tlv(0x30, tlv(2, b"\x01" * 60) + second[:4]))
    yield case("nothing", b"")
    yield case("an empty sequence", tlv(0x30, b""))
    yield case("r alone", tlv(0x30, first))
    yield case("a third number", tlv(0x30, body + der_integer(1)))
    yield case("a byte after the sequence", der(r, s) + b"\0")
    yield case("a byte at the end of the sequence", tlv(0x30, body + b"\0"))
    yield case("the last byte cut off", der(r, s)[:-1])
    yield case("length in two bytes, as BER may", bytes([0x30, 0x81, len(body)]) + body)
    yield case("length in three bytes", bytes([0x30, 0x82, 0, len(body)]) + body)
    yield case("length of r in two bytes", tlv(0x30, bytes([2, 0x81, len(first) - 2]) + first[2:] + second))
    yield case("indefinite length", b"\x30\x80" + body + b"\0\0")
    yield case("a zero before r", tlv(0x30, tlv(2, b"\0" + first[2:]) + second))
    yield case("a zero before s", tlv(0x30, first + tlv(2, b"\0" + second[2:])))
    yield case("a set for a sequence", tlv(0x31, body))
    yield case("an octet string for r", tlv(0x30, tlv(4, first[2:]) + second))
    yield case("r of no bytes", tlv(0x30, tlv(2, b"") + second))
    yield case("r and s side by side, as IEEE P1363 writes them", r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    yield case("a null for s", tlv(0x30, first + b"\x05\0"))


def ecdsa_sign_bits() -> SignatureCase:
    """Return a case whose r begins with a set bit and is written without the zero that keeps it positive."""
    for k in count(2):
        r, s = ecdsa(SECRET, MESSAGE, k)
        if r >> 255:
            bare = tlv(0x30, tlv(2, r.to_bytes(32, "big")) + der_integer(s))
            return SignatureCase("r without the zero that keeps it positive", p256_spki(KEY), bare, holds=False)
    raise AssertionError


def ecdsa_made_keys() -> Iterator[SignatureCase]:
    """Yield cases whose key is made for them, so that the arithmetic meets its special points."""
    e = digest(MESSAGE)
    x = next(x for x in count(N) if lift(x) is not None)
    point, s = lift(x), 7
    inverse = pow(x - N, -1, N)
    key = add(times(inverse * s, point), times(-inverse * e, G))
    yield SignatureCase("x of the point beyond n, so that r is x - n", p256_spki(key), der(x - N, s), holds=True)
    yield SignatureCase("r is x itself, not reduced", p256_spki(key), der(x, s), holds=False)
    r = times(K, G)[0] % N
    double, nowhere = (times(sign * e * pow(r, -1, N), G) for sign in (1, -1))
    held = der(r, pow(K, -1, N) * 2 * e % N)
    yield SignatureCase("both halves of the sum are one point", p256_spki(double), held, holds=True)
    yield SignatureCase("the sum is the point at infinity", p256_spki(nowhere), der(r, 5), holds=False)
    yield SignatureCase("the key is the generator", p256_spki(G), der(*ecdsa(1, MESSAGE, K)), holds=True)
    yield SignatureCase("k is 1", p256_spki(KEY), der(*ecdsa(SECRET, MESSAGE, 1)), holds=True)
    yield SignatureCase("another message", p256_spki(KEY), der(*ecdsa(SECRET, MESSAGE + b".", K)), holds=False)
    yield SignatureCase("another key", p256_spki(G), der(*ecdsa(SECRET, MESSAGE, K)), holds=False)
    yield SignatureCase("an Ed25519 signature under a P-256 key", p256_spki(KEY), ed_honest(), holds=False)


def ed_honest(message: bytes = MESSAGE, domain: bytes = b"") -> bytes:
    """Return a signature by the key of `SEED`, with a nonce of our choice."""
    first = (K * BASE).encode()
    return ed_signature(first, (K + challenge(first, ED_KEY.encode(), message, domain) * SCALAR) % L)


def ed_cases() -> Iterator[SignatureCase]:
    """Yield the cases of Ed25519."""
    signature = ed_honest()
    first, s = signature[:32], int.from_bytes(signature[32:], "little")

    def case(name: str, data: bytes, *, holds: bool = False, key: bytes | None = None) -> SignatureCase:
        spki = ED_PREFIX + (key or ED_KEY.encode())
        return SignatureCase(name, spki, data, holds, Algorithm.ED25519)

    yield case("honest", signature, holds=True)
    for name, value in {
        "0": 0,
        "1": 1,
        "L": L,
        "L - 1": L - 1,
        "S + L": s + L,
        "S + 2 L": s + 2 * L,
        "-S": L - s,
    }.items():
        yield case(f"S is {name}", ed_signature(first, value))
    yield case("S has its highest bit set", first + (s | 1 << 255).to_bytes(32, "little"))
    yield case("S of all ones", first + b"\xff" * 32)
    for name, data in {
        "nothing": b"",
        "R alone": first,
        "63 bytes": signature[:63],
        "65 bytes": signature + b"\0",
    }.items():
        yield case(name, data)
    yield case("twice over", signature * 2)
    yield case("S before R", signature[32:] + first)
    yield case("S big-endian", first + signature[32:][::-1])
    yield case("R of all ones", b"\xff" * 32 + signature[32:])
    yield case("R is no point", (2).to_bytes(32, "little") + signature[32:])
    yield case("R with the other sign", first[:31] + bytes([first[31] ^ 0x80]) + signature[32:])
    yield case("another message", ed_honest(MESSAGE + b"."))
    yield case("Ed25519ctx, another variant", ed_honest(domain=b"SigEd25519 no Ed25519 collisions\x00\x01c"))
    yield case("Ed25519ph, another variant", ed_honest(domain=b"SigEd25519 no Ed25519 collisions\x01\x00"))
    yield case("another key", signature, key=(5 * BASE).encode())
    yield from ed_special_points(case)


def ed_special_points(case) -> Iterator[SignatureCase]:
    """Yield cases whose R or key has a part of small order, on which verifiers with and without cofactor differ."""

    def closing(first: bytes, key: bytes, r: int = 0) -> bytes:
        return ed_signature(first, (r + challenge(first, key, MESSAGE) * SCALAR) % L)

    own, neutral = ED_KEY.encode(), Ed(0, 1).encode()
    # OpenSSL lets it hold, which is why we ask first.
    yield case(NEUTRAL_R, closing(neutral, own))
    twice_spelled = (Q + 1).to_bytes(32, "little")
    yield case("R is the neutral element, spelled beyond the field", closing(twice_spelled, own))
    signed = (1 | 1 << 255).to_bytes(32, "little")
    yield case("R is the neutral element with a sign", closing(signed, own))
    yield case("R is of order 8, which a cofactor would hide", closing(TORSION.encode(), own))
    mixed_first = (K * BASE + TORSION).encode()
    yield case("R has a part of order 8", closing(mixed_first, own, K))
    mixed = (ED_KEY + TORSION).encode()
    for wanted, holds in ((True, True), (False, False)):
        for k in count(1):
            first = (k * BASE).encode()
            if (challenge(first, mixed, MESSAGE) % 8 == 0) == wanted:
                name = f"a key with a part of order 8, which {'falls out' if wanted else 'stays'}"
                yield case(name, closing(first, mixed, k), holds=holds, key=mixed)
                break


def signature_cases() -> list[SignatureCase]:
    """Return all signature cases."""
    return [*ecdsa_cases(), ecdsa_sign_bits(), *ecdsa_made_keys(), *ed_cases()]


def p256_key_cases() -> Iterator[KeyCase]:
    """Yield keys for ECDSA on P-256."""
    x, y = KEY
    raw = p256_spki(KEY)[-65:]
    algorithm_only = tlv(0x30, EC_KEY + CURVES["p256"])

    def case(name: str, spki: bytes, code: str | None = "BAD_KEY") -> KeyCase:
        return KeyCase(name, spki, Algorithm.ECDSA_P256, code)

    yield case("honest", p256_spki(KEY), None)
    yield case("the generator", p256_spki(G), None)
    yield case("off the curve by one", p256_spki((x, y + 1)))
    yield case("a point of the twist", p256_spki((next(n for n in count(1) if lift(n) is None), 1)))
    yield case("(0, 0)", p256_spki((0, 0)))
    yield case("x beyond the field", p256_spki((P + 5, lift(5)[1])))
    yield case("y beyond the field", p256_spki((next(n for n in count(1) if lift(n)), P)))
    yield case("the point at infinity", ec_spki(b"\0", CURVES["p256"]))
    yield case("compressed, another spelling", ec_spki(bytes([2 + (y & 1)]) + raw[1:33], CURVES["p256"]))
    yield case("hybrid, another spelling", ec_spki(bytes([6 + (y & 1)]) + raw[1:], CURVES["p256"]))
    yield case("hybrid with the wrong parity", ec_spki(bytes([7 - (y & 1)]) + raw[1:], CURVES["p256"]))
    yield case("a coordinate too short", ec_spki(raw[:-1], CURVES["p256"]))
    yield case("a coordinate too long", ec_spki(raw + b"\0", CURVES["p256"]))
    yield case("the right point under another curve's name", p256_spki(KEY, "secp256k1"))
    yield case("no curve", ec_spki(raw, b""))
    yield case("a null for a curve", ec_spki(raw, b"\x05\0"))
    yield case("a bit unused", tlv(0x30, algorithm_only + bits(raw, 1)))
    yield case("a byte after it", p256_spki(KEY) + b"\0")
    yield case("a byte at its end", tlv(0x30, algorithm_only + bits(raw) + b"\0"))
    yield case("length in two bytes", bytes([0x30, 0x81]) + p256_spki(KEY)[1:])
    yield case("the bare point", raw)
    yield case("an Ed25519 key", ED_PREFIX + ED_KEY.encode(), "KEY_ALGORITHM")
    yield case("nothing", b"")


def ed_key_cases() -> Iterator[KeyCase]:
    """Yield keys for Ed25519."""
    own = ED_KEY.encode()

    def case(name: str, spki: bytes, code: str | None = "BAD_KEY") -> KeyCase:
        return KeyCase(name, spki, Algorithm.ED25519, code)

    yield case("honest", ED_PREFIX + own, None)
    yield case("the base point", ED_PREFIX + BASE.encode(), None)
    yield case("with a part of order 8, which somebody can own", ED_PREFIX + (ED_KEY + TORSION).encode(), None)
    for number in range(8):
        yield case(f"{number} times a point of order 8", ED_PREFIX + (number * TORSION).encode(), "WEAK_KEY")
    for beyond in range(19):
        for sign in (0, 1):
            raw = (Q + beyond | sign << 255).to_bytes(32, "little")
            yield case(f"y is p + {beyond}, sign {sign}", ED_PREFIX + raw)
    for y in (1, Q - 1):
        yield case(
            f"x is 0 with a sign, y is {'1' if y == 1 else '-1'}", ED_PREFIX + (y | 1 << 255).to_bytes(32, "little")
        )
    nowhere = next(y for y in count(2) if ed_lift(y, 0) is None)
    yield case("no point", ED_PREFIX + nowhere.to_bytes(32, "little"))
    yield case("31 bytes", bytes.fromhex("3029300506032b6570032000") + own[:31])
    yield case("33 bytes", bytes.fromhex("302b300506032b6570032200") + own + b"\0")
    yield case("a bit unused", ED_PREFIX[:-1] + b"\x01" + own)
    yield case("with parameters", bytes.fromhex("302c300706032b65700500032100") + own)
    yield case("as X25519", bytes.fromhex("302a300506032b656e032100") + own, "KEY_ALGORITHM")
    yield case("a byte after it", ED_PREFIX + own + b"\0")
    yield case("length in two bytes", bytes.fromhex("30812a") + ED_PREFIX[2:] + own)
    yield case("the bare point", own)
    yield case("a P-256 key", p256_spki(KEY), "KEY_ALGORITHM")


def key_cases() -> list[KeyCase]:
    """Return all key cases."""
    return [*p256_key_cases(), *ed_key_cases()]
