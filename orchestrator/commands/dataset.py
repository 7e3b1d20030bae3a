"""`jouleseal dataset VERB`: bring datasets, check them, say what they are, and open a private shard."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.datasets import build, hub, shard, store
from orchestrator.datasets.canonical import read_facts
from orchestrator.datasets.opening import read_opened, write_opened
from orchestrator.datasets.recipes import RECIPES
from orchestrator.datasets.standard import STANDARD_SETS
from orchestrator.disk import write_atomic
from protocol.errors import UsageError, VerificationError
from protocol.methodology.dataset import Dataset, dataset_digest
from protocol.methodology.tasks import Task

_PRIVATE = 0o600
_MIRROR = "hub"


def run(arguments: argparse.Namespace) -> int:
    """Run one verb and print what it found; returns 0, or raises."""
    folder = arguments.home / store.FOLDER if arguments.datasets is None else arguments.datasets
    found = _VERBS[arguments.verb](arguments, folder)
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(found)
    return 0


def _build(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    own = {
        "--task": arguments.task,
        "--name": arguments.own_name,
        "--licence": arguments.licence,
        "--from-jsonl": arguments.from_jsonl,
    }
    if arguments.private_shard and arguments.name and not any(own.values()):
        return _shown_shard(arguments, folder)
    if arguments.from_jsonl is None:
        if arguments.name is None or any(own.values()) or arguments.blobs:
            raise _usage("NAME, or --from-jsonl with --task, --name and --licence")
        dataset = build.build_named(arguments.name, arguments.packages)
    else:
        if arguments.name is not None or not all(own.values()):
            raise _usage("--from-jsonl with --task, --name and --licence, and no NAME")
        task = Task(arguments.task)
        dataset = build.build_own(arguments.from_jsonl, task, arguments.own_name, arguments.licence, arguments.blobs)
    return _kept(dataset, folder)


def _fetch(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    root = arguments.home / _MIRROR if arguments.mirror is None else arguments.mirror
    offline = arguments.mirror is not None
    return _kept(hub.fetch_standard(arguments.name, arguments.revision, root, offline=offline), folder)


def _kept(dataset: Dataset, folder: Path) -> dict[str, Any]:
    return {**build.described(dataset), "folder": str(build.keep(dataset, folder))}


def _verify(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    names = arguments.names or sorted(store.present(folder))
    return {name: store.load(name, folder).digest for name in names}


def _show(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if arguments.private_shard:
        return _shown_shard(arguments, folder)
    return build.described(store.load(arguments.name, folder))


def _shown_shard(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    dataset = store.load(arguments.name, folder)
    number = shard.number_in_force(arguments.home, dataset.name)
    drawn = shard.draw_shard(dataset, shard.shard_key(arguments.home), number)
    return {
        "dataset": dataset.name,
        "number": number,
        "points": len(drawn.points),
        "saltedSha256": drawn.salted_sha256,
        "left": len(dataset.pool) - number * len(drawn.points),
    }


def _list(_arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    here = store.present(folder)
    tasks = {name: recipe.task.value for name, recipe in RECIPES.items()}
    tasks |= {name: row.task.value for name, row in STANDARD_SETS.items()}
    found = {name: f"{task}: {store.bringing(name)}" for name, task in tasks.items() if name not in here}
    for name, place in here.items():
        facts = read_facts(name, place)
        lacking = ", ".join(facts.get("lacks", ())) or "nothing"
        found[name] = f"{facts.get('task')}: here, {facts.get('points')} points, lacks {lacking}"
    return dict(sorted(found.items()))


def _open_shard(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    dataset = store.load(arguments.name, folder)
    number = shard.number_in_force(arguments.home, dataset.name)
    drawn = shard.draw_shard(dataset, shard.shard_key(arguments.home), number)
    if arguments.out.exists():
        raise UsageError(
            code="FILE_EXISTS",
            observed=f"{arguments.out} is there already",
            expected="a path without a file",
            hint="name another file; this one may be an opened shard that an auditor still needs",
        )
    write_atomic(arguments.out, write_opened(dataset.name, drawn), mode=_PRIVATE)
    follows = shard.retire(arguments.home, dataset.name, number)
    return {
        "dataset": dataset.name,
        "opened": number,
        "saltedSha256": drawn.salted_sha256,
        "file": str(arguments.out),
        "inForce": follows,
    }


def _check_shard(arguments: argparse.Namespace, _folder: Path) -> dict[str, Any]:
    try:
        opened = read_opened(arguments.file.read_bytes())
    except OSError as error:
        raise UsageError(
            observed=f"{arguments.file}: {error.strerror}", expected="a readable file", hint="check the path"
        ) from error
    if arguments.logged is not None and arguments.logged != opened.salted_sha256:
        raise VerificationError(
            code="SHARD_NOT_LOGGED",
            observed=f"its points and its salt give {opened.salted_sha256}",
            expected=f"the logged {arguments.logged}",
            hint="these are not the points that the campaign was measured with",
        )
    return {
        "dataset": opened.dataset,
        "number": opened.number,
        "points": len(opened.points),
        "digest": dataset_digest(opened.points),
        "saltedSha256": opened.salted_sha256,
    }


_VERBS: Mapping[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {
    "build": _build,
    "fetch": _fetch,
    "verify": _verify,
    "show": _show,
    "list": _list,
    "open-shard": _open_shard,
    "check-shard": _check_shard,
}


def _print(found: Mapping[str, Any]) -> None:
    width = max((len(key) for key in found), default=0) + 2
    for key, value in found.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{key:{width}}{shown}")


def _usage(expected: str) -> UsageError:
    return UsageError(
        observed="options that do not belong together", expected=expected, hint="see: jouleseal dataset build --help"
    )
