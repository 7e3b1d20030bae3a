"""What a recipe is: how verified members of locked packages become the points of one dataset.

Rules:
1. A recipe is a pure function of its members: the same bytes give the same points in the same order on every machine.
2. Points are drawn by protocol.methodology.dataset under seeds that carry the dataset's name. No content occurs twice
   among points, warm-up points and pool together.
3. What a set is not (a toy domain, fewer than 1,000 points, no references) stands in the note of its facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from protocol.methodology.tasks import Task
from protocol.samples import Point

Members = Mapping[str, Mapping[str, bytes]]
"""The bytes of a recipe's members, by the package's name in the lock file and the member's path in the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is said of a dataset wherever it is used.

    `licence` is an SPDX expression over all of its sources. `note` says what the set is and what it is not.
    `sources` counts the points by the collection they come from; `attribution` names each collection, its authors and
    the package that carries it, by the same keys.
    """

    name: str
    task: Task
    licence: str
    note: str
    sources: Mapping[str, int]
    attribution: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The points of a dataset in the order in which they were drawn, with what surrounds them.

    `warm_up` are points that are asked before the first window. `pool` holds the points from which a private shard may
    be drawn. Points, warm-up points and pool share no content.
    """

    points: tuple[Point, ...]
    warm_up: tuple[Point, ...]
    pool: tuple[Point, ...]
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one dataset is made: the packages it needs, by their names in the lock file, and the function that makes it.

    `build` gets all locked members of those packages and raises DatasetUnavailable (RECIPE_MEMBER) where a member is
    not what the recipe reads.
    """

    name: str
    task: Task
    packages: tuple[str, ...]
    build: Callable[[Members], Built]
