"""Datasets of strangers: a folder, a point's line, an opened shard; each once more with its digests mended."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache

from orchestrator.datasets.canonical import FACTS, POINTS, files_of, read_dataset
from orchestrator.datasets.opening import read_opened, write_opened
from orchestrator.datasets.shard import Shard
from protocol.attestation.jcs import dumps
from protocol.errors import VerificationError
from protocol.methodology.dataset import dataset_digest
from protocol.methodology.point_line import read_point, write_point
from protocol.methodology.tasks import Task
from protocol.samples import ChatInput, ChatMessage, ChatRole, ImageInput, Point, QuestionInput, SampleInput, TextInput
from tests.soak.target import REFUSALS, Target, each
from tests.worlds.world import dataset

NAME = "a-dataset"
INPUTS: tuple[SampleInput, ...] = (
    TextInput(text="a text"),
    QuestionInput(question="Where?", context="Here."),
    ChatInput(messages=(ChatMessage(role=ChatRole.USER, content="Why?"),)),
    ImageInput(content=b"\x89PNG\r\n\x1a\n" + bytes(8)),
)


@dataclass(frozen=True)
class Memory:
    """A folder in memory, as far as a reader of datasets walks it; an `importlib.resources.abc.Traversable`."""

    files: dict[str, bytes]
    path: str = ""

    def __truediv__(self, name: str) -> Memory:
        return replace(self, path=f"{self.path}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def is_file(self) -> bool:
        return self.path in self.files

    def read_bytes(self) -> bytes:
        if self.path not in self.files:
            raise FileNotFoundError(2, "no such file", self.path)
        return self.files[self.path]


def points() -> list[Point]:
    return [Point(index=n, point_id=f"p-{n}", source="s", input=one, reference="r") for n, one in enumerate(INPUTS)]


def lines() -> list[bytes]:
    return [write_point(point, inline=True)[0].encode() for point in points()]


def no_blob(digest: str) -> bytes:
    raise ValueError(digest)


def mended(line: bytes) -> bytes:
    """Return a point's line with the digest that its content has; as it is, where it is none."""
    text = line.decode("utf-8", errors="replace")
    try:
        read_point(text, 0, no_blob)
    except VerificationError as error:
        claimed = error.observed.rpartition(" ")[2]
    try:
        row = json.loads(text)
        row["sha256"] = claimed
        return dumps(row) + b"\n"
    except (ValueError, TypeError, UnboundLocalError, RecursionError, *REFUSALS):
        return line


def read_line(data: bytes) -> None:
    each(
        lambda line=line: read_point(line.decode("utf-8", errors="replace"), 0, no_blob)  # type: ignore[misc]
        for line in (data, mended(data))
    )


def shards() -> list[bytes]:
    found = tuple(points())
    return [write_opened("embedded-reviews", shard(found[:1])), write_opened("embedded-reviews", shard(found))]


def shard(found: tuple[Point, ...]) -> Shard:
    salt = bytes(32)
    return Shard(points=found, salted_sha256="ab" * 32, salt=salt, number=1)


def read_shard(data: bytes) -> None:
    head, *rest = data.split(b"\n")
    again = b"\n".join([head, *(mended(line).rstrip(b"\n") for line in rest)])
    each(lambda spelled=spelled: read_opened(spelled) for spelled in (data, again))  # type: ignore[misc]


@cache
def honest() -> dict[str, bytes]:
    """Return the files of a small dataset, whose digest is right."""
    found = tuple(replace(points()[0], index=n, point_id=f"p-{n}", source="s") for n in range(2))
    small = replace(
        dataset(),
        name=NAME,
        task=Task.TEXT_CLASSIFICATION,
        points=found,
        warm_up=found[:1],
        digest=dataset_digest(found),
        sources={"s": 2},
    )
    files, blobs = files_of(small)
    return {**files, **{f"blobs/{name}": data for name, data in blobs.items()}}


def folders() -> list[bytes]:
    """Return the facts and the points of a dataset, each after a byte that says which."""
    return [b"f" + honest()[FACTS], b"p" + honest()[POINTS]]


def read_folder(data: bytes) -> None:
    name = FACTS if data[:1] == b"f" else POINTS
    body = data[1:]
    again = b"".join(mended(line) for line in body.splitlines(keepends=True))
    for spelled in {body, again} if name == POINTS else {body}:
        files = Memory({**honest(), name: spelled})
        each((lambda files=files: read_dataset(NAME, files),))  # type: ignore[arg-type, misc]


DATASETS: tuple[Target, ...] = (
    Target(name="point-line", read=read_line, seeds=lines),
    Target(name="opened-shard", read=read_shard, seeds=shards),
    Target(name="dataset-folder", read=read_folder, seeds=folders),
)
