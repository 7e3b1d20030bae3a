"""The datasets that come with the runner, read and checked: a point that is not the point it claims to be stops a run.

A dataset is a folder of `orchestrator/data`: `dataset.json` says what it is and what its digest is, `points.jsonl` and
`warm-up.jsonl` hold one point a line with the SHA-256 of its content (protocol.methodology.dataset), pictures in
base64. They are made by `reference_containers/build_data.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from protocol.errors import DatasetUnavailable
from protocol.methodology.dataset import Dataset, dataset_digest, point_digest, shares_in_thirds, source_counts
from protocol.methodology.tasks import Task
from protocol.samples import ImageInput, Point, SampleInput, TextInput

FOLDERS: Mapping[str, str] = MappingProxyType({"embedded-digits": "digits", "embedded-reviews": "reviews"})
DEFAULT_DATASETS: Mapping[Task, str] = MappingProxyType(
    {Task.IMAGE_CLASSIFICATION: "embedded-digits", Task.TEXT_CLASSIFICATION: "embedded-reviews"}
)
"""The dataset of every task that can be run with what comes with the runner."""


def load(name: str, root: Traversable | None = None) -> Dataset:
    """Return a dataset by its name, every point and the whole checked against their digests.

    `root` is the folder of datasets, by default the one inside the package. Raises DatasetUnavailable: DATASET_UNKNOWN,
    DATASET_UNREADABLE, POINT_DAMAGED (names the point) or DATASET_DIGEST.
    """
    if name not in FOLDERS:
        raise _unavailable("DATASET_UNKNOWN", f"no dataset is called {name!r}", f"one of {', '.join(sorted(FOLDERS))}")
    folder = (root or resources.files("orchestrator") / "data") / FOLDERS[name]
    facts = _facts(name, folder)
    points = _read_points(name, folder / "points.jsonl")
    warm_up = _read_points(name, folder / "warm-up.jsonl")
    digest = dataset_digest(points)
    if digest != facts["digest"] or len({point.point_id for point in points}) != len(points):
        raise _unavailable("DATASET_DIGEST", f"{name}: the points have the digest {digest}", f"{facts['digest']}")
    counts = source_counts(points)
    return Dataset(
        name=name,
        digest=digest,
        points=points,
        warm_up=warm_up,
        sources=MappingProxyType(counts),
        thirds=shares_in_thirds(counts),
        licence=str(facts["licence"]),
        note=str(facts["note"]),
    )


def _facts(name: str, folder: Traversable) -> dict[str, Any]:
    try:
        facts = json.loads(_text(name, folder / "dataset.json"))
        missing = {"name", "digest", "licence", "note"} - facts.keys()
    except (ValueError, AttributeError) as error:
        raise _unavailable("DATASET_UNREADABLE", f"{name}: dataset.json: {error}", "a JSON object") from error
    if missing or facts["name"] != name:
        observed = f"{name}: dataset.json lacks {sorted(missing)}" if missing else f"{name}: it calls itself otherwise"
        raise _unavailable("DATASET_UNREADABLE", observed, "name, digest, licence and note")
    return dict(facts)


def _text(name: str, path: Traversable) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unavailable("DATASET_UNREADABLE", f"{name}: {path.name}: {error}", "a readable UTF-8 file") from error


def _read_points(name: str, path: Traversable) -> tuple[Point, ...]:
    lines = _text(name, path).removesuffix("\n").split("\n")  # splitlines() also splits at U+0085 and U+2028
    return tuple(_read_point(f"{name}: {path.name} line {index + 1}", index, line) for index, line in enumerate(lines))


def _read_point(where: str, index: int, line: str) -> Point:
    point_id = "?"
    try:
        row = json.loads(line)
        point_id = str(row["id"])
        point = Point(
            index=index, point_id=point_id, source=row["source"], input=_read_input(row), reference=row["reference"]
        )
        point.source.encode()  # a source that is no text has no digest either
        digest, claimed = point_digest(point), row["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise _unavailable("POINT_DAMAGED", f"{where}: point {point_id} cannot be read: {error}", "a point") from error
    if digest != claimed:
        raise _unavailable("POINT_DAMAGED", f"{where}: point {point_id} has the digest {digest}", f"{claimed}")
    return point


def _read_input(row: Mapping[str, Any]) -> SampleInput:
    if "png" in row:
        return ImageInput(content=base64.b64decode(row["png"], validate=True))
    return TextInput(text=row["text"])


def _unavailable(code: str, observed: str, expected: str) -> DatasetUnavailable:
    hint = "choose one of the datasets that come with the runner, or install the runner again if its files are damaged"
    return DatasetUnavailable(code=code, observed=observed, expected=expected, hint=hint)
