"""Where datasets are found by their names: in the package, then in the folder of datasets that were built or fetched.

Rules:
1. A name is looked for in the package's own data first, so that no folder can stand in for a set that comes with it.
2. A dataset is read whole, checked and held in memory before anything is measured: no file of it is opened later.
3. A name that is known and not here is answered with the command that brings it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from orchestrator.datasets.canonical import FACTS, read_dataset, read_facts, unavailable
from orchestrator.datasets.recipes import RECIPES
from orchestrator.datasets.standard import STANDARD_SETS
from protocol.errors import DatasetUnavailable
from protocol.methodology.dataset import Dataset
from protocol.methodology.tasks import Task

FOLDER = "datasets"
"""The folder of built datasets inside the home of a domain."""

PACKAGED: Mapping[str, str] = MappingProxyType({"embedded-digits": "digits", "embedded-reviews": "reviews"})
"""The datasets that come with the runner, each with its folder of `orchestrator/data`."""

DEFAULT_DATASETS: Mapping[Task, str] = MappingProxyType(
    {
        Task.TEXT_GENERATION: "aies-prompts",
        Task.REASONING: "gsm8k",
        Task.SUMMARIZATION: "embedded-abstracts",
        Task.EXTRACTIVE_QA: "embedded-foldoc",
        Task.TEXT_CLASSIFICATION: "embedded-reviews",
        Task.SEMANTIC_SIMILARITY: "embedded-similarity",
        Task.IMAGE_CLASSIFICATION: "embedded-digits",
        Task.OBJECT_DETECTION: "embedded-scenes",
        Task.SPEECH_TO_TEXT: "embedded-speech",
        Task.IMAGE_GENERATION: "embedded-digit-prompts",
    }
)
"""The dataset that a task is measured on where a submission names none."""

ALSO_FOR: Mapping[str, frozenset[Task]] = MappingProxyType(
    {
        "aies-prompts": frozenset({Task.REASONING}),
        "aies-text-generation": frozenset({Task.REASONING}),
    }
)
"""Datasets that further tasks may name: AI Energy Score asks the same prompts for reasoning."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)


def load(name: str, datasets: Path | None = None) -> Dataset:
    """Return a dataset by its name, every point and the whole checked against their digests.

    `datasets` is the folder of built ones. Raises DatasetUnavailable: DATASET_UNKNOWN, DATASET_NOT_BUILT (its hint is
    the command that brings it), and what `read_dataset` raises.
    """
    return read_dataset(name, place_of(name, datasets))


def place_of(name: str, datasets: Path | None = None) -> Traversable:
    """Return the folder of a dataset; raises DatasetUnavailable DATASET_UNKNOWN or DATASET_NOT_BUILT."""
    if name in PACKAGED:
        return resources.files("orchestrator") / "data" / PACKAGED[name]
    if NAME.fullmatch(name) and datasets is not None and (datasets / name / FACTS).is_file():
        return datasets / name
    command = bringing(name)
    if command is None:
        every = sorted({*PACKAGED, *RECIPES, *STANDARD_SETS, *present(datasets)})
        raise unavailable("DATASET_UNKNOWN", f"no dataset is called {name!r}", f"one of {', '.join(every)}")
    where = "" if datasets is None else f" --datasets {datasets}"
    raise DatasetUnavailable(
        code="DATASET_NOT_BUILT",
        observed=f"dataset {name} is not here",
        expected="a dataset that was built or fetched before it is measured on",
        hint=f"{command}{where}",
    )


def bringing(name: str) -> str | None:
    """Return the command that brings a dataset, None for a name that none brings."""
    if name in RECIPES:
        return f"jouleseal dataset build {name}"
    if name in STANDARD_SETS:
        found = STANDARD_SETS[name]
        return f"jouleseal dataset fetch {found.repository} --revision {found.revision or '<40 hexadecimal digits>'}"
    return None


def present(datasets: Path | None = None) -> dict[str, Traversable]:
    """Return the datasets that are here, by name, each with its folder; nothing in them has been read yet."""
    data = resources.files("orchestrator") / "data"
    found: dict[str, Traversable] = {name: data / folder for name, folder in PACKAGED.items()}
    if datasets is not None and datasets.is_dir():
        for folder in sorted(datasets.iterdir()):
            if NAME.fullmatch(folder.name) and (folder / FACTS).is_file():
                found.setdefault(folder.name, folder)
    return found


def by_task(datasets: Path | None = None) -> dict[Task, frozenset[str]]:
    """Return the names that a submission may give for each task: those that are here, and those that can be brought."""
    known = {name: recipe.task for name, recipe in RECIPES.items()}
    known |= {name: standard.task for name, standard in STANDARD_SETS.items()}
    for name, folder in present(datasets).items():
        stated = read_facts(name, folder).get("task")
        known.update((name, task) for task in Task if task.value == stated)
    found: dict[Task, set[str]] = {task: {name} for task, name in DEFAULT_DATASETS.items()}
    for name, task in known.items():
        for each in (task, *ALSO_FOR.get(name, ())):
            found.setdefault(each, set()).add(name)
    return {task: frozenset(names) for task, names in found.items()}
