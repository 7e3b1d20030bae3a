"""A meter's record with numbers, rows and fields changed and its chain mended, judged as the verifier judges it.

Byte mutations stop at a record's grammar. These keep it, so that the account, the gates and the statistics behind it
meet counters that stand still, run backwards, jump or are missing, and clocks that do the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from protocol.methodology.continuity import RecordedSession, gaps
from protocol.methodology.energy import validate
from protocol.methodology.session_figures import published, session_figures
from protocol.methodology.timeline import QueryRecord
from protocol.methodology.trace import parse_trace
from tests.soak.targets import rechained
from tests.worlds.accelerated import AcceleratedWorld
from tests.worlds.world import World, cell
from verifier.checks.trace import check_magnitude

Timelines = Sequence[Sequence[QueryRecord]]
NUMBERS = (0, 1, 2, -1, None, 10**9, 2**53, 2**63, 2**64 - 1, 2**64, 10**19)
STEPS = (-1, 1, 1_000, -1_000, 10**6, 10**9, -(10**9))
FIELDS = ("", "x", 0, 1, None, [], {}, 10**18, "0", "10000000000000000000")


@cache
def records() -> tuple[tuple[bytes, Timelines], ...]:
    """Return the honest record of a processor's session and of an accelerator's, with their timelines."""
    told = [(world, world.run(cell(runs=2))) for world in (World(idle_ms=110), AcceleratedWorld())]
    return tuple((ran.trace, ran.timelines) for _, ran in told)


def judge(trace: bytes, timelines: Timelines) -> None:
    """Compute everything that the verifier computes from a record; raises an error of our tree where it is refused."""
    found = parse_trace(trace)
    check_magnitude(found)
    validate(found)
    figures = session_figures(found, timelines)
    published(figures)
    for run in figures.runs:
        run.to_json()
    gaps([RecordedSession(intent=n, outcome=n + 1, boot_id="boot", trace=found) for n in (1, 3)])


def changed(count: int, *, seed: int) -> Iterator[tuple[bytes, Timelines]]:
    """Yield changed records with the timelines that belong to them, the same ones every time."""
    chance = random.Random(seed)
    for _ in range(count):
        trace, timelines = chance.choice(records())
        lines = trace.splitlines(keepends=True)
        for _ in range(chance.choice((1, 1, 2, 5))):
            _change(lines, chance)
        yield rechained(b"".join(lines)), timelines


def _change(lines: list[bytes], chance: random.Random) -> None:
    at = chance.randrange(len(lines))
    row: Any = json.loads(lines[at])
    if isinstance(row, dict):
        _change_field(row, chance)
    elif row[0] == "k" or chance.randrange(5) == 0:
        del lines[at]
        return
    elif chance.randrange(4) == 0:
        _change_column(lines, row[0], chance)
        return
    else:
        place = chance.randrange(1, len(row))
        old = row[place]
        row[place] = (
            old + chance.choice(STEPS) if isinstance(old, int) and chance.random() < 0.5 else chance.choice(NUMBERS)
        )
    lines[at] = json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _change_field(row: dict, chance: random.Random) -> None:
    name = chance.choice(list(row))
    inner = row[name]
    if isinstance(inner, dict) and inner and chance.random() < 0.7:
        inner[chance.choice(list(inner))] = chance.choice(FIELDS)
    else:
        row[name] = chance.choice(FIELDS)


def _change_column(lines: list[bytes], kind: str, chance: random.Random) -> None:
    """Halve, stop or scatter one column of all rows of a kind."""
    rows = [(at, json.loads(line)) for at, line in enumerate(lines) if line.startswith(f'["{kind}"'.encode())]
    place = chance.randrange(3, max(4, len(rows[0][1])))
    for at, row in rows:
        if place < len(row) and isinstance(row[place], int):
            row[place] = chance.choice((0, 5, row[place] // 2))
            lines[at] = json.dumps(row, separators=(",", ":")).encode() + b"\n"
