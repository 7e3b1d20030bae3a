"""Opened leaves: single answers of a run, shown to an auditor who drew them, and how they are checked.

Format `jouleseal-openings/1`: JSON lines, each canonical (RFC 8785) and ended by one newline. The first is the header
`{"format":"jouleseal-openings/1"}`; every other one is a leaf:

    {"answer":<base64>,"outcome":<hex>,"place":17,"proof":[<hex>, ...],"run":1,"salt":<hex>}

The rules:
1. `outcome` is the id of the session's outcome, `place` the leaf's index in the tree of run `run`: pass times the
   number of points, plus the point. `answer` is the serialised `Answer` message, `proof` the RFC 6962 inclusion proof.
2. A leaf is checked against the root and the number of leaves in the *signed* outcome, never against its own word.
3. Lines are ordered by outcome, run and place, and none stands there twice.
4. An auditor draws with a seed of their own, made after the result was logged (a later checkpoint's hash will do): rule
   `sha256-draw-leaves/1`. Number n of the stream is the first 8 bytes of SHA-256("jouleseal/open-leaves/v1" 0x00 ||
   seed || outcome (32 bytes) || run (u32) || n (u64)), big-endian; numbers beyond the largest multiple of the number of
   leaves are passed over, the rest are taken modulo it, and a place that was drawn before is passed over too.
5. Answers that are labels can be compared with references. `top_label` reads just that much of the message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol.attestation import responses
from protocol.attestation.encoding import b64encode
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import MAX_JSON_BYTES, dumps, loads_canonical
from protocol.attestation.refusal import refuse
from protocol.errors import VerificationError
from protocol.tlog.merkle import Tree, leaf_hash, verify_inclusion

OPENINGS_FORMAT = "jouleseal-openings/1"
DRAW_RULE = "sha256-draw-leaves/1"
MAX_OPENINGS_BYTES = 256 << 20  # a thousand answers of a picture each
MAX_OPENINGS = 100_000
MAX_PROOF = 64  # hashes: the height of a tree of 2^64 leaves
SEED_BYTES = 32
_DRAW_PREFIX = b"jouleseal/open-leaves/v1\x00"
_U64 = 1 << 64

_LABELS, _ERROR = 4, 8  # fields of `Answer`
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MAX_VARINT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One opened leaf; `outcome` is hexadecimal, salt, answer and proof are raw bytes."""

    outcome: str
    run: int
    place: int
    salt: bytes
    answer: bytes
    proof: tuple[bytes, ...]

    @property
    def at(self) -> tuple[str, int, int]:
        """Which leaf it is, in the order of the file."""
        return (self.outcome, self.run, self.place)

    def to_line(self) -> bytes:
        """Return its line."""
        return (
            dumps(
                {
                    "outcome": self.outcome,
                    "run": self.run,
                    "place": self.place,
                    "salt": self.salt.hex(),
                    "answer": b64encode(self.answer),
                    "proof": [value.hex() for value in self.proof],
                }
            )
            + b"\n"
        )

    def check(self, *, root: str, leaves: int) -> None:
        """Return if the leaf is in the tree of that root; VerificationError LEAF_NOT_COMMITTED if it is not."""
        data = responses.leaf(self.salt, self.run, self.place, self.answer)
        try:
            verify_inclusion(
                leaf=leaf_hash(data),
                index=self.place,
                size=leaves,
                proof=self.proof,
                root=bytes.fromhex(root),
            )
        except VerificationError as error:
            raise refuse(
                "LEAF_NOT_COMMITTED",
                observed=f"place {self.place} of run {self.run}: {error.observed}",
                expected=f"a leaf of the signed root {root}",
                hint="this is not the answer that was given when the run was measured",
            ) from error


def write_openings(openings: Iterable[Opening]) -> bytes:
    """Return the file of these leaves."""
    lines = [opening.to_line() for opening in sorted(openings, key=lambda opening: opening.at)]
    return dumps({"format": OPENINGS_FORMAT}) + b"\n" + b"".join(lines)


def parse_openings(data: bytes) -> tuple[Opening, ...]:
    """Read a file of opened leaves, whatever tree they belong to; VerificationError where a rule is broken."""
    if len(data) > MAX_OPENINGS_BYTES or not data.endswith(b"\n"):
        raise refuse(
            "BAD_OPENINGS",
            observed=f"{len(data)} bytes, or a file that is cut off",
            expected=f"at most {MAX_OPENINGS_BYTES} bytes of whole lines",
        )
    if data.count(b"\n") > MAX_OPENINGS + 1:
        raise refuse("BAD_OPENINGS", observed="more lines", expected=f"at most {MAX_OPENINGS} leaves")
    head, *lines = data[:-1].split(b"\n")
    header = Fields(loads_canonical(head), "openings")
    header.one_of("format", (OPENINGS_FORMAT,))
    header.done()
    found = tuple(_read(line, number) for number, line in enumerate(lines, 2))
    places = [opening.at for opening in found]
    if places != sorted(set(places)):
        raise refuse("BAD_OPENINGS", observed="leaves out of order or twice", expected="each leaf once, in order")
    return found


def open_leaves(
    secret: bytes, outcome: str, run: int, answers: Mapping[int, bytes], places: Iterable[int]
) -> tuple[Opening, ...]:
    """Return the opened leaves of a run from what its operator kept: the session's secret and every answer by place.

    VerificationError NO_SUCH_LEAF for a place that the run does not have.
    """
    salts = {place: responses.salt(secret, run, place) for place in sorted(answers)}
    tree = Tree(leaf_hash(responses.leaf(salt, run, place, answers[place])) for place, salt in salts.items())
    found = []
    for place in places:
        if place not in answers:
            raise refuse(
                "NO_SUCH_LEAF",
                observed=f"place {place} of run {run}",
                expected=f"0 to {len(answers) - 1}",
                hint="draw the leaves from the outcome of this session",
            )
        found.append(
            Opening(
                outcome=outcome,
                run=run,
                place=place,
                salt=salts[place],
                answer=answers[place],
                proof=tuple(tree.inclusion(place, tree.size)),
            )
        )
    return tuple(found)


def drawn_places(seed: bytes, outcome: str, run: int, leaves: int, count: int) -> tuple[int, ...]:
    """Return `count` places of a run, or all where there are fewer, in order, under a 32-byte seed (rule 4)."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed of {len(seed)} bytes")
    prefix = _DRAW_PREFIX + seed + bytes.fromhex(outcome) + run.to_bytes(4, "big")
    found: set[int] = set()
    fair = _U64 - _U64 % leaves if leaves else 0
    number = 0
    while len(found) < min(count, leaves):
        value = int.from_bytes(hashlib.sha256(prefix + number.to_bytes(8, "big")).digest()[:8], "big")
        number += 1
        if value < fair:
            found.add(value % leaves)
    return tuple(sorted(found))


def top_label(answer: bytes) -> str | None:
    """Return the first label of an `Answer` message, "" for an error or no label, None for another kind of answer.

    VerificationError BAD_ANSWER where the bytes are no protobuf message.
    """
    fields = dict(_protobuf(answer))  # a singular field that comes twice counts as its last one
    if _ERROR in fields:
        return ""
    if _LABELS not in fields:
        return None
    labels = [value for number, value in _protobuf(fields[_LABELS]) if number == 1]
    if not labels:
        return ""
    names = [value for number, value in _protobuf(labels[0]) if number == 1]
    try:
        return names[-1].decode("utf-8") if names else ""
    except UnicodeDecodeError as error:
        raise _bad_answer("a label that is not UTF-8") from error


def accuracy_of(openings: Sequence[Opening], references: Sequence[str]) -> tuple[int, int]:
    """Return how many of the opened answers are right, and how many could be compared; `references` are by point."""
    labels = [(top_label(opening.answer), opening.place % len(references)) for opening in openings]
    comparable = [(label, point) for label, point in labels if label is not None]
    return sum(label == references[point] for label, point in comparable), len(comparable)


def _read(line: bytes, number: int) -> Opening:
    fields = Fields(loads_canonical(line), f"line {number}")
    proof = fields.texts("proof", limit=MAX_PROOF)
    opening = Opening(
        outcome=fields.sha256("outcome"),
        run=fields.integer("run", minimum=1, maximum=(1 << 32) - 1),
        place=fields.integer("place", maximum=(1 << 32) - 1),
        salt=bytes.fromhex(fields.sha256("salt")),
        answer=fields.base64("answer", limit=MAX_JSON_BYTES),
        proof=tuple(bytes.fromhex(Fields({"hash": item}, f"line {number}.proof").sha256("hash")) for item in proof),
    )
    fields.done()
    return opening


def _protobuf(data: bytes) -> list[tuple[int, bytes]]:
    """Return (field number, bytes) of a message's fields; the bytes of a number are not interpreted."""
    found, at = [], 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, end = _varint(data, at)
        elif kind == _BYTES:
            size, at = _varint(data, at)
            end = at + size
        elif kind in {_FIXED64, _FIXED32}:
            end = at + (8 if kind == _FIXED64 else 4)
        else:
            raise _bad_answer(f"wire type {kind}")
        if end > len(data) or not number:
            raise _bad_answer("a field that is cut off")
        found.append((number, data[at:end]))
        at = end
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for position in range(_MAX_VARINT):
        if at + position >= len(data):
            break
        byte = data[at + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at + position + 1
    raise _bad_answer("a number that is cut off or too long")


def _bad_answer(observed: str) -> VerificationError:
    return refuse("BAD_ANSWER", observed=observed, expected="an `Answer` message of the wire")
