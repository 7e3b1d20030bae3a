"""Statements with one thing wrong, or not: every place of a golden payload, given every value of a table.

What makes a value wrong differs by place, so the table has the edges of every rule that our schemas and readers have.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from protocol.attestation.claims import BLAMES, MAX_DEVICES, MAX_LAYERS, MAX_RESOURCES, MAX_RUNS, MAX_SOURCES
from protocol.attestation.equivalence import ENDPOINT_KINDS, MAX_LEAVES_PER_RUN, VERDICTS
from protocol.attestation.key_event import EVENT_KINDS
from protocol.attestation.keyring import ROLES
from protocol.attestation.predicates import (
    CAMPAIGN_STATUSES,
    MAX_CELLS,
    MAX_FLAGS,
    MAX_OUTCOMES,
    SESSION_STATUSES,
)
from protocol.attestation.submission_statement import MAX_DIFFERENCES, MAX_PRECISIONS
from protocol.units import MAX_SAFE_INTEGER
from tests.golden import vectors

DIGEST = "ab" * 32
VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [None], ["x"], ["x", "x"], [{}], {"x": 1}, {"x": "y"}, {"x": -1}, {"": ""}),
    *(-1, 0, 1, 2, MAX_RUNS, MAX_RUNS + 1, MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER),
    *(2**32 - 1, 2**32, MAX_LEAVES_PER_RUN, MAX_LEAVES_PER_RUN + 1, [0], [0, 0], [1, 0], [-1], [2**32], ["0"], [True]),
    *("", "x", " ", "x" * 512, "x" * 513, "\U0001f512" * 512, "a\nb", "a\n", "\x7f", "\x1f", "\x80", "\u2028"),
    *(DIGEST, DIGEST.upper(), DIGEST + "\n", DIGEST[:-1], DIGEST + "a", "g" * 64, "\uff10" * 64),
    *(f"sha256:{DIGEST}", f"sha256:{DIGEST}\n", f"sha512:{DIGEST}", f"sha256:{DIGEST.upper()}"),
    *("0", "-0", "1", "-1.50", "01", "1.", ".5", "+1", "1e3", "1\n", "\u0661", "9" * 512, "9" * 513, "NaN"),
    *("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.123456Z", "2026-03-01T12:00:00.1234567Z", "2026-03-01T12:00:00"),
    *("2026-03-01T12:00:00z", "2026-03-01 12:00:00Z", "2026-03-01T12:00:00+00:00", "2026-03-01T12:00:00Z\n"),
    *("2026-13-01T12:00:00Z", "2026-00-01T12:00:00Z", "2026-03-32T12:00:00Z", "2026-03-01T24:00:00Z"),
    *("2026-03-01T12:60:00Z", "2026-03-01T12:00:60Z", "2026-02-30T12:00:00Z", "0000-01-01T00:00:00Z", "x026"),
    *SESSION_STATUSES,
    *CAMPAIGN_STATUSES,
    *EVENT_KINDS,
    *BLAMES,
    *ENDPOINT_KINDS,
    *VERDICTS,
    *ROLES,
)
LIMITS = sorted(
    {
        *(MAX_DEVICES, MAX_LAYERS, MAX_RESOURCES, MAX_RUNS, MAX_SOURCES, MAX_CELLS, MAX_FLAGS, MAX_OUTCOMES),
        *(MAX_PRECISIONS, MAX_DIFFERENCES, MAX_LEAVES_PER_RUN),
    }
)
OPEN = ("sources", "recomputed", "committed", "figures", "environment")  # objects whose names are data
NAMED = ("id", "name", "uuid")  # of items that may have to differ in it
MAX_HEAVY = 2_000_000  # characters of a filled list: above it a mutant takes longer than it tells


def mutants(name: str) -> Iterator[tuple[str, dict]]:
    """Yield the mutants of a golden statement, each with a word on what was done."""
    honest = vectors.statements()[name]
    yield "nothing", honest
    for path in places(name):
        for value in VALUES:
            yield f"{path} = {json.dumps(value)[:40]}", put(honest, path, value)
        yield from _reshaped(honest, path)


def put(statement: dict, path: tuple, value: Any) -> dict:
    """Return a copy of the statement with another value at a place."""
    changed = copy.deepcopy(statement)
    _at(changed, path[:-1])[path[-1]] = copy.deepcopy(value)
    return changed


@cache
def places(name: str) -> tuple[tuple, ...]:
    """Return the paths of all values inside a golden statement; of a list, those of its first item."""
    return tuple(_places(vectors.statements()[name]))


def _places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _at(value: Any, path: tuple) -> Any:
    for key in path:
        value = value[key]
    return value


def _reshaped(honest: dict, path: tuple) -> Iterator[tuple[str, dict]]:
    """Yield the statement without the value, with one more inside it, and with as many as a limit and one more."""
    without = copy.deepcopy(honest)
    del _at(without, path[:-1])[path[-1]]
    yield f"{path} removed", without
    inside = _at(honest, path)
    if isinstance(inside, dict):
        yield f"{path} has more", put(honest, path, {**inside, "more": 1})
        for count in LIMITS if path[-1] in OPEN else ():
            for filler in ("text", 1):
                for many in (count, count + 1):
                    full = {f"n{number}": filler for number in range(many)}
                    yield f"{path} has {many} fields of {filler}", put(honest, path, full)
    if isinstance(inside, list) and inside:
        yield f"{path} twice", put(honest, path, inside * 2)
        for count in LIMITS:
            for many in (count, count + 1):
                if many * len(json.dumps(inside[0])) < MAX_HEAVY:
                    yield f"{path} has {many} items", put(honest, path, [_numbered(inside[0], n) for n in range(many)])
                if isinstance(inside[0], str):
                    yield f"{path} has {many} of one", put(honest, path, [inside[0]] * many)


def _numbered(item: Any, number: int) -> Any:
    """Return the item under a name or number of its own, where it has one."""
    if isinstance(item, int) and not isinstance(item, bool):
        return number
    if isinstance(item, str):
        return f"{item}-{number}"
    if not isinstance(item, dict):
        return item
    if isinstance(item.get("run"), int):
        return {**item, "run": number + 1}
    told = [name for name in NAMED if name in item and not isinstance(item.get("logIndex"), int)]
    return {**item, **{name: f"{name}-{number}" for name in told}}
