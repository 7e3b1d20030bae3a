"""Statistics over runs and queries, in exact fractions: mean, sample deviation, Student's interval, percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

# Two-sided 95 % quantiles of Student's t by degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods,
# section 1.3.6.7.2, column 0.975.
_T_975 = tuple(
    "12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131"
    " 2.120 2.110 2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045 2.042".split()
)

# Queries that a run needs before it carries a percentile p at 99 % confidence: the early-stopping rule of MLPerf
# Inference (inference_rules.adoc, appendix "Early Stopping Criterion"), the smallest n for which one query over the
# bound is still significant: p^n + n (1 - p) p^(n-1) <= 0.01.
MIN_QUERIES = {"p50": 11, "p90": 64, "p99": 662}

_SQRT_DIGITS = 30


def mean(values: Sequence[Fraction | int]) -> Fraction:
    """Return the arithmetic mean; raises ZeroDivisionError on no values."""
    return Fraction(sum(values)) / len(values)


def deviation(values: Sequence[Fraction | int]) -> Fraction | None:
    """Return the sample standard deviation (n - 1), to 30 decimal digits; None for fewer than two values."""
    if len(values) < 2:  # noqa: PLR2004 - a deviation needs two values
        return None
    centre = mean(values)
    variance = sum(((Fraction(v) - centre) ** 2 for v in values), Fraction(0)) / (len(values) - 1)
    return square_root(variance)


def interval_95(values: Sequence[Fraction | int]) -> Fraction | None:
    """Return the half-width of the mean's 95 % confidence interval; None outside 2 to 31 values."""
    spread = deviation(values)
    if spread is None or len(values) - 1 > len(_T_975):
        return None
    return Fraction(_T_975[len(values) - 2]) * spread / square_root(Fraction(len(values)))


def difference_95(first: Sequence[Fraction | int], second: Sequence[Fraction | int]) -> Fraction | None:
    """Return the half-width of the 95 % confidence interval of mean(second) - mean(first); None where none is given.

    Welch's unequal-variances interval with the degrees of freedom of Welch and Satterthwaite, rounded down (B. L.
    Welch, Biometrika 34, 1947). None for fewer than two values on a side, or more degrees of freedom than the table of
    Student's t has; 0 where neither varies.
    """
    spreads = deviation(first), deviation(second)
    if spreads[0] is None or spreads[1] is None:
        return None
    parts = [
        spread**2 / len(values) for spread, values in zip(spreads, (first, second), strict=True) if spread is not None
    ]
    variance = parts[0] + parts[1]
    if variance == 0:
        return Fraction(0)
    freedom = int(variance**2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1)))
    if not 1 <= freedom <= len(_T_975):
        return None
    return Fraction(_T_975[freedom - 1]) * square_root(variance)


def square_root(value: Fraction) -> Fraction:
    """Return the square root of a non-negative fraction, rounded down at 30 decimal digits."""
    scale = 10 ** (2 * _SQRT_DIGITS)
    return Fraction(math.isqrt(value.numerator * scale // value.denominator), 10**_SQRT_DIGITS)


def percentile(values: Sequence[int], per_mille: int) -> int:
    """Return the nearest-rank percentile: the smallest value that `per_mille` in 1,000 of the values do not exceed."""
    ordered = sorted(values)
    rank = -(-per_mille * len(ordered) // 1000)
    return ordered[max(rank, 1) - 1]
