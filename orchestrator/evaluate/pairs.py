"""What a metric is computed over: a run's answers, each beside the point that it answers.

Rules of every metric of this room:
1. It is a pure function of points and answers, and does not depend on their order: the same set of pairs gives the same
   fraction, on every machine.
2. The value comes from the field's own library. What this room adds is which parts of an answer the library is given.
3. A failed answer counts as a wrong one, never as one that was not asked.
4. A reference that cannot be read is the dataset's fault: REFERENCE_UNREADABLE, and no figure.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from protocol.errors import RigError
from protocol.samples import Answer, Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A point that has a reference, and the answer to it; None where the answer failed."""

    point: Point
    reference: str
    answer: Answer | None


Metric: TypeAlias = Callable[[Sequence[Pair]], Fraction]
Metrics: TypeAlias = Mapping[str, Metric]


def mean(values: Iterable[float]) -> Fraction:
    """Return the mean of floats, summed exactly, so that their order does not matter; raises on no values."""
    listed = list(values)
    return Fraction(math.fsum(listed)) / len(listed)


def numbered(truth: Sequence[str], found: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return two lists of words as numbers, equal where the words are: arrays of text drop a trailing NUL."""
    numbers = {word: number for number, word in enumerate(sorted({*truth, *found}))}
    return [numbers[word] for word in truth], [numbers[word] for word in found]


def texts_of(pair: Pair) -> list[str]:
    """Return the accepted texts of a reference: a JSON array of strings, or one plain text."""
    try:
        value = json.loads(pair.reference)
    except ValueError:
        return [pair.reference]
    return value if _is_texts(value) and value else [pair.reference]


def list_of(pair: Pair) -> list[object]:
    """Return a reference that is a JSON array; raises RigError REFERENCE_UNREADABLE for anything else."""
    try:
        value = json.loads(pair.reference)
    except ValueError as error:
        raise unreadable(pair, "a JSON array") from error
    if not isinstance(value, list):
        raise unreadable(pair, "a JSON array")
    return value


def accepted(pair: Pair) -> list[str]:
    """Return the accepted answers of a question, none where it has no answer; raises REFERENCE_UNREADABLE."""
    value = list_of(pair)
    if not _is_texts(value):
        raise unreadable(pair, "a JSON array of texts")
    return [str(item) for item in value]


def unreadable(pair: Pair, expected: str) -> RigError:
    """Return the error of a reference that is not what its metric compares with."""
    return RigError(
        code="REFERENCE_UNREADABLE",
        observed=f"the reference of point {pair.point.point_id}",
        expected=expected,
        hint="build the dataset again with this release, or correct its references",
    )


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
