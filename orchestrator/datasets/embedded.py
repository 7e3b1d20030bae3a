"""Build an embedded dataset by its name: bring its packages, then follow its recipe."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets.fetch import fetch
from orchestrator.datasets.lock import read_lock
from orchestrator.datasets.recipe import Built
from orchestrator.datasets.recipes import RECIPES
from protocol.errors import DatasetUnavailable


def build_embedded(name: str, root: Path | None = None) -> Built:
    """Return the dataset; `root` is the cache of packages, by default the user's.

    Raises DatasetUnavailable: DATASET_UNKNOWN, RECIPE_MEMBER, and what fetch raises.
    """
    if name not in RECIPES:
        raise DatasetUnavailable(
            code="DATASET_UNKNOWN",
            observed=f"no recipe makes {name!r}",
            expected=f"one of {', '.join(sorted(RECIPES))}",
            hint="name one of these; the datasets that come with the runner need no building",
        )
    recipe, lock = RECIPES[name], read_lock()
    return recipe.build({package: fetch(package, root, lock) for package in recipe.packages})
