"""A finding about a rig: what was seen, what was expected, and what to do about it; and when a rig is fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocol.units import NS_PER_MS, decimal_string


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fact about the rig. One that is not good and matters makes the rig unfit; `remedy` is empty where it is good.

    What does not matter lessens the runs and does not void them.
    """

    name: str
    good: bool
    matters: bool
    observed: str
    expected: str
    remedy: str

    def to_json(self) -> dict[str, object]:
        """Return the finding as a flat mapping."""
        return {
            "name": self.name,
            "good": self.good,
            "matters": self.matters,
            "observed": self.observed,
            "expected": self.expected,
            "remedy": self.remedy,
        }


def find(name: str, observed: str, expected: str, remedy: str, *, good: bool, matters: bool = True) -> Finding:
    """Return a finding; the remedy is dropped where there is nothing to mend."""
    return Finding(
        name=name, good=good, matters=matters, observed=observed, expected=expected, remedy="" if good else remedy
    )


def fit(findings: Sequence[Finding]) -> bool:
    """Tell whether no finding that matters is bad."""
    return all(finding.good or not finding.matters for finding in findings)


def milliseconds(ns: int) -> str:
    """Write nanoseconds as milliseconds with two places."""
    return f"{decimal_string(Fraction(ns, NS_PER_MS), 2)} ms"


def percent(share: Fraction) -> str:
    """Write a share in percent with two places."""
    return f"{decimal_string(share * 100, 2)} %"
