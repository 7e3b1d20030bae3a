"""How every recipe divides what its sources hold into points, warm-up points and the pool, and what a set must say.

Rules:
1. A content counts once: a text is compared by its letters and digits in lower case, a pair in either order, anything
   else by its bytes. What comes first, in the order of the sources, stays.
2. Every source is drawn whole under the dataset's name (sha256-draw/1). The first ids of the draw are points, the next
   warm-up points, the next the pool, as many of each as the source's share says. Each of the three is then put into an
   order of its own, drawn under the name followed by /order, /warm-up or /pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.datasets.recipe import Built, Facts
from protocol.errors import DatasetUnavailable
from protocol.methodology.dataset import draw, source_counts
from protocol.methodology.tasks import Task
from protocol.samples import (
    AudioInput,
    ChatInput,
    ImageInput,
    Point,
    QuestionInput,
    SampleInput,
    TextInput,
    TextPairInput,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many points, warm-up points and points of the pool a source gives; a pool of None is all that is left."""

    points: int
    warm_up: int = 0
    pool: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a recipe says of its set: see Facts."""

    name: str
    task: Task
    licence: str
    note: str
    attribution: Mapping[str, str]


def divide(about: About, every: Iterable[Point], shares: Mapping[str, Share]) -> Built:
    """Return the dataset that the rules above make of all points, whose sources are the keys of `shares`.

    Raises DatasetUnavailable (RECIPE_MEMBER) where a source holds fewer different points than its share needs.
    """
    by_source: dict[str, dict[str, Point]] = {source: {} for source in shares}
    for point in once(every):
        by_source[point.source][point.point_id] = point
    points, warm_up, pool = [], [], []
    for source, share in shares.items():
        own = by_source[source]
        if len(own) < share.points + share.warm_up + (share.pool or 0):
            raise unlike(about.name, f"{source} holds {len(own)} different points", f"what {share} needs")
        drawn = [own[point_id] for point_id in draw(about.name, own, len(own))]
        after = share.points + share.warm_up
        points += drawn[: share.points]
        warm_up += drawn[share.points : after]
        pool += drawn[after:] if share.pool is None else drawn[after : after + share.pool]
    return built(about, points, warm_up, pool)


def built(about: About, points: list[Point], warm_up: list[Point], pool: list[Point]) -> Built:
    """Return a dataset of points that are already divided, each part in its own order."""
    chosen = _ordered(f"{about.name}/order", points)
    return Built(
        points=chosen,
        warm_up=_ordered(f"{about.name}/warm-up", warm_up),
        pool=_ordered(f"{about.name}/pool", pool),
        facts=Facts(
            name=about.name,
            task=about.task,
            licence=about.licence,
            note=about.note,
            sources=source_counts(chosen),
            attribution=about.attribution,
        ),
    )


def once(points: Iterable[Point]) -> list[Point]:
    """Return the points whose content has not come before."""
    kept, seen = [], set()
    for point in points:
        key = content_key(point.input)
        if key not in seen:
            seen.add(key)
            kept.append(point)
    return kept


def content_key(asked: SampleInput) -> bytes:
    """Return what two inputs share when they count as the same content."""
    if isinstance(asked, ImageInput | AudioInput):
        return hashlib.sha256(asked.content).digest()
    parts = ["".join(filter(str.isalnum, part.casefold())) or part for part in _texts(asked)]
    return "\0".join(sorted(parts) if isinstance(asked, TextPairInput) else parts).encode()


def _texts(asked: TextInput | ChatInput | QuestionInput | TextPairInput) -> list[str]:
    match asked:
        case TextInput():
            return [asked.text]
        case ChatInput():
            return [turn.content for turn in asked.messages]
        case QuestionInput():
            return [asked.question, asked.context]
        case TextPairInput():
            return [asked.first, asked.second]


def unlike(name: str, observed: str, expected: str) -> DatasetUnavailable:
    """Return the refusal of members that are not what a recipe reads."""
    return DatasetUnavailable(
        code="RECIPE_MEMBER",
        observed=f"{name}: {observed}",
        expected=expected,
        hint="the lock file and the recipe do not belong together; install the runner again",
    )


def _ordered(seed: str, points: list[Point]) -> tuple[Point, ...]:
    by_id = {point.point_id: point for point in points}
    if len(by_id) != len(points):
        raise unlike(seed, "two points have the same id", "ids that occur once")
    return tuple(replace(by_id[point_id], index=index) for index, point_id in enumerate(draw(seed, by_id, len(by_id))))
