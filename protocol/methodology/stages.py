"""The windows of a session in their order: its runs, and the probes that nobody can have prepared for between them.

Rule `jouleseal-probes/1`. Everything here follows from the session's nonce and the plan, so that the runner and the
verifier get the same windows and the same messages, and a container cannot know before the session what comes when.

1. `shard-1` and `shard-2` ask points of the private shard, half of them each, and each exactly once in a session: no
   answer to them can have been kept. They ask a quarter as many as a run has points, at most SHARD_POINTS, in whole
   messages. Beside every private message stands a public one, and which of the two comes first is drawn: whatever
   disturbs the machine disturbs both alike.
2. `repeat-1` asks in rounds: one message several times over, and as many different ones once each; which comes first
   is drawn, and so are all the messages. No more is asked than a run has whole messages.
3. Every probe comes after run 1, so that run 1 is the first to ask the points of the dataset; after which run, is
   drawn. What is too small to be judged is not asked.
4. Stage n has the idle windows `idle-(n-1)` before it and `idle-n` after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from protocol.methodology.trace import PowerTrace, Window

PROBE_RULE: Final = "jouleseal-probes/1"
SHARD_POINTS: Final = 100  # a tenth of an official set: enough for the smallest probability that is asked for
SHARD_SHARE: Final = 4  # a shortened session asks a quarter of its points' number
SHARD_WINDOWS: Final = 2
MIN_PAIRS: Final = 3  # the messages of 32 that an official shard fills
ROUNDS: Final = ((8, 2), (4, 2))  # (rounds, messages compared on each side), the largest that fits is asked
FIRST_PROBE: Final = 101  # probes number their response trees from here; runs number theirs from 1 to 100

_PREFIX: Final = b"jouleseal/probes/v1\x00"
IDLE_PREFIX: Final = "idle-"

Kind = Literal["shard", "repeat"]
Role = Literal["private", "public", "first", "again", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One query of a probe: places of points (in the private shard for role `private`), and the pair it belongs to.

    `private` is compared with the `public` of its pair. In a repeated probe a round is the pair, and all its `again`
    are compared with all its `other`; the `first` with nothing.
    """

    role: Role
    places: tuple[int, ...]
    pair: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe's window: its name, its number among the response trees, and what it asks in order."""

    name: str
    kind: Kind
    number: int
    messages: tuple[Message, ...]

    @property
    def samples(self) -> int:
        """How many samples it asks."""
        return sum(len(message.places) for message in self.messages)

    def sides(self, heavy: Role, light: Role) -> list[tuple[list[int], list[int]]]:
        """Return the places among the messages of the two sides of every pair, in the order of the pairs."""
        found: dict[int, tuple[list[int], list[int]]] = {}
        for number, message in enumerate(self.messages):
            sides = found.setdefault(message.pair, ([], []))
            if message.role in {heavy, light}:
                sides[message.role == light].append(number)
        return [found[pair] for pair in sorted(found)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the windows of a session follow from; `private` is how many points the planned shard has, 0 without one.

    `probed` is false for a plan that names no probe rule: such a session has its runs and nothing else.
    """

    nonce: bytes
    points: int
    batch: int
    runs: int
    private: int = 0
    probed: bool = True


def private_places(asked: Asked) -> int:
    """Return how many points of the private shard a session asks."""
    wanted = min(SHARD_POINTS, -(-asked.points // SHARD_SHARE), asked.private)
    whole = wanted // asked.batch
    return whole * asked.batch if whole >= MIN_PAIRS else 0


def probes(asked: Asked) -> tuple[Probe, ...]:
    """Return the probes of a session in the order of their numbers."""
    if not asked.probed:
        return ()
    shard = _shard(asked)
    rounds = next((size for size in ROUNDS if _asks(*size) <= asked.points // asked.batch), None)
    found: list[tuple[str, Kind, tuple[Message, ...]]] = [
        (f"shard-{n}", "shard", messages) for n, messages in enumerate(shard, 1)
    ]
    if rounds is not None:
        found.append(("repeat-1", "repeat", _repeats(asked, *rounds)))
    return tuple(
        Probe(name=name, kind=kind, number=FIRST_PROBE + n, messages=messages)
        for n, (name, kind, messages) in enumerate(found)
    )


def stages(asked: Asked) -> tuple[int | Probe, ...]:
    """Return a session's windows in order, runs by their number."""
    behind: dict[int, list[Probe]] = {}
    for probe in probes(asked):
        drawn = int.from_bytes(_key(asked.nonce, b"place", probe.number)[:8], "big")
        behind.setdefault(1 + drawn % asked.runs, []).append(probe)
    found: list[int | Probe] = []
    for run in range(1, asked.runs + 1):
        found.append(run)
        found += sorted(behind.get(run, ()), key=lambda probe: _key(asked.nonce, b"order", probe.number))
    return tuple(found)


def window_name(stage: int | Probe) -> str:
    """Return the name of a stage's window."""
    return f"run-{stage}" if isinstance(stage, int) else stage.name


def window_names(asked: Asked) -> list[str]:
    """Return the names of all windows of a session's record, in order."""
    named = ["idle-0"]
    for number, stage in enumerate(stages(asked), 1):
        named += [window_name(stage), f"{IDLE_PREFIX}{number}"]
    return named


def around(trace: PowerTrace, name: str) -> tuple[Window | None, Window | None]:
    """Return the idle windows that stand right before and right after a window; None where another one does."""
    windows = trace.windows
    before = {later.name: earlier for earlier, later in pairwise(windows)}
    after = {earlier.name: later for earlier, later in pairwise(windows)}
    return _idle(before.get(name)), _idle(after.get(name))


def _idle(window: Window | None) -> Window | None:
    return window if window is not None and window.name.startswith(IDLE_PREFIX) else None


def _asks(rounds: int, pairs: int) -> int:
    return rounds * (2 * pairs + 1)


def _key(nonce: bytes, label: bytes, number: int) -> bytes:
    return hashlib.sha256(_PREFIX + nonce + label + b"\x00" + number.to_bytes(4, "big")).digest()


def _drawn(asked: Asked, label: bytes, count: int) -> list[int]:
    """Return the numbers below `count` in an order that the nonce draws."""
    return sorted(range(count), key=lambda number: _key(asked.nonce, label, number))


def _messages(asked: Asked, label: bytes, count: int) -> list[tuple[int, ...]]:
    """Return whole messages of places below `count`, drawn."""
    drawn, size = _drawn(asked, label, count), asked.batch
    return [tuple(drawn[at : at + size]) for at in range(0, len(drawn) - size + 1, size)]


def _shard(asked: Asked) -> list[tuple[Message, ...]]:
    count = private_places(asked)
    private = _messages(asked, b"private", asked.private)[: count // asked.batch]
    public = _messages(asked, b"public", asked.points)
    pairs = [
        _in_drawn_order(
            asked,
            b"pair",
            pair,
            (Message(role="private", places=hidden, pair=pair),),
            (Message(role="public", places=known, pair=pair),),
        )
        for pair, (hidden, known) in enumerate(zip(private, public, strict=False))
    ]
    half = -(-len(pairs) // SHARD_WINDOWS)
    parts = [pairs[at : at + half] for at in range(0, len(pairs), half)] if pairs else []
    return [tuple(message for pair in part for message in pair) for part in parts]


def _repeats(asked: Asked, rounds: int, pairs: int) -> tuple[Message, ...]:
    drawn = _messages(asked, b"repeat", asked.points)
    found: list[Message] = []
    for number in range(rounds):
        one, *others = drawn[number * (pairs + 1) : (number + 1) * (pairs + 1)]
        repeated = [Message(role=role, places=one, pair=number) for role in _first_and_again(pairs)]
        different = [Message(role="other", places=each, pair=number) for each in others]
        found += _in_drawn_order(asked, b"round", number, repeated, different)
    return tuple(found)


def _first_and_again(times: int) -> tuple[Role, ...]:
    again: Role = "again"
    return ("first", *(again for _ in range(times)))


def _in_drawn_order(
    asked: Asked, label: bytes, number: int, one: Sequence[Message], other: Sequence[Message]
) -> tuple[Message, ...]:
    swapped = _key(asked.nonce, label, number)[0] & 1
    return (*other, *one) if swapped else (*one, *other)
