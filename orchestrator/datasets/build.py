"""From recipes and from users' own files to datasets in canonical form.

A user's own points are a file of JSON objects, a line each: the input's fields (`text`; `question` and `context`;
`first` and `second`; `messages`; `image` or `audio`, a file below the folder of blobs), and as far as they are known
`id`, `source`, `reference` and `use`, which is points (where it is absent), warm-up or pool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from orchestrator.datasets.canonical import CROISSANT, files_of, lacks, unavailable, write_dataset
from orchestrator.datasets.croissant import croissant
from orchestrator.datasets.embedded import build_embedded
from orchestrator.datasets.lock import read_lock
from orchestrator.datasets.recipes import RECIPES
from orchestrator.datasets.store import NAME, PACKAGED
from protocol.errors import UsageError
from protocol.methodology.dataset import OWN_PREFIX, Dataset, dataset_digest, shares_in_thirds, source_counts
from protocol.methodology.dataset_index import MAX_POINTS
from protocol.methodology.point_line import read_input
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Point

WARM_UP_POINTS = 32  # a batch of the throughput scenario
USES = ("points", "warm-up", "pool")
_SAID = frozenset({"id", "source", "reference", "use"})


def build_named(name: str, packages: Path | None = None) -> Dataset:
    """Return a dataset made by its recipe from locked packages; `packages` is their cache.

    Raises UsageError DATASET_PACKAGED, and what `build_embedded` raises.
    """
    if name in PACKAGED:
        raise UsageError(
            code="DATASET_PACKAGED",
            observed=f"{name} comes with the runner",
            expected="a dataset that has to be built",
            hint="measure with it as it is; jouleseal dataset verify reads it",
        )
    built = build_embedded(name, packages)
    lock = read_lock()
    used = {package: lock[package] for package in RECIPES[name].packages}
    origin = {
        "kind": "packages",
        "packages": [
            {"name": one.name, "version": one.version, "sha256": one.sha256, "licence": one.licence}
            for one in used.values()
        ],
    }
    return assemble(
        name,
        built.facts.task,
        (built.points, built.warm_up, built.pool),
        licence=built.facts.licence,
        note=built.facts.note,
        attribution=built.facts.attribution,
        origin=origin,
    )


def build_own(file: Path, task: Task, name: str, licence: str, blobs: Path | None = None) -> Dataset:
    """Return a user's own dataset.

    Without warm-up points of its own, its first WARM_UP_POINTS points are asked before the first window too, and the
    note says so. Raises UsageError OWN_NAME or OWN_FILE, and DatasetUnavailable OWN_POINT with the number of the line.
    """
    if not (name.startswith(OWN_PREFIX) and NAME.fullmatch(name)):
        raise UsageError(
            code="OWN_NAME",
            observed=f"--name {name}",
            expected=f"{OWN_PREFIX} and at most 60 lower-case letters, digits and dashes",
            hint="the name stands in every plan, so that nobody takes the result for a rated one",
        )
    data = _read(file)
    lines = [line for line in data.decode("utf-8", errors="replace").split("\n") if line.strip()]
    if not 0 < len(lines) <= MAX_POINTS:
        raise _bad_file(f"{file.name} has {len(lines)} lines", f"1 to {MAX_POINTS}")
    parts: dict[str, list[Point]] = {use: [] for use in USES}
    for number, line in enumerate(lines, 1):
        use, point = _own_point(line, number, task, file.stem, blobs)
        parts[use].append(replace(point, index=len(parts[use])))
    if not parts["points"]:
        raise _bad_file(f"{file.name} has no line whose use is points", "at least one")
    note = "A user's own data: measured, never rated."
    if not parts["warm-up"]:
        parts["warm-up"] = parts["points"][:WARM_UP_POINTS]
        note += " It has no warm-up points of its own: its first ones are asked before the first window too."
    points, warm_up, pool = (tuple(parts[use]) for use in USES)
    origin = {"kind": "own", "file": file.name, "sha256": hashlib.sha256(data).hexdigest()}
    return assemble(name, task, (points, warm_up, pool), licence=licence, note=note, attribution={}, origin=origin)


def assemble(
    name: str,
    task: Task,
    parts: tuple[tuple[Point, ...], tuple[Point, ...], tuple[Point, ...]],
    *,
    licence: str,
    note: str,
    attribution: Mapping[str, str],
    origin: Mapping[str, object],
) -> Dataset:
    """Return the dataset of these points, warm-up points and pool; DatasetUnavailable POINT_TWICE for an id twice."""
    points, warm_up, pool = parts
    ids = [point.point_id for point in points]
    if len(set(ids)) != len(ids):
        twice = next(point_id for point_id in ids if ids.count(point_id) > 1)
        raise unavailable("POINT_TWICE", f"{name}: two points are called {twice}", "each id once", "rename one of them")
    counts = source_counts(points)
    return Dataset(
        name=name,
        task=task,
        digest=dataset_digest(points),
        points=points,
        warm_up=warm_up,
        pool=pool,
        sources=MappingProxyType(counts),
        thirds=shares_in_thirds(counts),
        licence=licence,
        note=note,
        attribution=MappingProxyType(dict(attribution)),
        origin=MappingProxyType(dict(origin)),
    )


def keep(dataset: Dataset, datasets: Path) -> Path:
    """Write a dataset with its Croissant metadata into the folder of datasets and return its own folder."""
    folder = datasets / dataset.name
    write_dataset(dataset, folder, {CROISSANT: croissant(dataset, files_of(dataset)[0])})
    return folder


def described(dataset: Dataset) -> dict[str, Any]:
    """Return what is said of a dataset on a screen."""
    return {
        "name": dataset.name,
        "task": None if dataset.task is None else dataset.task.value,
        "digest": dataset.digest,
        "points": len(dataset.points),
        "sources": dict(dataset.sources),
        "warmUp": len(dataset.warm_up),
        "pool": len(dataset.pool),
        "lacks": lacks(dataset),
        "licence": dataset.licence,
        "note": dataset.note,
        "origin": dict(dataset.origin),
    }


def _own_point(line: str, number: int, task: Task, source: str, folder: Path | None) -> tuple[str, Point]:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("no object")  # noqa: TRY004, TRY301 - told below with the number of the line
        fields, files = _with_files(row, folder)
        point = Point(
            index=0,
            point_id=_line(row.get("id", f"{source}-{number:06d}"), "id"),
            source=_line(row.get("source", source), "source"),
            input=read_input(fields, files, _SAID),
            reference=None if row.get("reference") is None else _line(row["reference"], "reference", free=True),
        )
        use = row.get("use", USES[0])
        if use not in USES or point.input.kind not in REGISTRY[task].inputs:
            raise ValueError(  # noqa: TRY301 - likewise
                f"use {use!r} and an input of kind {point.input.kind.value} for {task.value}"
            )
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        hint = "correct the line; docs/datasets.md lists the fields"
        raise unavailable("OWN_POINT", f"line {number}: {error}", "a point of the task", hint) from error
    return use, point


def _with_files(row: Mapping[str, Any], folder: Path | None) -> tuple[dict[str, Any], Callable[[str], bytes]]:
    """Return the row with its file named by its SHA-256, and the reader of that file."""
    fields, found = dict(row), {}
    for kind in ("image", "audio"):
        if kind in fields:
            if folder is None:
                raise ValueError(f"{kind} names a file, and there is no --blobs")
            place = (folder / str(fields[kind])).resolve()
            if not place.is_relative_to(folder.resolve()):
                raise ValueError(f"{kind} names a file outside {folder}")
            content = place.read_bytes()
            fields[kind] = hashlib.sha256(content).hexdigest()
            found[fields[kind]] = content
    return fields, found.__getitem__


def _line(value: object, what: str, *, free: bool = False) -> str:
    if not isinstance(value, str) or (not free and (not value or not value.isprintable())):
        raise ValueError(f"{what} is no {'text' if free else 'line of text'}")
    value.encode()
    return value


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _bad_file(f"{file}: {error.strerror}", "a readable file of JSON lines") from error


def _bad_file(observed: str, expected: str) -> UsageError:
    return UsageError(code="OWN_FILE", observed=observed, expected=expected, hint="docs/datasets.md shows such a file")
