"""Stars: named policies that turn the energies of a group of models into one to five, five for the least.

Rules
1. A policy has a name and never changes; another rule is another name. Every rating and label carries it.
2. `aies-range-v1` is what AI Energy Score published in February 2025: five bands of equal width between the group's
   lowest and highest energy, closed on the right, the lowest energy included. With w = (hi - lo) / 5,
   stars = 6 - clip(ceil((e - lo) / w), 1, 5). It reproduces the 166 published rows.
3. `quintile-v1` is what its text and ours define: five stars are the most efficient 20 % of models. With b models of n
   strictly better, stars = 5 - floor(5 b / n). Equal energies get equal stars, those of the best of them.
4. A group of one model, or of models that all cost the same, has no stars: there is nothing to tell apart. Both
   policies say so with a reason and never with a number.
5. An energy is positive. It may be known to +/- u; its star interval is what the policy gives at e - u and at e + u,
   every other model where it is (so bands move with their lowest and highest energy). One that reaches down to zero is
   held at a thousandth of the energy.
6. The nearest edge is the smallest relative change of the energy, up or down, that changes the stars. It is found
   among the energies at which they can change, exactly.

Source of rule 2: the published bands, see docs/methodology.md; of rule 3: "top 20 %" in the same project's text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

RANGE: Final = "aies-range-v1"
QUINTILE: Final = "quintile-v1"
MOST: Final = 5
ONE_MODEL: Final = "one-model"
ALL_EQUAL: Final = "all-equal"

_SMALLEST_SHARE: Final = Fraction(1, 1000)  # rule 5: an energy's interval ends above zero
_NEAR: Final = Fraction(1, 10**9)  # a step past an edge, relative: below the last digit that is published


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model in its group: its energy (any unit, the whole group's) and the half-width u, if it is known."""

    name: str
    energy: Fraction
    doubt: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What a policy gives one model.

    `stars` is None where the group has none, and `reason` then says why. `low` and `high` are the fewest and the most
    stars within the energy's doubt. `edge` is the relative change of the energy that changes the stars, negative where
    less energy does; None where no change would.
    """

    stars: int | None
    low: int | None = None
    high: int | None = None
    edge: Fraction | None = None
    reason: str | None = None


Rule = Callable[[Fraction, Sequence[Fraction]], int]  # an energy and those of all others, sorted, to stars
Edges = Callable[[Sequence[Fraction]], list[Fraction]]  # of all others, sorted, to the energies where stars may change


def _range(energy: Fraction, others: Sequence[Fraction]) -> int:
    low, high = min(energy, others[0]), max(energy, others[-1])
    if low == high:
        return MOST
    width = (high - low) / MOST
    steps = -((low - energy) // width)  # the ceiling of (energy - low) / width
    return MOST + 1 - min(max(int(steps), 1), MOST)


def _range_edges(others: Sequence[Fraction]) -> list[Fraction]:
    """Return the inner edges while the model lies between the others; beyond them it is an end of the range itself."""
    low, high = others[0], others[-1]
    return [low + (high - low) * step / MOST for step in range(MOST + 1)]


def _quintile(energy: Fraction, others: Sequence[Fraction]) -> int:
    better = bisect_left(others, energy)
    return MOST - (MOST * better) // (len(others) + 1)


def _quintile_edges(others: Sequence[Fraction]) -> list[Fraction]:
    """Return the energies that must be exceeded for b to reach the next fifth of n."""
    fifths = {-(-step * (len(others) + 1) // MOST) for step in range(1, MOST)}
    return [others[better - 1] for better in sorted(fifths) if better <= len(others)]


_RULES: Mapping[str, tuple[Rule, Edges]] = MappingProxyType(
    {RANGE: (_range, _range_edges), QUINTILE: (_quintile, _quintile_edges)}
)
POLICIES: Final = tuple(_RULES)


def rate(policy: str, group: Sequence[Entry]) -> dict[str, Rating]:
    """Return the rating of every model of a group, by name.

    Raises KeyError for an unknown policy, and ValueError for an energy that is not positive, a negative doubt or a name
    that stands twice: callers read such values from documents and refuse them there, by name.
    """
    rule, edges = _RULES[policy]
    for entry in group:
        if entry.energy <= 0 or (entry.doubt is not None and entry.doubt < 0):
            raise ValueError(f"{entry.name}: an energy of {entry.energy} with a doubt of {entry.doubt}")
    if len({entry.name for entry in group}) != len(group):
        raise ValueError("a name stands twice in one group")
    reason = _undefined([entry.energy for entry in group])
    if reason is not None:
        return {entry.name: Rating(stars=None, reason=reason) for entry in group}
    ordered = sorted(entry.energy for entry in group)
    found = {}
    for entry in group:
        place = bisect_left(ordered, entry.energy)
        found[entry.name] = _rating(entry, [*ordered[:place], *ordered[place + 1 :]], rule, edges)
    return found


def _undefined(energies: Sequence[Fraction]) -> str | None:
    if len(energies) == 1:
        return ONE_MODEL
    return ALL_EQUAL if len(set(energies)) == 1 else None


def _rating(entry: Entry, others: Sequence[Fraction], rule: Rule, edges: Edges) -> Rating:
    stars = rule(entry.energy, others)
    low = high = None
    if entry.doubt is not None:
        least = max(entry.energy - entry.doubt, entry.energy * _SMALLEST_SHARE)
        # Stars fall as energy grows, and never rise (a test holds the policies to that).
        high, low = rule(least, others), rule(entry.energy + entry.doubt, others)
    return Rating(stars=stars, low=low, high=high, edge=_nearest(entry.energy, others, rule, edges, stars))


def _nearest(energy: Fraction, others: Sequence[Fraction], rule: Rule, edges: Edges, stars: int) -> Fraction | None:
    """Return the smallest relative change that changes the stars, by trying just past every edge, each way."""
    changes = []
    for edge in edges(others):
        for past in (edge * (1 - _NEAR), edge, edge * (1 + _NEAR)):
            if past > 0 and rule(past, others) != stars:
                changes.append((edge - energy) / energy)
                break
    return min(changes, key=abs, default=None)
