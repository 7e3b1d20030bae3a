"""A statement as a file: the Sigstore bundle v0.3 (sigstore/protobuf-specs), holding our envelope and its log entry.

The rules: a file has exactly one spelling, the RFC 8785 bytes of what was read from it, so that no byte can change
unnoticed; the key hint is bounded free text, selects nothing, and stands in the envelope again with the same text.
Nothing here is believed: whether the entry is in the log is for `protocol.tlog.entry` to say.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.attestation.digest import DIGEST_BYTES
from protocol.attestation.encoding import b64encode
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE, MAX_KEY_HINT, Envelope, read_envelope
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.refusal import refuse
from protocol.units import MIB

BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
LEAF_KIND = "hashedrekord"
LEAF_VERSION = "0.0.2"
MAX_PROOF_HASHES = 64  # one a level of a tree of 2^63 leaves, and one
MAX_BODY_BYTES = 65_535  # tlog-tiles frames an entry with a 16-bit length
MAX_NOTE_BYTES = MIB  # the bound that C2SP signed-note recommends

_BASE64_DIGEST = 44  # characters that a digest takes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Where the statement is said to be in the log, and why: hashes are 32 bytes each, `checkpoint` a signed note.

    `log_id` is the 32-byte id of the log's note key, `body` the leaf's bytes.
    """

    log_index: int
    log_id: bytes
    tree_size: int
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SigstoreBundle:
    """One statement: its envelope with one signature, and its entry in the log."""

    envelope: Envelope
    entry: LogEntry

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        entry = self.entry
        proof: dict[str, Json] = {
            "logIndex": str(entry.log_index),
            "rootHash": b64encode(entry.root_hash),
            "treeSize": str(entry.tree_size),
            "hashes": [b64encode(item) for item in entry.hashes],
            "checkpoint": {"envelope": entry.checkpoint.decode("utf-8")},
        }
        logged: dict[str, Json] = {
            "logIndex": str(entry.log_index),
            "logId": {"keyId": b64encode(entry.log_id)},
            "kindVersion": {"kind": LEAF_KIND, "version": LEAF_VERSION},
            "inclusionProof": proof,
            "canonicalizedBody": b64encode(entry.body),
        }
        hint = self.envelope.only_signature().key_hint
        return dumps(
            {
                "mediaType": BUNDLE_MEDIA_TYPE,
                "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": [logged]},
                "dsseEnvelope": self.envelope.to_json(),
            }
        )


def parse_sigstore_bundle(data: bytes) -> SigstoreBundle:
    """Read a statement file; VerificationError BAD_FIELD, NOT_CANONICAL, UNKNOWN_FIELD, NOT_LOGGED or BAD_HINT."""
    fields = Fields(loads_canonical(data), "bundle")
    fields.one_of("mediaType", (BUNDLE_MEDIA_TYPE,))
    envelope = read_envelope(fields.child("dsseEnvelope"), payload_type=IN_TOTO_PAYLOAD_TYPE)
    material = fields.child("verificationMaterial")
    key = material.child("publicKey")
    hint = key.free_text("hint", limit=MAX_KEY_HINT)
    key.done()
    entries = [_read_entry(item) for item in material.children("tlogEntries", limit=1)]
    material.done()
    fields.done()
    if hint != envelope.only_signature().key_hint:
        raise refuse("BAD_HINT", observed="two different key hints", expected="the same hint in both places")
    if len(entries) != 1:
        raise refuse("NOT_LOGGED", observed="no log entry", expected="exactly one")
    return SigstoreBundle(envelope=envelope, entry=entries[0])


def _read_entry(fields: Fields) -> LogEntry:
    kind = fields.child("kindVersion")
    kind.one_of("kind", (LEAF_KIND,))
    kind.one_of("version", (LEAF_VERSION,))
    kind.done()
    log_id = fields.child("logId")
    proof = fields.child("inclusionProof")
    checkpoint = proof.child("checkpoint")
    index = fields.natural_text("logIndex")
    if proof.natural_text("logIndex") != index:
        raise refuse("BAD_FIELD", observed="two different log indexes", expected="the same index in both places")
    entry = LogEntry(
        log_index=index,
        log_id=_digest(log_id, "keyId"),
        tree_size=proof.natural_text("treeSize"),
        root_hash=_digest(proof, "rootHash"),
        hashes=_hashes(proof),
        checkpoint=checkpoint.free_text("envelope", limit=MAX_NOTE_BYTES).encode("utf-8"),
        body=fields.base64("canonicalizedBody", limit=2 * MAX_BODY_BYTES),
    )
    for each in (log_id, checkpoint, proof, fields):
        each.done()
    return entry


def _hashes(proof: Fields) -> tuple[bytes, ...]:
    items = proof.array("hashes", limit=MAX_PROOF_HASHES)
    wrapped = (Fields({"hash": item}, f"{proof.at('hashes')}[{n}]") for n, item in enumerate(items))
    return tuple(_digest(item, "hash") for item in wrapped)


def _digest(fields: Fields, name: str) -> bytes:
    value = fields.base64(name, limit=_BASE64_DIGEST)
    if len(value) != DIGEST_BYTES:
        raise refuse("BAD_FIELD", observed=f"{fields.at(name)}: {len(value)} bytes", expected=f"{DIGEST_BYTES} bytes")
    return value
