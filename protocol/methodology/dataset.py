"""What a dataset is, how its points are drawn, and the one digest that stands for all of them.

Rules:
1. Draw rule `sha256-draw/1`: an id gets the key SHA-256(seed || 0x00 || id); the draw is the ids with the smallest
   keys, in the order of their keys. No generator is needed whose stream could differ between libraries.
2. The content of a point is its input and its reference, every part preceded by its length, so that no two different
   points have the same content.
3. Digest rule `jouleseal-dataset/1`: SHA-256 over the name of the rule, the number of points and the sorted SHA-256s of
   (source, id, size of the content, SHA-256 of the content) of every point. It does not depend on the points' order.
4. A private shard is logged as SHA-256(salt of 32 bytes || its digest of 32 bytes): whoever knows the pool of public
   points it comes from, and not the salt, cannot try which of them it holds.
5. A user's own dataset has a name that begins with OWN_PREFIX. It is measured and never rated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from protocol.methodology.tasks import Task
from protocol.samples import (
    AudioInput,
    ChatInput,
    ImageInput,
    Point,
    QuestionInput,
    SampleInput,
    TextInput,
    TextPairInput,
)

DIGEST_RULE = b"jouleseal-dataset/1"
DRAW_RULE = "sha256-draw/1"
THIRDS = (334, 333, 333)  # AI Energy Score: 1,000 points of a task from three sources in equal parts
SALT_BYTES = 32
OWN_PREFIX = "own-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The points of one task under one digest (64 hex digits).

    `warm_up` are points outside the set, asked before the first window and never scored. `sources` counts the points by
    the collection they come from; `thirds` is true where three collections share the set as THIRDS, without which no
    result can be certified. `licence` and `note` say whose data it is and what it is not.

    `pool` are further points outside set and warm-up, from which a private shard may be drawn; empty where there are
    none. `task` is None where a file of an earlier version does not say it. `attribution` names authors by source,
    `origin` says in free words of its own where the points came from (kind, packages, revision, digests of files).
    """

    name: str
    digest: str
    points: tuple[Point, ...]
    warm_up: tuple[Point, ...]
    sources: Mapping[str, int]
    thirds: bool
    licence: str
    note: str
    task: Task | None = None
    pool: tuple[Point, ...] = ()
    attribution: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    origin: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def own(self) -> bool:
        """Whether it is a user's own, which is measured and never rated."""
        return is_own(self.name)


def is_own(name: str) -> bool:
    """Say whether a dataset of that name is a user's own."""
    return name.startswith(OWN_PREFIX)


def draw(seed: str, ids: Iterable[str], count: int) -> list[str]:
    """Return `count` of the ids, drawn by the rule above under a seed; fewer where there are fewer."""
    prefix = seed.encode() + b"\x00"
    return sorted(ids, key=lambda point_id: hashlib.sha256(prefix + point_id.encode()).digest())[:count]


def _parts(asked: SampleInput) -> list[bytes]:
    match asked:
        case TextInput():
            return [asked.text.encode()]
        case ChatInput():
            return [part.encode() for turn in asked.messages for part in (turn.role.value, turn.content)]
        case QuestionInput():
            return [asked.question.encode(), asked.context.encode()]
        case TextPairInput():
            return [asked.first.encode(), asked.second.encode()]
        case ImageInput() | AudioInput():
            return [asked.content]


def _framed(parts: Iterable[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def point_content(point: Point) -> bytes:
    """Return the canonical bytes of a point's input and reference; an absent reference differs from an empty one."""
    parts = _parts(point.input)
    reference = [] if point.reference is None else [point.reference.encode()]
    return _framed([point.input.kind.value.encode(), len(parts).to_bytes(8, "big"), *parts, *reference])


def point_digest(point: Point) -> str:
    """Return the hex SHA-256 of the point's content."""
    return hashlib.sha256(point_content(point)).hexdigest()


def dataset_digest(points: Iterable[Point]) -> str:
    """Return the hex digest of a set of points, by the rule above."""
    return digest_of_identities(identity_of(point) for point in points)


def identity_of(point: Point) -> bytes:
    """Return the SHA-256 of (source, id, size of the content, SHA-256 of the content) of a point, 32 bytes."""
    content = point_content(point)
    return identity(point.source, point.point_id, len(content), hashlib.sha256(content).digest())


def identity(source: str, point_id: str, size: int, content_sha256: bytes) -> bytes:
    """Return the same from what is known of a point without its content; `size` in bytes, `content_sha256` raw."""
    parts = [source.encode(), point_id.encode(), size.to_bytes(8, "big"), content_sha256]
    return hashlib.sha256(_framed(parts)).digest()


def digest_of_identities(identities: Iterable[bytes]) -> str:
    """Return the hex digest of a set of points from their identities, by the rule above."""
    leaves = sorted(identities)
    return hashlib.sha256(_framed([DIGEST_RULE, len(leaves).to_bytes(8, "big"), *leaves])).hexdigest()


def salted_digest(salt: bytes, digest: str) -> str:
    """Return the hex digest that is logged for a private shard with this dataset digest, by the rule above."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt of {len(salt)} bytes")
    return hashlib.sha256(salt + bytes.fromhex(digest)).hexdigest()


def source_counts(points: Iterable[Point]) -> dict[str, int]:
    """Return how many points come from each source, by the source's name."""
    counts: dict[str, int] = {}
    for point in points:
        counts[point.source] = counts.get(point.source, 0) + 1
    return dict(sorted(counts.items()))


def shares_in_thirds(counts: Mapping[str, int]) -> bool:
    """Say whether three sources share the set as THIRDS."""
    return tuple(sorted(counts.values(), reverse=True)) == THIRDS
