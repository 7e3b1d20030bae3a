"""An opened private shard as a file: its points and its salt, from which an auditor computes the digest in the plan.

The first line says what it is, every other one is a point with its bytes (protocol.methodology.point_line):

    {"dataset":"embedded-reviews","format":"jouleseal-opened-shard/1","number":1,"points":100,"salt":<hex>}
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.datasets.shard import MAX_NUMBER, Shard
from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json, dumps, loads_canonical
from protocol.attestation.refusal import refuse
from protocol.methodology.dataset import dataset_digest, salted_digest
from protocol.methodology.dataset_index import MAX_POINTS
from protocol.methodology.point_line import read_point, write_point
from protocol.samples import Point

OPENED_FORMAT = "jouleseal-opened-shard/1"
MAX_OPENED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedShard:
    """An opened shard; `salt` is 32 bytes."""

    dataset: str
    number: int
    points: tuple[Point, ...]
    salt: bytes

    @property
    def salted_sha256(self) -> str:
        """The digest that the plan must have logged."""
        return salted_digest(self.salt, dataset_digest(self.points))


def write_opened(dataset: str, shard: Shard) -> bytes:
    """Return the file of a shard."""
    header: dict[str, Json] = {
        "format": OPENED_FORMAT,
        "dataset": dataset,
        "number": shard.number,
        "points": len(shard.points),
    }
    lines = "".join(write_point(point, inline=True)[0] for point in shard.points)
    return dumps({**header, "salt": shard.salt.hex()}) + b"\n" + lines.encode()


def read_opened(data: bytes) -> OpenedShard:
    """Read such a file; VerificationError BAD_OPENED_SHARD, POINT_DAMAGED (names the point), BAD_FIELD."""
    head, _, body = data.partition(b"\n")
    if len(data) > MAX_OPENED_BYTES or not body.endswith(b"\n"):
        raise refuse(
            "BAD_OPENED_SHARD", observed=f"{len(data)} bytes, or a file that is cut off", expected="whole lines"
        )
    fields = Fields(loads_canonical(head), "shard")
    fields.one_of("format", (OPENED_FORMAT,))
    name, number = fields.text("dataset"), fields.integer("number", minimum=1, maximum=MAX_NUMBER)
    count, salt = fields.integer("points", minimum=1, maximum=MAX_POINTS), bytes.fromhex(fields.sha256("salt"))
    fields.done()
    try:
        lines = body[:-1].decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise refuse("BAD_OPENED_SHARD", observed=str(error), expected="UTF-8") from error
    if len(lines) != count:
        raise refuse("BAD_OPENED_SHARD", observed=f"{len(lines)} points", expected=f"{count}")
    points = tuple(read_point(line, index, _no_blob) for index, line in enumerate(lines))
    return OpenedShard(dataset=name, number=number, points=points, salt=salt)


def _no_blob(digest: str) -> bytes:
    raise ValueError(f"blob {digest} does not stand in the line")
