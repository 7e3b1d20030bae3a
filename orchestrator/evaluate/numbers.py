"""Scores against human scores, by SciPy: Spearman's and Pearson's correlation.

Rules:
1. Sources score on scales of their own, so a coefficient is computed for each source and the coefficients are averaged,
   weighted by how many points each source has.
2. Scores that do not vary say nothing: their coefficient is undefined, and counts as 0.
3. A failed answer has no score. The coefficient over the others is multiplied by the share of answers that did not
   fail, unless that would raise it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from scipy.stats import pearsonr, spearmanr

from orchestrator.evaluate.pairs import Metrics, Pair, unreadable
from protocol.samples import ScoreAnswer

_LEAST = 2  # points that a coefficient needs


def spearman(pairs: Sequence[Pair]) -> Fraction:
    """Return Spearman's rank correlation with the references, -1 to 1."""
    return _over_sources(pairs, lambda truth, found: spearmanr(truth, found).statistic)


def pearson(pairs: Sequence[Pair]) -> Fraction:
    """Return Pearson's linear correlation with the references, -1 to 1."""
    return _over_sources(pairs, lambda truth, found: pearsonr(truth, found).statistic)


METRICS: Metrics = {"spearman": spearman, "pearson": pearson}
_Coefficient = Callable[[Sequence[float], Sequence[float]], float]


def _over_sources(pairs: Sequence[Pair], coefficient: _Coefficient) -> Fraction:
    total = Fraction(0)
    for source in sorted({pair.point.source for pair in pairs}):
        own = [pair for pair in pairs if pair.point.source == source]
        total += _of_source(own, coefficient) * len(own)
    return total / len(pairs)


def _of_source(pairs: Sequence[Pair], coefficient: _Coefficient) -> Fraction:
    scored = [(_truth(pair), answer.score) for pair in pairs if isinstance(answer := pair.answer, ScoreAnswer)]
    ordered = sorted(scored)  # floating-point sums depend on their order
    truth, found = [one for one, _ in ordered], [other for _, other in ordered]
    if len(ordered) < _LEAST or len(set(truth)) < _LEAST or len(set(found)) < _LEAST:
        return Fraction(0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # nearly constant or enormous scores: what comes out is judged below
        value = float(coefficient(truth, found))
    if not math.isfinite(value):
        return Fraction(0)
    whole = Fraction(value)
    return min(whole, whole * len(ordered) / len(pairs))


def _truth(pair: Pair) -> float:
    try:
        value = float(pair.reference)
    except ValueError as error:
        raise unreadable(pair, "a decimal number") from error
    if not math.isfinite(value):
        raise unreadable(pair, "a finite number")
    return value
