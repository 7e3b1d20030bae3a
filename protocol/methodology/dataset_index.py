"""The index of a dataset: every point by id, source, size and digest, so that an auditor recomputes digest and thirds.

File: canonical JSON lines (RFC 8785). The first says what it is, every other one is a point, in the dataset's order:

    {"format":"jouleseal-dataset-index/1","points":1000}
    {"id":"yelp-0642","sha256":<hex of the content>,"size":112,"source":"yelp"}

Rules:
1. `size` and `sha256` are those of the point's content (protocol.methodology.dataset, rule 2), so the digest of the set
   follows from the index by rule 3 there, and the shares of its sources by counting.
2. No id stands there twice, and a dataset has at least one point. Everything is bounded.
3. An index shows no point. Whoever has the dataset can find each point in it; nobody can find a point from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.attestation.fields import Fields
from protocol.attestation.jcs import dumps, loads_canonical
from protocol.attestation.refusal import refuse
from protocol.methodology import dataset
from protocol.samples import Point
from protocol.units import MIB

INDEX_FORMAT: Final = "jouleseal-dataset-index/1"
MEDIA_TYPE: Final = "application/vnd.jouleseal.dataset-index.v1+jsonl"
MAX_POINTS: Final = 100_000  # a hundred times the standard set
MAX_POINT_BYTES: Final = 64 * MIB  # four times the largest message share of any task
MAX_INDEX_BYTES: Final = 64 * MIB  # 100,000 lines of the longest names that are of any use


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """What the index says of one point; `size` in bytes, `sha256` in lower-case hexadecimal, both of the content."""

    point_id: str
    source: str
    size: int
    sha256: str

    @classmethod
    def of(cls, point: Point) -> IndexRow:
        """Return the row of a point."""
        content = dataset.point_content(point)
        digest = hashlib.sha256(content).hexdigest()
        return cls(point_id=point.point_id, source=point.source, size=len(content), sha256=digest)

    def to_line(self) -> bytes:
        """Return its line, with the line's end."""
        return dumps({"id": self.point_id, "source": self.source, "size": self.size, "sha256": self.sha256}) + b"\n"


def pack(points: Iterable[Point]) -> bytes:
    """Return the index of a dataset's points, in their order."""
    lines = [IndexRow.of(point).to_line() for point in points]
    return dumps({"format": INDEX_FORMAT, "points": len(lines)}) + b"\n" + b"".join(lines)


def unpack(data: bytes) -> tuple[IndexRow, ...]:
    """Read an index strictly; returns its rows in the order of the dataset.

    Raises VerificationError: BAD_INDEX (bounds, cut off, a count that is not that of the lines, an id twice), or what
    `Fields` and the reader of canonical JSON raise, with the number of the line.
    """
    if len(data) > MAX_INDEX_BYTES or not data.endswith(b"\n"):
        raise refuse(
            "BAD_INDEX",
            observed=f"{len(data)} bytes, or a file that is cut off",
            expected=f"at most {MAX_INDEX_BYTES} bytes of whole lines",
        )
    head, *lines = data[:-1].split(b"\n", MAX_POINTS + 1)
    header = Fields(loads_canonical(head), "index")
    header.one_of("format", (INDEX_FORMAT,))
    count = header.integer("points", minimum=1, maximum=MAX_POINTS)
    header.done()
    if len(lines) != count:
        raise refuse("BAD_INDEX", observed=f"{len(lines)} points", expected=f"the {count} that the first line says")
    rows = tuple(_row(line, number) for number, line in enumerate(lines, 2))
    if len({row.point_id for row in rows}) != count:
        raise refuse("BAD_INDEX", observed="an id that stands there twice", expected="each point once")
    return rows


def digest_of(rows: Iterable[IndexRow]) -> str:
    """Return the hex digest of the dataset that the rows are of; equals `dataset_digest` of its points."""
    return dataset.digest_of_identities(
        dataset.identity(row.source, row.point_id, row.size, bytes.fromhex(row.sha256)) for row in rows
    )


def source_counts(rows: Sequence[IndexRow]) -> dict[str, int]:
    """Return how many points come from each source, by the source's name; feeds `dataset.shares_in_thirds`."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.source] = counts.get(row.source, 0) + 1
    return dict(sorted(counts.items()))


def _row(line: bytes, number: int) -> IndexRow:
    fields = Fields(loads_canonical(line), f"line {number}")
    row = IndexRow(
        point_id=fields.text("id"),
        source=fields.text("source"),
        size=fields.integer("size", maximum=MAX_POINT_BYTES),
        sha256=fields.sha256("sha256"),
    )
    fields.done()
    return row
