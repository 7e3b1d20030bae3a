"""A session's latencies and CPU time in virtual time: points of unlike costs, a machine with its noise, and cheats.

`Teller(seed).tell(...)` returns what a session shows to its probes. The noise has the tails of a shared machine of two
cores: every query a factor about 1.2, one in twenty a slice of somebody else's, and stretches of hundreds of queries in
which everything takes up to two and a half times as long.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from protocol.methodology.order import run_order
from protocol.methodology.probes import Cost, Quality, Seen
from protocol.methodology.stages import Asked, stages, window_name
from protocol.methodology.timeline import QueryRecord

QUERY_NS = 3_000_000
SLICE_NS = 4_000_000  # what a scheduler gives to somebody else
STEP_NS = 2_000_000_000
TABLE = 0.2  # what an answer from memory takes of one that is computed: five times as cheap


class Cheat:
    """What a vendor remembers; an honest one nothing. `fresh` says whether an answer has to be computed."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.known: set[tuple[bool, int]] = set()
        self.last: tuple = ()

    def fresh(self, private: bool, places: tuple[int, ...]) -> float:
        """Return the share of these points that has to be computed."""
        keys = [(private, place) for place in places]
        if self.kind == "prepared":
            return float(private)
        if self.kind == "cached":
            share = sum(key not in self.known for key in keys) / len(keys)
            self.known |= set(keys)
            return share
        if self.kind == "repeated":
            share = float(tuple(keys) != self.last)
            self.last = tuple(keys)
            return share
        return 1.0


class Teller:
    """A machine with a vendor on it; the same seed tells the same session."""

    def __init__(self, seed: int, *, unlike: float = 0.3, steady: bool = False) -> None:
        self.random = random.Random(seed)
        self.unlike, self.steady = unlike, steady
        self.costs: dict[tuple[bool, int], float] = {}
        self.slow, self.left = 1.0, 0
        self.now = 10**12
        self.worked = 0.0

    def cost(self, private: bool, place: int) -> float:
        return self.costs.setdefault((private, place), self.random.lognormvariate(0, self.unlike))

    def noise(self) -> float:
        if self.steady:
            return 1.0
        if not self.left:
            self.slow = self.random.uniform(1, 2.5) if self.random.random() < 0.2 else 1.0
            self.left = self.random.randrange(5, 1200)
        self.left -= 1
        return self.slow * self.random.lognormvariate(0, 0.2)

    def query(self, number: int, private: bool, places: tuple[int, ...], cheat: Cheat) -> QueryRecord:
        share = cheat.fresh(private, places)
        work = sum(self.cost(private, place) for place in places) * QUERY_NS * (TABLE + (1 - TABLE) * share)
        self.worked += work
        stolen = SLICE_NS if not self.steady and self.random.random() < 0.05 else 0
        took = int(work * self.noise() + stolen)
        sent = self.now
        self.now += took + 10_000
        return QueryRecord(sent, None, sent + took, number, 0, len(places))

    def tell(
        self, asked: Asked, kind: str = "honest", *, quality: Callable[[bool], float] = lambda private: 0.9
    ) -> Seen:
        """Return what a session of this vendor shows."""
        cheat = Cheat(kind)
        runs, windows, costs = [], {}, {}
        for stage in stages(asked):
            self.now += STEP_NS
            self.left = min(self.left, 200)
            opened, self.worked = self.now, 0.0
            if isinstance(stage, int):
                order = run_order(asked.nonce, stage, asked.points)
                parts = [tuple(order[at : at + asked.batch]) for at in range(0, asked.points, asked.batch)]
                runs.append([self.query(n, False, part, cheat) for n, part in enumerate(parts)])
            else:
                windows[stage.name] = [
                    self.query(n, message.role == "private", message.places, cheat)
                    for n, message in enumerate(stage.messages)
                ]
            samples = asked.points if isinstance(stage, int) else stage.samples
            costs[window_name(stage)] = Cost(
                amount=Fraction(int(self.worked), samples),
                doubt=Fraction(0),
                gated=False,
                duration_ns=self.now - opened,
            )
        shards = [stage for stage in stages(asked) if not isinstance(stage, int) and stage.kind == "shard"]
        return Seen(
            asked=asked,
            runs=runs,
            windows=windows,
            costs=costs,
            public=[self._quality(quality(False), asked.points) for _ in runs],
            private=[self._quality(quality(True), probe.samples // 2) for probe in shards],
        )

    def _quality(self, chance: float, samples: int) -> Quality:
        right = sum(self.random.random() < chance for _ in range(samples))
        return Quality(metric="accuracy", value=Fraction(right, samples), samples=samples)
