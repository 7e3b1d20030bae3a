"""The root of trust: TUF root metadata (TUF specification 1.0, section 4.3), judged without a clock or a network.

The rules:
1. The auditor pins one root by the SHA-256 of its file; a chain of roots leads from it, each next version signed by a
   threshold of the one before and by a threshold of its own.
2. Thresholds count public keys, never key ids or signatures: a key id is the SHA-256 of the key's SPKI, computed here.
3. A root file has exactly one spelling (OLPC canonical JSON, as TUF signs it), and every signature in it must hold.
4. Expiry is told and not judged here: an old bundle is judged at the time when it was witnessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from protocol.attestation.digest import sha256_hex
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, loads
from protocol.attestation.keys import MAX_SIGNATURE_BYTES, Algorithm, PublicKey, Signer, ed25519_key, public_key
from protocol.attestation.refusal import refuse
from protocol.units import MIB

SPEC_VERSION = "1.0.31"
MAX_ROOT_BYTES = MIB  # a root with sixteen keys is under 10 kB
MAX_ROOT_KEYS = 64
MAX_ROOTS = 64  # a yearly rotation for a lifetime

ROOT_ROLE = "root"
TARGETS_ROLE = "targets"  # in our domain: who may sign the keyring
ROLES = (ROOT_ROLE, "snapshot", TARGETS_ROLE, "timestamp")  # TUF requires all four to be named

_MAX_PEM = 512
_TUF_TYPES = {Algorithm.ED25519: ("ed25519", "ed25519"), Algorithm.ECDSA_P256: ("ecdsa", "ecdsa-sha2-nistp256")}


@dataclass(frozen=True, slots=True, kw_only=True)
class RootRole:
    """Which keys may speak for a role, and how many of them must."""

    key_ids: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One version of the root of trust, and the signatures under it as (key id, signature)."""

    version: int
    expires: str
    keys: Mapping[str, PublicKey]
    roles: Mapping[str, RootRole]
    signed_bytes: bytes
    signatures: tuple[tuple[str, bytes], ...]
    fingerprint: str

    def role_keys(self, role: str) -> dict[str, PublicKey]:
        """Return the keys of a role by their ids."""
        return {key_id: self.keys[key_id] for key_id in self.roles[role].key_ids}

    def check_threshold(self, role: str, signatures: Sequence[tuple[str, bytes]], message: bytes) -> tuple[str, ...]:
        """Return the ids of the role's keys that signed the message; VerificationError BELOW_THRESHOLD for too few.

        A signature by a key of the role must hold (BAD_SIGNATURE); one by another key is not counted.
        """
        keys = self.role_keys(role)
        signed: set[str] = set()
        for key_id, signature in signatures:
            if key_id in keys:
                keys[key_id].verify(signature, message)
                signed.add(key_id)
        if len(signed) < self.roles[role].threshold:
            raise refuse(
                "BELOW_THRESHOLD",
                observed=f"{len(signed)} keys of the role {role} signed",
                expected=f"at least {self.roles[role].threshold} different ones",
            )
        return tuple(sorted(signed))


def tuf_canonical(value: Json) -> bytes:
    """Return OLPC canonical JSON, which TUF signs: RFC 8785, but strings escape only quote and backslash."""
    if isinstance(value, str):
        return b'"' + value.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8") + b'"'
    if isinstance(value, Mapping):
        parts = (tuf_canonical(name) + b":" + tuf_canonical(value[name]) for name in sorted(value))
        return b"{" + b",".join(parts) + b"}"
    if isinstance(value, Sequence):
        return b"[" + b",".join(tuf_canonical(item) for item in value) + b"]"
    if value is None or isinstance(value, bool):
        return {None: b"null", True: b"true", False: b"false"}[value]
    return b"%d" % value


def root_fingerprint(data: bytes) -> str:
    """Return what an auditor pins: the SHA-256 of the root file in hexadecimal."""
    return sha256_hex(data)


def build_root(
    *, version: int, expires: str, roles: Mapping[str, tuple[Sequence[PublicKey], int]], signers: Sequence[Signer]
) -> bytes:
    """Return the bytes of a root file with these roles (keys and threshold of each), signed by the signers."""
    keys = {key.key_id: _tuf_key(key) for members, _ in roles.values() for key in members}
    signed: dict[str, Json] = {
        "_type": "root",
        "consistent_snapshot": True,
        "expires": expires,
        "keys": keys,
        "roles": {
            name: {"keyids": sorted(key.key_id for key in members), "threshold": threshold}
            for name, (members, threshold) in roles.items()
        },
        "spec_version": SPEC_VERSION,
        "version": version,
    }
    message = tuf_canonical(signed)
    pairs = sorted((signer.public_key.key_id, signer.sign(message).hex()) for signer in signers)
    return _root_file(signed, [{"keyid": key_id, "sig": signature} for key_id, signature in pairs])


def parse_root(data: bytes) -> Root:
    """Read a root file that has its one spelling and is signed by a threshold of its own root keys.

    VerificationError: BAD_FIELD, NOT_CANONICAL, WEAK_KEY, KEY_TWICE, BAD_SIGNATURE, UNKNOWN_SIGNER, BELOW_THRESHOLD.
    """
    root = read_root_draft(data)
    root.check_threshold(ROOT_ROLE, root.signatures, root.signed_bytes)
    return root


def add_root_signature(data: bytes, signer: Signer) -> bytes:
    """Return the root file with one more signature; a signer that signed before changes nothing.

    Whether the signer's key is one that counts is for whoever asks: it may be a key of the version before.
    """
    draft = read_root_draft(data)
    key_id = signer.public_key.key_id
    pairs = dict(draft.signatures)
    if key_id not in pairs:
        pairs[key_id] = signer.sign(draft.signed_bytes)
    signatures: Json = [{"keyid": each, "sig": signature.hex()} for each, signature in sorted(pairs.items())]
    return _root_file(Fields(_loads_tuf(data), "root").json_object("signed"), signatures)


def read_root_draft(data: bytes) -> Root:
    """Read a root file that has its one spelling, however few have signed it; otherwise as `parse_root`."""
    whole = Fields(_loads_tuf(data), "root")
    signed_value = whole.json_object("signed")
    signature_values = list(whole.children("signatures", limit=MAX_ROOT_KEYS))
    signatures = tuple((item.sha256("keyid"), _hex_signature(item)) for item in signature_values)
    for item in signature_values:
        item.done()
    whole.done()
    root = _read_signed(Fields(signed_value, "root.signed"), signed_value, signatures, root_fingerprint(data))
    canonical = [{"keyid": key_id, "sig": signature.hex()} for key_id, signature in sorted(set(signatures))]
    if _root_file(signed_value, canonical) != data:
        raise refuse("NOT_CANONICAL", observed="another spelling of the root", expected="sorted canonical JSON")
    return root


def verify_chain(files: Sequence[bytes], fingerprint: str) -> Root:
    """Return the newest root of a chain that contains the pinned one; files are in order of their versions.

    VerificationError UNTRUSTED_ROOT where no file has the pinned fingerprint, ROOT_CHAIN where a version is missing, a
    link is not signed by a threshold of the version before it, or a signature belongs to nobody in either.
    """
    if not 1 <= len(files) <= MAX_ROOTS:
        raise refuse("ROOT_CHAIN", observed=f"{len(files)} root files", expected=f"1 to {MAX_ROOTS}")
    roots = [parse_root(data) for data in files]
    if fingerprint not in [root.fingerprint for root in roots]:
        raise refuse(
            "UNTRUSTED_ROOT",
            observed=f"a root with fingerprint {roots[-1].fingerprint}",
            expected=f"the pinned root {fingerprint}",
            hint="take the root from its owner; if yours is right, this bundle is of another world",
        )
    _check_signers(roots[0], [])
    for before, after in pairwise(roots):
        if after.version != before.version + 1:
            raise refuse("ROOT_CHAIN", observed=f"version {after.version}", expected=f"version {before.version + 1}")
        before.check_threshold(ROOT_ROLE, after.signatures, after.signed_bytes)
        _check_signers(after, [before])
    return roots[-1]


def _check_signers(root: Root, before: list[Root]) -> None:
    known = {key_id for each in [root, *before] for key_id in each.roles[ROOT_ROLE].key_ids}
    for key_id, _ in root.signatures:
        if key_id not in known:
            raise refuse("UNKNOWN_SIGNER", observed=f"a signature by {key_id[:16]}", expected="root keys only")


def _read_signed(
    fields: Fields, value: Mapping[str, Json], signatures: tuple[tuple[str, bytes], ...], fingerprint: str
) -> Root:
    fields.one_of("_type", ("root",))
    fields.boolean("consistent_snapshot")
    fields.one_of("spec_version", (SPEC_VERSION,))
    named = fields.open_map("keys", limit=MAX_ROOT_KEYS)
    keys = {key_id: _read_key(named.child(key_id), key_id) for key_id in named.names()}
    roles = fields.child("roles")
    root = Root(
        version=fields.integer("version", minimum=1),
        expires=fields.moment("expires"),
        keys=keys,
        roles={name: _read_role(roles.child(name), keys) for name in ROLES},
        signed_bytes=tuf_canonical(value),
        signatures=signatures,
        fingerprint=fingerprint,
    )
    roles.done()
    fields.done()
    return root


def _read_role(fields: Fields, keys: Mapping[str, PublicKey]) -> RootRole:
    key_ids = fields.texts("keyids", limit=MAX_ROOT_KEYS)
    if len(set(key_ids)) != len(key_ids):
        raise refuse("KEY_TWICE", observed=f"{fields.at('keyids')} names a key twice", expected="each key once")
    if not set(key_ids) <= keys.keys():
        raise refuse("BAD_FIELD", observed=f"{fields.at('keyids')} names an absent key", expected="listed keys")
    threshold = fields.integer("threshold", minimum=1, maximum=max(1, len(key_ids)))
    fields.done()
    return RootRole(key_ids=key_ids, threshold=threshold)


def _read_key(fields: Fields, key_id: str) -> PublicKey:
    kinds = {kind: algorithm for algorithm, (kind, _) in _TUF_TYPES.items()}
    algorithm = kinds[fields.one_of("keytype", tuple(kinds))]
    fields.one_of("scheme", (_TUF_TYPES[algorithm][1],))
    value = fields.child("keyval")
    key = _key_from_text(value.free_text("public", limit=_MAX_PEM), algorithm)
    value.done()
    fields.done()
    if key.key_id != key_id or _tuf_key(key)["keyval"] != {"public": value.raw("public")}:
        raise refuse("BAD_KEY", observed=f"key {key_id[:80]!r}", expected=f"the id and spelling of {key.key_id}")
    return key


def _key_from_text(text: str, algorithm: Algorithm) -> PublicKey:
    try:
        if algorithm is Algorithm.ED25519:
            return ed25519_key(bytes.fromhex(text))
        pem = load_pem_public_key(text.encode("utf-8"))
        return public_key(pem.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), algorithm)
    except ValueError as error:
        raise refuse("BAD_KEY", observed=repr(text[:40]), expected=f"a public key for {algorithm.value}") from error


def _tuf_key(key: PublicKey) -> dict[str, Json]:
    kind, scheme = _TUF_TYPES[key.algorithm]
    text = key.raw.hex() if key.algorithm is Algorithm.ED25519 else key.to_pem()
    return {"keytype": kind, "scheme": scheme, "keyval": {"public": text}}


def _hex_signature(fields: Fields) -> bytes:
    text = fields.free_text("sig", limit=2 * MAX_SIGNATURE_BYTES)
    try:
        signature = bytes.fromhex(text)
    except ValueError as error:
        raise refuse("BAD_FIELD", observed=f"{fields.at('sig')}: {text[:20]!r}", expected="hexadecimal") from error
    return signature


def _root_file(signed: Json, signatures: Json) -> bytes:
    return tuf_canonical({"signatures": signatures, "signed": signed})


def _loads_tuf(data: bytes) -> object:
    """Read OLPC canonical JSON, where a newline inside a string (of a PEM key) stands for itself."""
    return loads(data.replace(b"\n", b"\\n"), limit=MAX_ROOT_BYTES)
