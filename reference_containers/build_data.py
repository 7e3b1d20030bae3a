"""Make the embedded datasets and the reference vendors' training data: `build_data.py [--check] [digits|reviews ...]`.

Rules:
1. The same sources give the same bytes: points are drawn by protocol.methodology.dataset, pictures are PNG files with
   stored (uncompressed) blocks, which every zlib writes alike.
2. A set, in the order in which it was drawn, goes to orchestrator/data; so do warm-up points outside it and the pool
   of which private shards are drawn. What a vendor may learn from lies in its own folder: no text and no picture of it
   occurs in the set or in the pool.
3. Sources: scikit-learn's bundled digits, and the three fixtures of the npm package `sentiment` as the lock file of
   packages has it (orchestrator.datasets.lock).
4. --check makes everything again and compares it with what is committed; exit 1 where it differs.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits

from orchestrator.datasets.canonical import facts_of
from orchestrator.datasets.fetch import fetch
from orchestrator.datasets.lock import read_lock
from protocol.methodology.dataset import (
    THIRDS,
    Dataset,
    dataset_digest,
    draw,
    point_digest,
    shares_in_thirds,
    source_counts,
)
from protocol.methodology.tasks import Task
from protocol.samples import ImageInput, Point, TextInput

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "orchestrator" / "data"
POINTS = 1_000
WARM_UP = 64
DIGITS_POOL, REVIEWS_POOL = 200, 300  # two and three private shards; the rest is what the vendors learn from
PIXEL_MAX = 16  # scikit-learn's digits hold whole numbers from 0 to 16
SOURCES = ("amazon", "imdb", "yelp")
LABELS = {0: "negative", 1: "positive"}

Files = dict[Path, str]


def png(rows: Iterable[Iterable[int]]) -> bytes:
    """Return an 8-bit greyscale PNG of rows of bytes, deflated into stored blocks."""
    lines = [bytes(row) for row in rows]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", len(lines[0]), len(lines), 8, 0, 0, 0, 0)
    raw = b"".join(b"\x00" + line for line in lines)
    stored = (
        b"\x78\x01\x01" + struct.pack("<HH", len(raw), len(raw) ^ 0xFFFF) + raw + struct.pack(">I", zlib.adler32(raw))
    )
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stored) + chunk(b"IEND", b"")


def line_of(point: Point) -> str:
    """Return a point as a line of JSON with the digest of its content."""
    row: dict[str, Any] = {"id": point.point_id, "source": point.source, "sha256": point_digest(point)}
    if isinstance(point.input, ImageInput):
        row["png"] = base64.b64encode(point.input.content).decode()
    elif isinstance(point.input, TextInput):
        row["text"] = point.input.text
    return json.dumps({**row, "reference": point.reference}, ensure_ascii=False) + "\n"


def files_of(  # noqa: PLR0917 - the parts of one set, in the order in which they are drawn
    name: str,
    folder: str,
    points: list[Point],
    rest: list[Point],
    content: Callable[[Point], Any],
    pool_size: int,
    facts: Mapping[str, Any],
) -> Files:
    """Return the files of one dataset by path: set, warm-up points, pool, and the vendor's training data.

    `content` is what two points must not share, `rest` the points that do not share it with the set.
    """
    by_id = {point.point_id: point for point in rest}
    warm_up = [by_id[point_id] for point_id in draw(f"{name}/warm-up", by_id, WARM_UP)]
    fresh = {content(point): point.point_id for point in reversed(outside(by_id, warm_up, content))}
    pool = [by_id[point_id] for point_id in draw(f"{name}/pool", fresh.values(), pool_size)]
    counts = source_counts(points)
    about = facts_of(
        Dataset(
            name=name,
            digest=dataset_digest(points),
            points=tuple(points),
            warm_up=tuple(warm_up),
            pool=tuple(pool),
            sources=counts,
            thirds=shares_in_thirds(counts),
            **facts,
        )
    )
    return {
        DATA / folder / "dataset.json": json.dumps(about, indent=2, ensure_ascii=False) + "\n",
        DATA / folder / "points.jsonl": "".join(map(line_of, points)),
        DATA / folder / "warm-up.jsonl": "".join(map(line_of, warm_up)),
        DATA / folder / "pool.jsonl": "".join(map(line_of, pool)),
        HERE / folder / "train.jsonl": "".join(map(line_of, outside(by_id, pool, content))),
    }


def digits() -> Files:
    """Return the files of the digits: 1,000 of the 1,797 pictures that come with scikit-learn."""
    bundled = load_digits()
    every = {}
    for number, (image, label) in enumerate(zip(bundled.images, bundled.target, strict=True)):
        content = png([[int(pixel) * 255 // PIXEL_MAX for pixel in row] for row in image])
        point_id = f"digit-{number:04d}"
        every[point_id] = Point(
            index=0, point_id=point_id, source="optdigits", input=ImageInput(content=content), reference=str(label)
        )
    points = [every[point_id] for point_id in draw("embedded-digits", every, POINTS)]
    rest = outside(every, points, picture_of)
    facts = {
        "task": Task.IMAGE_CLASSIFICATION,
        "licence": "CC-BY-4.0",
        "attribution": {
            "optdigits": "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning "
            "Repository, 1998, doi:10.24432/C50P49"
        },
        "origin": {"kind": "package", "from": "scikit-learn load_digits"},
        "note": "1,000 of the 1,797 pictures of 8 by 8 pixels that come with scikit-learn, from one source: not a "
        "standard set, never certifiable",
    }
    return files_of("embedded-digits", "digits", points, rest, picture_of, DIGITS_POOL, facts)


def reviews() -> Files:
    """Return the files of the reviews: 334, 333 and 333 sentences from three sources of 1,000 each."""
    every: dict[str, Point] = {}
    drawn: list[str] = []
    for source, rows, share in zip(SOURCES, sentiment_fixtures(), THIRDS, strict=True):
        own = {}
        for number, row in enumerate(rows):
            point_id = f"{source}-{number:04d}"
            own[point_id] = Point(
                index=0,
                point_id=point_id,
                source=source,
                input=TextInput(text=row["text"]),
                reference=LABELS[row["class"]],
            )
        every |= own
        drawn += draw("embedded-reviews", once(own, set(map(text_of, map(every.__getitem__, drawn)))), share)
    points = [every[point_id] for point_id in draw("embedded-reviews/order", drawn, POINTS)]
    facts = {
        "task": Task.TEXT_CLASSIFICATION,
        "licence": "CC-BY-4.0",
        "attribution": dict.fromkeys(
            SOURCES,
            "D. Kotzias, M. Denil, N. de Freitas and P. Smyth, From Group to Individual Labels using Deep Features, "
            "KDD 2015; Sentiment Labelled Sentences, UCI Machine Learning Repository, doi:10.24432/C57604; as packaged "
            "(MIT) in the npm package sentiment 5.0.2",
        ),
        "origin": {"kind": "package", "from": "sentiment 5.0.2", "sha256": read_lock()["sentiment"].sha256},
        "note": "1,000 of 3,000 sentences of reviews from amazon.com, imdb.com and yelp.com, no sentence twice",
    }
    rest = outside(every, points, text_of)
    return files_of("embedded-reviews", "reviews", points, rest, text_of, REVIEWS_POOL, facts)


def picture_of(point: Point) -> bytes:
    """Return a picture's bytes, by which it is compared with others."""
    return point.input.content if isinstance(point.input, ImageInput) else b""


def text_of(point: Point) -> str:
    """Return a text as it is compared with others: letters and digits only, in lower case."""
    text = point.input.text if isinstance(point.input, TextInput) else ""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def once(points: Mapping[str, Point], taken: set[str]) -> list[str]:
    """Return the ids of the points whose text neither is taken nor occurs earlier."""
    kept, seen = [], set(taken)
    for point_id, point in points.items():
        if text_of(point) not in seen:
            seen.add(text_of(point))
            kept.append(point_id)
    return kept


def outside(every: Mapping[str, Point], points: list[Point], content: Callable[[Point], Any]) -> list[Point]:
    """Return the points that are outside the set and whose content does not occur in it."""
    taken = {content(point) for point in points}
    return [point for point in every.values() if content(point) not in taken]


def sentiment_fixtures() -> list[list[dict[str, Any]]]:
    """Return the rows of the three fixtures."""
    members = fetch("sentiment")
    fixtures = [json.loads(members[f"package/test/fixtures/{source}.json"]) for source in SOURCES]
    return [[row for row in rows if row["class"] is not None] for rows in fixtures]  # each ends in an empty row


def main() -> int:
    """Write or check the files of the named datasets; all by default."""
    makers = {"digits": digits, "reviews": reviews}
    parser = argparse.ArgumentParser(description="Make the embedded datasets and the vendors' training data.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="digits, reviews; both by default")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there, write nothing")
    arguments = parser.parse_args()
    stale = []
    for name in arguments.names or makers:
        for path, content in makers[name]().items():
            if not arguments.check:
                path.write_text(content, encoding="utf-8")
            elif not path.exists() or path.read_text(encoding="utf-8") != content:
                stale.append(path)
    for path in stale:
        print(f"differs from what its sources give: {path}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
