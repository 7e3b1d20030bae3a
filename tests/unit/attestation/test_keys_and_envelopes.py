"""Keys at the door, and DSSE envelopes over exact bytes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from protocol.attestation.encoding import b64decode, b64encode
from protocol.attestation.envelope import Envelope, pae, read_envelope, sign
from protocol.attestation.fields import Fields
from protocol.attestation.keys import Algorithm, ed25519_key, public_key
from protocol.errors import VerificationError
from tests.unit.attestation.key_maker import ed_signer, p256_signer

SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
NOT_CANONICAL = [
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # y = p + 1, which is 1 again
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",  # y = p, which is 0 again
    "0100000000000000000000000000000000000000000000000000000000000080",  # x = 0 with a sign
    "0200000000000000000000000000000000000000000000000000000000000000",  # no point has this y
]


@pytest.mark.parametrize("raw", SMALL_ORDER)
def test_a_small_order_key_is_refused_although_a_forgery_verifies_under_it(raw):
    with pytest.raises(VerificationError) as caught:
        ed25519_key(bytes.fromhex(raw))
    assert caught.value.code == "WEAK_KEY"


def test_the_forgery_that_makes_the_rule_necessary():
    weak = Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER[0]))
    weak.verify(bytes.fromhex(SMALL_ORDER[0]) + bytes(32), b"nobody signed this")


@pytest.mark.parametrize("raw", NOT_CANONICAL)
def test_a_key_that_is_no_canonical_point_is_refused(raw):
    with pytest.raises(VerificationError) as caught:
        ed25519_key(bytes.fromhex(raw))
    assert caught.value.code == "BAD_KEY"


@given(st.binary(min_size=32, max_size=32))
def test_every_key_that_can_be_made_is_accepted(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert ed25519_key(key.public_bytes_raw()).raw == key.public_bytes_raw()


def test_the_algorithm_is_the_enrolled_one_and_not_the_artifacts():
    for spki, algorithm in (
        (ed_signer(1).public_key.spki, Algorithm.ECDSA_P256),
        (p256_signer().public_key.spki, Algorithm.ED25519),
        (_p384(), Algorithm.ECDSA_P256),
    ):
        with pytest.raises(VerificationError) as caught:
            public_key(spki, algorithm)
        assert caught.value.code == "KEY_ALGORITHM"


@pytest.mark.parametrize("spki", [b"", b"\x30", ed_signer(1).public_key.spki + b"\0", bytes(300)])
def test_bytes_that_are_no_canonical_key_are_refused(spki):
    with pytest.raises(VerificationError) as caught:
        public_key(spki, Algorithm.ED25519)
    assert caught.value.code == "BAD_KEY"


def test_pae_is_the_dsse_specifications_example():
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_pae_counts_bytes_and_not_characters():
    assert pae("\u20ac", b"") == b"DSSEv1 3 \xe2\x82\xac 0 "


@pytest.mark.parametrize("signer", [ed_signer(2), p256_signer()], ids=["ed25519", "p256"])
def test_a_signature_holds_for_its_payload_and_no_other(signer):
    envelope = sign("application/vnd.in-toto+json", b"{}", signer)
    envelope.verify(signer.public_key)
    again = read_envelope(Fields(_lists(envelope.to_json()), "x"), payload_type=envelope.payload_type)
    assert again == envelope
    changed = Envelope(payload_type=envelope.payload_type, payload=b"{ }", signatures=envelope.signatures)
    for wrong, key in ((changed, signer.public_key), (envelope, ed_signer(3).public_key)):
        with pytest.raises(VerificationError) as caught:
            wrong.verify(key)
        assert caught.value.code == "BAD_SIGNATURE"


def test_a_statement_has_exactly_one_signature():
    envelope = sign("t", b"x", ed_signer(2))
    for signatures in ((), envelope.signatures * 2):
        with pytest.raises(VerificationError) as caught:
            Envelope(payload_type="t", payload=b"x", signatures=signatures).verify(ed_signer(2).public_key)
        assert caught.value.code == "BAD_SIGNATURE_COUNT"


def test_an_envelope_of_another_payload_type_or_with_more_fields_is_refused():
    value = _lists(sign("t", b"x", ed_signer(2)).to_json())
    for wrong in ({**value, "payloadType": "u"}, {**value, "more": 1}, {**value, "payload": "eA"}):
        with pytest.raises(VerificationError):
            read_envelope(Fields(wrong, "x"), payload_type="t")


@given(st.binary(max_size=40))
def test_base64_has_one_spelling(data):
    assert b64decode(b64encode(data)) == data


@pytest.mark.parametrize(
    "text", ["eA", "eB==", "eA= =", "eA==\n", "e-_=", "eA===", "\u0435A==", "====", "eHg", "e\uff21=="]
)
def test_other_spellings_of_base64_are_refused(text):
    with pytest.raises(VerificationError) as caught:
        b64decode(text)
    assert caught.value.code == "BAD_BASE64"


def _p384() -> bytes:
    return generate_private_key(SECP384R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _lists(value):
    return {**value, "signatures": list(value["signatures"])}
