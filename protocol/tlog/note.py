"""C2SP signed notes: a text, and below it lines in which named keys sign it.

The rules (c2sp.org/signed-note):
1. The note is UTF-8 without control characters except newline; the text ends with a newline, a blank line follows, then
   one signature line a signature: an em dash, a space, the key's name, a space, base64 of the 4-byte key id and the
   signature.
2. A line by a known key (name and id) must hold, or the note is refused; a line by an unknown key says nothing.
3. A key counts once, however many lines it has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from protocol.attestation.digest import sha256
from protocol.attestation.encoding import b64decode, b64encode
from protocol.attestation.keys import ED25519_SIGNATURE_BYTES, PublicKey, Signer, ed25519_key
from protocol.attestation.refusal import refuse
from protocol.attestation.sigstore_bundle import MAX_NOTE_BYTES
from protocol.errors import VerificationError

MAX_NOTE_SIGNATURES = 64  # the specification asks readers for at least 16
MAX_KEY_NAME = 256
KEY_ID_BYTES = 4
ED25519_TYPE = 0x01

_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")
_SIGNATURE_LINE = re.compile(r"— (\S+) ([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: whose it claims to be, and the bytes after the key id."""

    name: str
    key_id: bytes
    signature: bytes

    def to_line(self) -> str:
        """Return the line with its newline."""
        return f"— {self.name} {b64encode(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text, whose bytes the keys sign, and its signature lines."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def to_bytes(self) -> bytes:
        """Return the bytes of the note."""
        return self.text + b"\n" + "".join(item.to_line() for item in self.signatures).encode("utf-8")


class NoteKey(Protocol):
    """A key that can check its own signature lines."""

    @property
    def name(self) -> str:
        """The name in front of the signature."""

    @property
    def key_id(self) -> bytes:
        """The first four bytes of `full_key_id`, as a line carries them."""

    def check(self, text: bytes, signature: bytes) -> int | None:
        """Return the time that the signature vouches for (Unix seconds), None if it vouches for none; or refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKey:
    """An Ed25519 key that signs notes as they are (type 0x01), such as a log's."""

    name: str
    public_key: PublicKey

    @property
    def full_key_id(self) -> bytes:
        """The 32 bytes from which the key id is cut; Sigstore's `logId`."""
        return full_key_id(self.name, ED25519_TYPE, self.public_key.raw)

    @property
    def key_id(self) -> bytes:
        """The four bytes in a signature line."""
        return self.full_key_id[:KEY_ID_BYTES]

    def check(self, text: bytes, signature: bytes) -> int | None:
        """Return None if the signature over the text holds; VerificationError BAD_SIGNATURE if not."""
        if len(signature) != ED25519_SIGNATURE_BYTES:
            raise _malformed(f"a signature of {len(signature)} bytes", f"{ED25519_SIGNATURE_BYTES} bytes")
        self.public_key.verify(signature, text)
        return None

    def sign(self, text: bytes, signer: Signer) -> NoteSignature:
        """Return the line in which the key's owner signs the text."""
        return NoteSignature(name=self.name, key_id=self.key_id, signature=signer.sign(text))

    def to_vkey(self) -> str:
        """Return the key as a verifier key line."""
        return format_vkey(self.name, ED25519_TYPE, self.public_key.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLine:
    """A known key that signed, and the time that it vouches for, if it vouches for one."""

    name: str
    key_id: bytes
    timestamp: int | None


def full_key_id(name: str, kind: int, raw: bytes) -> bytes:
    """Return SHA-256 over the name, a newline, the signature type and the key, of which a key id is the beginning."""
    return sha256(name.encode("utf-8") + b"\n" + bytes([kind]) + raw)


def format_vkey(name: str, kind: int, raw: bytes) -> str:
    """Return a verifier key: name, hexadecimal key id, and base64 of type and key, joined by plus signs."""
    key_id = full_key_id(name, kind, raw)[:KEY_ID_BYTES]
    return f"{name}+{key_id.hex()}+{b64encode(bytes([kind]) + raw)}"


def parse_vkey(text: str) -> tuple[str, int, PublicKey]:
    """Return name, signature type and key of a verifier key; VerificationError BAD_VKEY, WEAK_KEY or BAD_KEY."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    if not is_key_name(name):
        raise refuse("BAD_VKEY", observed=repr(text[:80]), expected="name+id+key")
    decoded = b64decode(encoded)
    if len(decoded) < 1:
        raise refuse("BAD_VKEY", observed=repr(text[:80]), expected="a signature type and a key")
    kind, key = decoded[0], ed25519_key(decoded[1:])
    if format_vkey(name, kind, key.raw) != text:
        raise refuse("BAD_VKEY", observed=f"the id {key_id[:16]!r}", expected="the id that follows from name and key")
    return name, kind, key


def is_key_name(name: str) -> bool:
    """Tell whether the text can name a key: not empty, bounded, without spaces and plus signs."""
    return 0 < len(name) <= MAX_KEY_NAME and name.isprintable() and not any(c.isspace() or c == "+" for c in name)


def parse_note(data: bytes) -> Note:
    """Read a note; VerificationError MALFORMED_NOTE for anything that is not one, before a key is asked."""
    if len(data) > MAX_NOTE_BYTES:
        raise _malformed(f"{len(data)} bytes", f"at most {MAX_NOTE_BYTES} bytes")
    if _CONTROL.search(data):
        raise _malformed("a control character", "text and newlines")
    split = data.rfind(b"\n\n")
    if split < 1 or not data.endswith(b"\n") or len(data) == split + 2:
        raise _malformed("no text, blank line and signatures", "a text, a blank line and signature lines")
    try:
        data[: split + 1].decode("utf-8")
        lines = data[split + 2 : -1].decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("bytes that are not UTF-8", "UTF-8") from error
    if len(lines) > MAX_NOTE_SIGNATURES:
        raise _malformed(f"{len(lines)} signatures", f"at most {MAX_NOTE_SIGNATURES}")
    return Note(text=data[: split + 1], signatures=tuple(_parse_line(line) for line in lines))


def verify_note(note: Note, keys: Sequence[NoteKey]) -> tuple[VerifiedLine, ...]:
    """Return which of the keys signed, each once; VerificationError BAD_SIGNATURE if a line by one of them fails.

    Of several lines by one key all must hold, and the earliest time counts. Lines by other keys are ignored here; a
    bundle, which must have none, asks `unknown_lines`.
    """
    verified: dict[tuple[str, bytes], VerifiedLine] = {}
    for line in note.signatures:
        for key in keys:
            if (key.name, key.key_id) != (line.name, line.key_id):
                continue
            found = VerifiedLine(name=key.name, key_id=key.key_id, timestamp=key.check(note.text, line.signature))
            before = verified.setdefault((key.name, key.key_id), found)
            if (found.timestamp or 0) < (before.timestamp or 0):
                verified[key.name, key.key_id] = found
    return tuple(verified.values())


def unknown_lines(note: Note, keys: Sequence[NoteKey]) -> tuple[NoteSignature, ...]:
    """Return the signature lines that belong to none of the keys, and every second line of one that does."""
    known = {(key.name, key.key_id) for key in keys}
    left = []
    for line in note.signatures:
        if (line.name, line.key_id) in known:
            known.remove((line.name, line.key_id))
        else:
            left.append(line)
    return tuple(left)


def _parse_line(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None or not is_key_name(match[1]):
        raise _malformed(repr(line[:60]), "an em dash, a key name and base64")
    data = b64decode(match[2])
    if len(data) <= KEY_ID_BYTES:
        raise _malformed(f"{len(data)} bytes of signature", "a key id and a signature")
    return NoteSignature(name=match[1], key_id=data[:KEY_ID_BYTES], signature=data[KEY_ID_BYTES:])


def _malformed(observed: str, expected: str) -> VerificationError:
    return refuse("MALFORMED_NOTE", observed=observed, expected=expected)
