"""Three verdicts on answers that were not computed when they were asked for: prepared, cached, repeated from memory.

The windows and their messages are those of `stages`. Everything is recomputed by whoever doubts: latencies from the
timelines, energy from the meter's record; quality is what the runner signed, bound by the response roots.

Rules
1. Pairs. A private message stands beside a public one, and a round's different messages beside its repeated ones. A
   pair *exceeds* where the first side took at least EFFECT times as long as the second. As many adjacent messages of
   the runs are a pair of the same kind in which neither side is anything special. If nothing is special about the
   probe's pairs either, how many of all exceeding pairs fall among them has the hypergeometric distribution, whatever
   the noise and however unlike the points are: Fisher's exact test (Statistical Methods for Research Workers, 21.02). A
   verdict is flagged where at least half of the probe's pairs exceed (the effect) and the probability of that many or
   more by chance is at most SIGNIFICANCE. So an honest vendor is flagged by latency in at most one of 10,000 tests, and
   fewer, as half of the pairs must exceed as well. Where even all pairs together could not be significant, nothing is
   judged.
2. `prepared-answers`: the private points are dearer than the public ones, and were from run 1 on; or their quality is
   lower by at least QUALITY_GAP and by more than Hoeffding's inequality (JASA 58, 1963, theorem 1) allows at
   SIGNIFICANCE. It holds for any mean of values within [0, 1]; other metrics are not compared.
3. `cached-answers`: in each quarter of run 1, half of the points or more took at least EFFECT times as long as they do
   in the middle of the later runs (or, where rule 5 resolves the runs, run 1 cost EFFECT times as much as they do), and
   the private points are dearer by rule 1 than the public ones are by then: so run 1 was no stretch of a busy machine,
   in which the later private points have no part. Where no shard can be judged, the step must instead show against
   every later run too, of which there must be two at least; this bound is by effect and not by a probability. A step in
   what run 1 cost against every other run flags by itself, for CPU time is only one's own.
4. `repeated-answers`: messages that are asked again within their round take less than the different ones by rule 1.
   With one sample a query a side counts relative to its point's least latency in the runs, for points are unlike.
5. Energy: an accelerator's joules, and otherwise the sandbox's CPU time, of which its estimate or its share of RAPL is
   made and which nobody else's work adds to. What one side of a probe's pairs costs relative to a sample of the runs
   follows from the window's whole, as the other side is asked in the runs as well. A window shorter than RESOLVED_NS
   (ten updates of a counter), or HOST_RESOLVED_NS (the kernel charges a running thread at its next tick, 10 ms at
   most), is not resolved. By CPU time the limit is EFFECT, on an accelerator ENERGY_EFFECT, and neither is less than
   MARGIN standard doubts: those of the windows, and of the mean over so few points. What a repeated point is expected
   to cost follows from its least latency, with one sample a query.

SIGNIFICANCE is what makes a false flag in a campaign of 40 sessions and three verdicts rarer than 1 in 80. EFFECT lies
between 1 and the 5 of a table that answers five times as fast: sqrt(5) = 2.24, and some room for the honest side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import comb
from typing import Final, Literal

from protocol.methodology import statistics
from protocol.methodology.order import run_order
from protocol.methodology.stages import Asked, Probe, probes
from protocol.methodology.timeline import QueryRecord
from protocol.units import NS_PER_MS, NS_PER_S

EFFECT: Final = Fraction(5, 2)
SIGNIFICANCE: Final = Fraction(1, 10_000)
LOG_SIGNIFICANCE: Final = Fraction(92_104, 10_000)  # -ln(SIGNIFICANCE), rounded up
QUALITY_GAP: Final = Fraction(1, 10)
ENERGY_EFFECT: Final = Fraction(5, 4)
MARGIN: Final = 4  # standard doubts: 3e-5 on one side of a normal distribution
RESOLVED_NS: Final = NS_PER_S
HOST_RESOLVED_NS: Final = 200 * NS_PER_MS
MIN_LATER_RUNS: Final = 2
QUARTERS: Final = 4
BOUNDED_MEANS: Final = frozenset({"accuracy", "exact-match", "f1", "rouge-1", "judge-accuracy"})

PREPARED_ANSWERS: Final = "prepared-answers"
CACHED_ANSWERS: Final = "cached-answers"
REPEATED_ANSWERS: Final = "repeated-answers"
NOT_JUDGED_FLAG: Final = "probes-not-judged"

State = Literal["passed", "flagged", "not-judged"]
Pairs = Sequence[tuple[int, int]]  # the two sides' latencies, in one unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one sample cost in a window: joules where `gated` is true, nanoseconds of CPU time otherwise.

    `doubt` is the relative standard doubt of the joules, `duration_ns` the window's length.
    """

    amount: Fraction
    doubt: Fraction
    gated: bool
    duration_ns: int

    @property
    def resolved(self) -> bool:
        """Whether the window is long enough to be compared."""
        return self.amount > 0 and self.duration_ns >= (RESOLVED_NS if self.gated else HOST_RESOLVED_NS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The task's metric over some samples."""

    metric: str
    value: Fraction
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a session shows to its probes: the first pass of every run, every probe's timeline, costs and quality.

    `costs` is by the name of the window (`run-1`, `shard-1`) and lacks those that carry no energy. `public` is the
    quality of every run, `private` that of every shard window over its private samples.
    """

    asked: Asked
    runs: Sequence[Sequence[QueryRecord]]
    windows: Mapping[str, Sequence[QueryRecord]]
    costs: Mapping[str, Cost] = field(default_factory=dict)
    public: Sequence[Quality] = ()
    private: Sequence[Quality] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one question was answered, and what was seen, or why it was not judged."""

    state: State
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """The three verdicts of a session."""

    prepared: Verdict
    cached: Verdict
    repeated: Verdict

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that the verdicts raise."""
        named = {PREPARED_ANSWERS: self.prepared, CACHED_ANSWERS: self.cached, REPEATED_ANSWERS: self.repeated}
        return tuple(flag for flag, verdict in named.items() if verdict.state == "flagged")

    def figures(self) -> dict[str, str]:
        """Return the verdicts as figures of a cell."""
        found: dict[str, str] = {}
        for name, verdict in (("prepared", self.prepared), ("cached", self.cached), ("repeated", self.repeated)):
            found[f"{name}Answers"] = verdict.state
            found[f"{name}AnswersSeen"] = verdict.words
        return found


VERDICT_FIGURES: Final = frozenset(
    f"{name}Answers{suffix}" for name in ("prepared", "cached", "repeated") for suffix in ("", "Seen")
)


def judged(figures: Mapping[str, str]) -> bool:
    """Return whether a cell's figures have all three verdicts, and each was judged."""
    states = [figures.get(f"{name}Answers", "not-judged") for name in ("prepared", "cached", "repeated")]
    return "not-judged" not in states


def verdicts(seen: Seen) -> Verdicts:
    """Return the three verdicts on a session; exact, and the same for whoever computes them."""
    shard = _shard_pairs(seen)
    null = _adjacent(_first_passes(seen))
    test = _test(shard, null)
    dear_energy = _dearer_energy(seen)
    dear = test.significant or dear_energy
    stepped = _stepped(seen)
    return Verdicts(
        prepared=_prepared(seen, test, dear=dear, stepped=stepped, by_energy=dear_energy),
        cached=_cached(seen, test, dear=dear, stepped=stepped),
        repeated=_repeated(seen),
    )


# Pairs and their test


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTest:
    """How many of a probe's pairs exceed, and of the runs' pairs; `chance` is the probability of that many or more."""

    pairs: int
    exceeding: int
    runs_pairs: int
    runs_exceeding: int
    chance: Fraction
    judged: bool

    @property
    def significant(self) -> bool:
        """Whether the effect is there and is no chance."""
        return self.judged and 2 * self.exceeding >= self.pairs and self.chance <= SIGNIFICANCE

    @property
    def words(self) -> str:
        """What was seen."""
        ratio = f"{float(EFFECT):g} times as long"
        return (
            f"{self.exceeding} of {self.pairs} pairs {ratio}, "
            f"{self.runs_exceeding} of {self.runs_pairs} pairs of the runs"
        )


def _test(pairs: Pairs, null: Pairs) -> PairTest:
    n, m = len(pairs), len(null)
    x, y = _exceeding(pairs), _exceeding(null)
    return PairTest(
        pairs=n,
        exceeding=x,
        runs_pairs=m,
        runs_exceeding=y,
        chance=chance(n, x, m, y),
        judged=n > 0 and chance(n, n, m, 0) <= SIGNIFICANCE,
    )


def chance(pairs: int, exceeding: int, others: int, others_exceeding: int) -> Fraction:
    """Return the probability that `exceeding` or more of all exceeding pairs are among `pairs` of all pairs."""
    hits = exceeding + others_exceeding
    ways = sum(comb(pairs, k) * comb(others, hits - k) for k in range(exceeding, min(pairs, hits) + 1))
    return Fraction(ways, comb(pairs + others, hits))


def _exceeding(pairs: Pairs) -> int:
    return sum(heavy * EFFECT.denominator >= light * EFFECT.numerator for heavy, light in pairs)


def _latency(record: QueryRecord) -> int:
    return max(record.done_ns - record.sent_ns, 1)


def _first_passes(seen: Seen) -> list[list[int]]:
    """Return the latencies of every run's first pass, of whole messages only, in order."""
    whole = seen.asked.points // seen.asked.batch
    return [[_latency(record) for record in records[:whole]] for records in seen.runs]


def _adjacent(runs: Sequence[Sequence[int]], size: int = 1) -> list[tuple[int, int]]:
    """Return every two adjacent blocks of so many messages once; which is the first side alternates, as in a probe."""
    found = []
    for latencies in runs:
        blocks = [sum(latencies[at : at + size]) for at in range(0, len(latencies) - size + 1, size)]
        for number in range(len(blocks) // 2):
            one, two = blocks[2 * number : 2 * number + 2]
            found.append((one, two) if number % 2 else (two, one))
    return found


def _shard_pairs(seen: Seen) -> list[tuple[int, int]]:
    return [
        (_latency(records[private]), _latency(records[public]))
        for probe, records in _of_kind(seen, "shard")
        for (private,), (public,) in probe.sides("private", "public")
    ]


def _of_kind(seen: Seen, kind: str) -> list[tuple[Probe, Sequence[QueryRecord]]]:
    """Return the probes of a kind that were asked, each with its timeline."""
    found = [probe for probe in probes(seen.asked) if probe.kind == kind]
    return [(probe, seen.windows[probe.name]) for probe in found if probe.name in seen.windows]


# Prepared


def _prepared(seen: Seen, test: PairTest, *, dear: bool, stepped: bool, by_energy: bool) -> Verdict:
    if not seen.asked.private:
        return Verdict(state="not-judged", words="the dataset has no private shard")
    gap = _quality_gap(seen)
    if gap:
        return Verdict(state="flagged", words=gap)
    if dear and not stepped:
        return Verdict(state="flagged", words=f"private points: {_dear_words(test, by_energy=by_energy)}")
    if not test.judged:
        return Verdict(state="not-judged", words=_too_few(test))
    return Verdict(state="passed", words=f"private points: {test.words}")


def _too_few(test: PairTest) -> str:
    return f"{test.pairs} pairs beside {test.runs_pairs} of the runs are too few for a significance of 1 in 10,000"


def _dear_words(test: PairTest, *, by_energy: bool) -> str:
    return test.words if test.significant or not by_energy else "dearer by energy than a sample of any run"


def _quality_gap(seen: Seen) -> str:
    """Return the words of a quality that is lower on private points than chance allows; nothing otherwise."""
    known = [part for part in seen.private if part.samples]
    samples = sum(part.samples for part in known)
    names = {part.metric for part in [*known, *seen.public]}
    if not known or not seen.public or len(names) != 1 or not names <= BOUNDED_MEANS:
        return ""
    private = sum((part.value * part.samples for part in known), Fraction(0)) / samples
    public = statistics.mean([part.value for part in seen.public])
    gap = public - private
    spread = Fraction(1, samples) + Fraction(1, seen.asked.points)
    if gap < QUALITY_GAP or 2 * gap**2 < LOG_SIGNIFICANCE * spread:
        return ""
    return f"{names.pop()} {float(private):.3f} on {samples} private points, {float(public):.3f} on the public ones"


def _dearer_energy(seen: Seen) -> bool:
    """Return whether private points cost more than a sample of any later run, in every shard window that resolves."""
    resolved = _resolved(seen, "shard")
    runs = _run_costs(seen)[1:]
    if not resolved or not runs:
        return False
    dearest = max(runs, key=lambda cost: cost.amount)
    half = Fraction(1, 2)
    return all(
        _relative(cost, dearest, half) >= _limit(cost, dearest, half, _unlike(seen, probe)) for probe, cost in resolved
    )


def _resolved(seen: Seen, kind: str) -> list[tuple[Probe, Cost]]:
    found = [(probe, seen.costs.get(probe.name)) for probe, _ in _of_kind(seen, kind)]
    return [(probe, cost) for probe, cost in found if cost is not None and cost.resolved]


def _relative(cost: Cost, run: Cost, share: Fraction) -> Fraction:
    """Return what one side of a window costs, `share` of what is expected, relative to a sample of the runs."""
    return (cost.amount / run.amount - (1 - share)) / share


def _limit(cost: Cost, run: Cost, share: Fraction, unlike: Fraction) -> Fraction:
    """Return how many times as much one side must cost; `unlike` is the doubt of the mean over so few points."""
    doubt = statistics.square_root(cost.doubt**2 + run.doubt**2 + unlike**2)
    return max(ENERGY_EFFECT if cost.gated else EFFECT, 1 + MARGIN * doubt / share)


def _unlike(seen: Seen, probe: Probe) -> Fraction:
    """Return the relative doubt of the mean over a probe's messages, from how unlike those of the last run are."""
    latencies = _first_passes(seen)[-1]
    spread = statistics.deviation(latencies) or Fraction(0)
    return spread / statistics.mean(latencies) / statistics.square_root(Fraction(len(probe.messages)))


# Cached


def _cached(seen: Seen, test: PairTest, *, dear: bool, stepped: bool) -> Verdict:
    later = len(seen.runs) - 1
    if not later or (not test.judged and later < MIN_LATER_RUNS):
        words = f"{later} later runs: one is needed beside a private shard, {MIN_LATER_RUNS} without"
        return Verdict(state="not-judged", words=words)
    if _stepped_energy(seen):
        return Verdict(state="flagged", words=f"run 1 cost over {float(EFFECT):g} times as much as every later run")
    step = f"run 1: {_step_words(seen)}"
    if dear and stepped:
        return Verdict(state="flagged", words=f"{step}; by then private points: {test.words}")
    if not test.judged and _steps_throughout(seen):
        return Verdict(state="flagged", words=f"{step}, in each quarter and against every later run")
    return Verdict(state="passed", words=step)


def _steps(seen: Seen) -> list[tuple[int, int]]:
    """Return (latency in run 1, middle of those in the later runs) in the order of run 1: by point, or by message.

    A message of several points is composed anew in every run, and is compared with the middle one of all.
    """
    first, *later = _first_passes(seen)
    if not later:
        return []
    if seen.asked.batch > 1:
        middle = statistics.percentile([value for run in later for value in run], 500) if later[0] else 1
        return [(value, middle) for value in first]
    by_point = _by_point(seen)
    order = run_order(seen.asked.nonce, 1, seen.asked.points)
    return [(by_point[0][point], statistics.percentile([run[point] for run in by_point[1:]], 500)) for point in order]


def _by_point(seen: Seen) -> list[dict[int, int]]:
    """Return each run's latencies by point, with one sample a query."""
    found = []
    for number, latencies in enumerate(_first_passes(seen), 1):
        order = run_order(seen.asked.nonce, number, seen.asked.points)
        found.append(dict(zip(order, latencies, strict=True)))
    return found


def _stepped(seen: Seen) -> bool:
    """Return whether run 1 was dearer throughout: by its costs where they resolve, by its latencies otherwise."""
    if _run_costs(seen):
        return _stepped_energy(seen)
    return _in_each_quarter(_steps(seen))


def _in_each_quarter(steps: Pairs) -> bool:
    size = len(steps) // QUARTERS
    quarters = [steps[size * part : size * (part + 1)] for part in range(QUARTERS)]
    return size > 0 and all(2 * _exceeding(quarter) >= len(quarter) for quarter in quarters)


def _step_words(seen: Seen) -> str:
    steps = _steps(seen)
    return f"{_exceeding(steps)} of {len(steps)} took {float(EFFECT):g} times as long as in the middle of later runs"


def _steps_throughout(seen: Seen) -> bool:
    """Return whether every quarter of run 1 steps, and its middle against that of every later run."""
    first, *later = [statistics.percentile(run, 500) for run in _first_passes(seen)]
    return _in_each_quarter(_steps(seen)) and all(_exceeding([(first, middle)]) for middle in later)


def _run_costs(seen: Seen) -> list[Cost]:
    """Return what a sample cost in every run; nothing unless all of them resolve."""
    found = [seen.costs.get(f"run-{number}") for number in range(1, len(seen.runs) + 1)]
    known = [cost for cost in found if cost is not None and cost.resolved]
    return known if len(known) == len(found) else []


def _stepped_energy(seen: Seen) -> bool:
    costs = _run_costs(seen)
    return len(costs) > 1 and costs[0].amount >= EFFECT * max(cost.amount for cost in costs[1:])


# Repeated


def _repeated(seen: Seen) -> Verdict:
    asked = _of_kind(seen, "repeat")
    if not asked:
        return Verdict(state="not-judged", words="a run has too few whole messages for a repeated one")
    least = _least(seen)
    pairs = [pair for probe, records in asked for pair in _rounds(probe, records, least)]
    size = len(asked[0][0].sides("other", "again")[0][0])
    test = _test(pairs, _adjacent(_relative_passes(seen, least), size))
    if test.significant or _cheaper_energy(seen):
        return Verdict(state="flagged", words=f"different points: {test.words}")
    if not test.judged:
        return Verdict(state="not-judged", words=_too_few(test))
    return Verdict(state="passed", words=f"different points: {test.words}")


_SCALE: Final = 1 << 20  # of a latency relative to its point's least one


def _least(seen: Seen) -> dict[int, int]:
    """Return each point's least latency in the runs; nothing where a query carries several points."""
    if seen.asked.batch > 1:
        return {}
    runs = _by_point(seen)
    return {point: min(run[point] for run in runs) for point in runs[0]}


def _scaled(latency: int, places: Iterable[int], least: Mapping[int, int]) -> int:
    return latency * _SCALE // least[next(iter(places))] if least else latency


def _rounds(probe: Probe, records: Sequence[QueryRecord], least: Mapping[int, int]) -> list[tuple[int, int]]:
    scaled = [
        _scaled(_latency(record), message.places, least)
        for record, message in zip(records, probe.messages, strict=True)
    ]
    return [
        (sum(scaled[place] for place in other), sum(scaled[place] for place in again))
        for other, again in probe.sides("other", "again")
    ]


def _relative_passes(seen: Seen, least: Mapping[int, int]) -> list[list[int]]:
    if not least:
        return _first_passes(seen)
    return [
        [
            _scaled(latency, (point,), least)
            for point, latency in zip(run_order(seen.asked.nonce, number, seen.asked.points), latencies, strict=True)
        ]
        for number, latencies in enumerate(_first_passes(seen), 1)
    ]


def _cheaper_energy(seen: Seen) -> bool:
    """Return whether repeated points cost less than a sample of any run, in every window that resolves."""
    resolved, runs = _resolved(seen, "repeat"), _run_costs(seen)
    if not resolved or not runs:
        return False
    cheapest = min(runs, key=lambda cost: cost.amount)
    for probe, cost in resolved:
        expected, share = _expected(seen, probe)
        unlike = Fraction(0) if seen.asked.batch == 1 else _unlike(seen, probe)
        found = replace(cost, amount=cost.amount / expected)
        if _relative(found, cheapest, share) * _limit(found, cheapest, share, unlike) > 1:
            return False
    return True


def _expected(seen: Seen, probe: Probe) -> tuple[Fraction, Fraction]:
    """Return what a probe's sample costs by its points' least latencies, a run's being 1, and the share asked again."""
    least = _least(seen)
    weights = [Fraction(least[message.places[0]]) if least else Fraction(1) for message in probe.messages]
    again = sum(weight for message, weight in zip(probe.messages, weights, strict=True) if message.role == "again")
    mean = statistics.mean(list(least.values())) if least else Fraction(1)
    return sum(weights, Fraction(0)) / len(weights) / mean, again / sum(weights, Fraction(0))
