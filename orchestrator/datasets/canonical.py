"""The canonical form of a dataset: a folder that is read strictly, point by point, and written whole or not at all.

    dataset.json     what it is: name, task, digest, points, sources, thirds, references, shard, lacks, warmUp, pool,
                     licence, attribution, note, origin
    points.jsonl     the set, a point a line (protocol.methodology.point_line)
    warm-up.jsonl    points that are asked before the first window
    pool.jsonl       points of which a private shard may be drawn; absent where there are none
    blobs/<sha256>   pictures and recordings in their original bytes
    croissant.json   the same for other people's tools

Rules:
1. A point whose content is not that of its digest is refused by its id, whether its line or its blob was changed.
2. What dataset.json says of the points must be what is counted in them. Files of an earlier version may say less.
3. What a set lacks for being certifiable is said in `lacks`: thirds, 1,000 points, private shard, references.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.datasets.shard import has_shard
from orchestrator.disk import disk_errors, make_folder, sync_folder, write_atomic
from protocol.errors import DatasetUnavailable, VerificationError
from protocol.methodology.dataset import Dataset, dataset_digest, shares_in_thirds, source_counts
from protocol.methodology.point_line import read_point, write_point
from protocol.methodology.scenario import OFFICIAL_POINTS
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Point

FACTS, POINTS, WARM_UP, POOL, BLOBS, CROISSANT = (
    "dataset.json",
    "points.jsonl",
    "warm-up.jsonl",
    "pool.jsonl",
    "blobs",
    "croissant.json",
)
_REQUIRED = frozenset({"name", "digest", "licence", "note"})


def read_dataset(name: str, folder: Traversable) -> Dataset:
    """Return the dataset in a folder, every point and the whole checked against their digests.

    Raises DatasetUnavailable: DATASET_UNREADABLE, POINT_DAMAGED (names the point), DATASET_DIGEST, DATASET_FACTS.
    """
    facts = read_facts(name, folder)
    task = _task(name, facts)
    points, warm_up, pool = (_read_points(name, folder, part) for part in (POINTS, WARM_UP, POOL))
    for part in (points, warm_up, pool):
        _check_inputs(name, task, part)
    digest = dataset_digest(points)
    if digest != facts["digest"] or len({point.point_id for point in points}) != len(points):
        raise unavailable("DATASET_DIGEST", f"{name}: the points have the digest {digest}", f"{facts['digest']}")
    counts = source_counts(points)
    dataset = Dataset(
        name=name,
        task=task,
        digest=digest,
        points=points,
        warm_up=warm_up,
        pool=pool,
        sources=MappingProxyType(counts),
        thirds=shares_in_thirds(counts),
        licence=str(facts["licence"]),
        note=str(facts["note"]),
        attribution=_mapping(facts.get("attribution")),
        origin=_mapping(facts.get("origin")),
    )
    _check_facts(dataset, facts)
    return dataset


def read_facts(name: str, folder: Traversable) -> dict[str, Any]:
    """Return what dataset.json says, without looking at any point; raises DatasetUnavailable DATASET_UNREADABLE."""
    try:
        facts = json.loads(_text(name, folder / FACTS))
        missing = _REQUIRED - facts.keys()
    except (ValueError, AttributeError) as error:
        raise unavailable("DATASET_UNREADABLE", f"{name}: {FACTS}: {error}", "a JSON object") from error
    if missing or facts["name"] != name:
        observed = f"{name}: {FACTS} lacks {sorted(missing)}" if missing else f"{name}: it calls itself otherwise"
        raise unavailable("DATASET_UNREADABLE", observed, "name, digest, licence and note")
    return dict(facts)


def write_dataset(dataset: Dataset, folder: Path, extra: Mapping[str, bytes] = MappingProxyType({})) -> None:
    """Write a dataset's folder, in the place of one that is there; `extra` are further files by name.

    A reader finds the former folder or the new one. Raises StorageFull or RecordUnsound WRITE_FAILED.
    """
    make_folder(folder.parent)
    stage = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    with disk_errors(folder.name):
        try:
            files, blobs = files_of(dataset)
            make_folder(stage)
            for name, data in {**files, **extra}.items():
                write_atomic(stage / name, data)
            if blobs:
                make_folder(stage / BLOBS)
                for digest, content in blobs.items():
                    (stage / BLOBS / digest).write_bytes(content)
                sync_folder(stage / BLOBS)
            former = stage.with_name(stage.name + ".former")
            if folder.exists():
                folder.rename(former)
            stage.rename(folder)
            sync_folder(folder.parent)
            shutil.rmtree(former, ignore_errors=True)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def files_of(dataset: Dataset) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return a dataset's files by name and its blobs by SHA-256."""
    files: dict[str, bytes] = {FACTS: json.dumps(facts_of(dataset), indent=2, ensure_ascii=False).encode() + b"\n"}
    blobs: dict[str, bytes] = {}
    for name, points in ((POINTS, dataset.points), (WARM_UP, dataset.warm_up), (POOL, dataset.pool)):
        if points or name != POOL:
            written = [write_point(point) for point in points]
            files[name] = "".join(line for line, _ in written).encode()
            for _, named in written:
                blobs |= named
    return files, blobs


def facts_of(dataset: Dataset) -> dict[str, Any]:
    """Return what dataset.json says of a dataset."""
    return {
        "name": dataset.name,
        **_counted(dataset),
        "licence": dataset.licence,
        "attribution": dict(dataset.attribution),
        "note": dataset.note,
        "origin": dict(dataset.origin),
    }


def lacks(dataset: Dataset) -> list[str]:
    """Return what a set lacks for being certifiable, in words."""
    scored = dataset.task is None or REGISTRY[dataset.task].quality_metric != "none"
    unlabelled = scored and any(point.reference is None for point in dataset.points)
    found = {
        "thirds": not dataset.thirds,
        f"{OFFICIAL_POINTS:,} points": len(dataset.points) < OFFICIAL_POINTS,
        "private shard": not has_shard(dataset),
        "references": unlabelled,
        "rating": dataset.own,
    }
    return [word for word, missing in found.items() if missing]


def _counted(dataset: Dataset) -> dict[str, Any]:
    """Return what follows from the points."""
    return {
        "task": None if dataset.task is None else dataset.task.value,
        "digest": dataset.digest,
        "points": len(dataset.points),
        "sources": dict(dataset.sources),
        "thirds": dataset.thirds,
        "shard": has_shard(dataset),
        "references": sum(point.reference is not None for point in dataset.points),
        "lacks": lacks(dataset),
        "warmUp": {"points": len(dataset.warm_up), "digest": dataset_digest(dataset.warm_up)},
        "pool": {"points": len(dataset.pool), "digest": dataset_digest(dataset.pool)},
    }


def _check_facts(dataset: Dataset, facts: Mapping[str, Any]) -> None:
    for key, value in _counted(dataset).items():
        if key in facts and facts[key] != value:
            observed = f"{dataset.name}: {FACTS} says {key} {facts[key]}"
            raise unavailable("DATASET_FACTS", observed, f"{value}, as its points say")


def _check_inputs(name: str, task: Task | None, points: tuple[Point, ...]) -> None:
    for point in points if task is not None else ():
        if point.input.kind not in REGISTRY[task].inputs:  # type: ignore[index]  # there are points only with a task
            observed = f"{name}: point {point.point_id} is {point.input.kind.value}"
            expected = f"{' or '.join(sorted(kind.value for kind in REGISTRY[task].inputs))}"  # type: ignore[index]
            raise unavailable("DATASET_FACTS", observed, f"{expected}, as its task asks")


def _task(name: str, facts: Mapping[str, Any]) -> Task | None:
    if "task" not in facts:
        return None
    try:
        return Task(facts["task"])
    except ValueError as error:
        observed = f"{name}: {FACTS} says task {facts['task']!r}"
        raise unavailable("DATASET_UNREADABLE", observed, "a task of this version") from error


def _mapping(value: object) -> Mapping[str, Any]:
    return MappingProxyType(dict(value) if isinstance(value, Mapping) else {})


def _read_points(name: str, folder: Traversable, part: str) -> tuple[Point, ...]:
    if part == POOL and not (folder / part).is_file():
        return ()
    text = _text(name, folder / part)
    lines = text.removesuffix("\n").split("\n") if text else []  # splitlines() also splits at U+0085 and U+2028

    def blob(digest: str) -> bytes:
        try:
            return (folder / BLOBS / digest).read_bytes()
        except OSError as error:
            raise ValueError(f"blob {digest}: {error.strerror}") from error

    found = []
    for index, line in enumerate(lines):
        try:
            found.append(read_point(line, index, blob))
        except VerificationError as error:
            where = f"{name}: {part} line {index + 1}"
            raise unavailable("POINT_DAMAGED", f"{where}: {error.observed}", error.expected) from error
    return tuple(found)


def _text(name: str, path: Traversable) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise unavailable("DATASET_UNREADABLE", f"{name}: {path.name}: {error}", "a readable UTF-8 file") from error


def unavailable(code: str, observed: str, expected: str, hint: str | None = None) -> DatasetUnavailable:
    """Return the error for a dataset that is not there or not what it claims to be."""
    remedy = "build or fetch the dataset again; if it came with the runner, install the runner again"
    return DatasetUnavailable(code=code, observed=observed, expected=expected, hint=hint or remedy)
