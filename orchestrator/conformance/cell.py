"""Checks one cell: asks as an official run asks, judges as it judges, and goes on after a failure where it can.

Rules:
 1. Warm-up and points are asked on one stream in the cell's batch, encoded and decoded by the code of official runs.
 2. Where answers break a rule, every query is asked again alone, so that every broken rule has its own finding.
 3. A stage that loses its sandbox is followed by the next stage in a fresh one.
 4. The order of the second pass is drawn as a run's is. A third pass, in the first order again, is asked only to tell
    state from chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.conformance import judge
from orchestrator.conformance.report import OK_CODE, Estimate
from orchestrator.conformance.rules import Rule, rule_of
from orchestrator.conformance.seat import Bringing, Seat, explained
from orchestrator.drive import codec
from orchestrator.drive.loadgen import RunRecord
from orchestrator.evaluate import quality
from orchestrator.session import ask
from protocol.errors import ProtocolViolation, SubmissionError
from protocol.methodology import order
from protocol.methodology.scenario import OFFICIAL_POINTS, Scenario
from protocol.samples import Answer, Point
from protocol.units import NS_PER_S, decimal_string

CELL_RULES = (
    Rule.PROFILE,
    Rule.SOCKET,
    Rule.HEALTH,
    Rule.DESCRIBE,
    Rule.OFFER,
    Rule.LOAD,
    Rule.STREAM,
    Rule.FORM,
    Rule.CONTENT,
    Rule.TOKENS,
    Rule.DEADLINE,
    Rule.QUALITY,
    Rule.LAST_BATCH,
    Rule.NO_STATE,
    Rule.UNLOAD,
    Rule.MEMORY,
    Rule.STOP,
    Rule.OUTPUT,
)
_ANSWER_RULES = (Rule.FORM, Rule.CONTENT, Rule.TOKENS)  # in the order in which a response is judged
_ORDER_SEED = hashlib.sha256(b"jouleseal-check/1").digest()  # stands for a nonce: here the order need not be unknown
_PLACES = 4
_LOOKED = {quality.IMAGE_UNREADABLE: "decode pictures"}  # how a fault was found that no model called one


@dataclass(slots=True)
class CellCheck:
    """One cell being checked; `estimate` is there once its latency is known."""

    bringing: Bringing
    answers: list[Answer] | None = None
    seconds: int | None = None
    _stages: list[Callable[[Seat], bool]] = field(default_factory=list)

    @property
    def estimate(self) -> Estimate:
        """How long the cell would take in an official campaign."""
        return Estimate(scope=self.bringing.notes.scope, seconds=self.seconds)

    @property
    def _batch(self) -> int:
        return self.bringing.order.cell.scenario.batch

    @property
    def _points(self) -> tuple[Point, ...]:
        return self.bringing.order.points

    def check(self) -> None:
        """Try every rule of the cell; what is found is in the notes."""
        self._stages = [self._answers, self._last_batch, self._no_state, self._unload]
        while self._stages:
            try:
                with self.bringing.seat() as seat:
                    self._ask_while_seated(seat)
            except SubmissionError:
                return  # noted where it was raised: no sandbox can be brought up again

    def _ask_while_seated(self, seat: Seat) -> None:
        """Take stages until none is left or one has lost the sandbox."""
        while self._stages:
            stage = self._stages.pop(0)
            if not stage(seat):
                return

    def _answers(self, seat: Seat) -> bool:
        self.bringing.bench.view.stage(f"asking {len(self._points)} public points in batches of {self._batch}")
        notes, spec = self.bringing.notes, self.bringing.order.spec
        warm_up = self._warm_up()
        try:
            warmed = self._ask(seat, warm_up)
            passed = self._ask(seat, self._points)
        except SubmissionError as error:
            notes.failed(explained(seat.sandbox, error), Rule.STREAM)
            return False
        notes.ok(Rule.STREAM, f"{len(warmed.queries) + len(passed.queries)} queries answered")
        self._times(seat, passed)
        try:
            self._decode(warmed, warm_up)
            self.answers = self._decode(passed, self._points)
        except ProtocolViolation as error:
            return self._each_query(seat, error)
        claims = sum(answer.usage is not None for answer in self.answers)
        notes.ok(Rule.FORM, f"{len(self.answers)} answers of the kind {spec.output.value}, in the order asked")
        found = quality.score(spec, self._points, self.answers)
        for code, count in found.faults.items():
            notes.broken(code, f"{count} of {found.samples} answers, as we {_LOOKED.get(code, 'count tokens')}")
        if not notes.has(Rule.CONTENT):
            notes.ok(Rule.CONTENT, f"{len(self.answers)} answers are sound")
        if not notes.has(Rule.TOKENS):
            counted = "" if found.tokens is None else f", {found.tokens.counted} tokens as we count them"
            notes.ok(Rule.TOKENS, f"{claims} of {len(self.answers)} answers claim token counts{counted}")
        self._quality(found, judge.error_words(self._points, self.answers))
        return True

    def _warm_up(self) -> list[Point]:
        pool = self.bringing.order.dataset.warm_up
        return [pool[i % len(pool)] for i in range(self.bringing.order.spec.warm_up_queries * self._batch)]

    def _times(self, seat: Seat, passed: RunRecord) -> None:
        session = self.bringing.order
        times = judge.Times.of(passed.queries, session.spec, self._batch)
        said = (
            f"mean {judge.milliseconds(times.mean_ns)}, slowest {judge.milliseconds(times.slowest_ns)}; "
            f"deadline {self._batch * session.spec.sample_deadline_ns // NS_PER_S} s for a query of {self._batch}"
        )
        if times.slowest_share > judge.DEADLINE_SHARE:
            self.bringing.notes.broken("DEADLINE_MARGIN", said)
        else:
            self.bringing.notes.ok(Rule.DEADLINE, said)
        points = min(OFFICIAL_POINTS, len(session.dataset.points))
        self.seconds = judge.cell_seconds(session.cell.scenario, session.spec, points, times.mean_ns, seat.ready_ns)

    def _each_query(self, seat: Seat, first: ProtocolViolation) -> bool:
        """Ask every query alone and note each code once, with how many queries broke it."""
        notes = self.bringing.notes
        broken: dict[str, list[ProtocolViolation]] = {first.code: []}
        sound = 0
        for chunk in self._chunks():
            try:
                passed = self._ask(seat, chunk)
            except SubmissionError as error:
                notes.failed(explained(seat.sandbox, error), Rule.STREAM)
                return False
            try:
                self._decode(passed, chunk)
                sound += 1
            except ProtocolViolation as error:
                broken.setdefault(error.code, []).append(error)
        for errors in broken.values():
            notes.failed((errors or [first])[0], Rule.FORM)
        judged = _ANSWER_RULES if sound else _ANSWER_RULES[: max(map(_place, broken))]
        for rule in judged:
            if not notes.has(rule):
                notes.ok(rule, f"broken by no query; {sound} of {len(self._chunks())} are sound in everything")
        return True

    def _chunks(self) -> list[tuple[Point, ...]]:
        return [self._points[start : start + self._batch] for start in range(0, len(self._points), self._batch)]

    def _quality(self, found: quality.Quality, errors: str) -> None:
        notes, floor = self.bringing.notes, self.bringing.order.spec.quality_floor
        value = "is not stated: no references" if found.value is None else decimal_string(found.value, _PLACES)
        said = f"{found.metric} {value} on {found.samples} public points"
        if found.errors > found.samples * quality.MAX_ERROR_RATE:
            notes.broken("SAMPLE_ERRORS", f"{found.errors} of {found.samples} samples: {errors}")
        elif floor is None or found.value is None:
            notes.broken("NO_FLOOR", said)
        elif not self.bringing.order.spec.meets_floor(found.value):
            notes.broken("BELOW_FLOOR", f"{said}, floor {decimal_string(floor, _PLACES)}")
        else:
            notes.ok(Rule.QUALITY, f"{said}, floor {decimal_string(floor, _PLACES)}, {found.errors} errors")

    def _last_batch(self, seat: Seat) -> bool:
        """Ask a full query and then one as small as the last of an official run."""
        if self._batch == 1:
            return True
        rest = OFFICIAL_POINTS % self._batch or 1
        points = self.bringing.order.dataset.points[: self._batch + rest]
        if self._pass(seat, points, Rule.LAST_BATCH) is not None:
            self.bringing.notes.ok(Rule.LAST_BATCH, f"a query of {rest} after one of {self._batch}")
        return self._usable(Rule.LAST_BATCH)

    def _no_state(self, seat: Seat) -> bool:
        """Ask the same points in another order and compare, point by point."""
        if self.answers is None:
            return True
        notes = self.bringing.notes
        drawn = order.run_order(_ORDER_SEED, 1, len(self._points))
        others = self._pass(seat, [self._points[i] for i in drawn], Rule.NO_STATE)
        if others is None:
            return self._usable(Rule.NO_STATE)
        reordered = judge.differing([self.answers[i] for i in drawn], others)
        repeated = 0
        if reordered:
            again = self._pass(seat, self._points, Rule.NO_STATE)
            if again is None:
                return self._usable(Rule.NO_STATE)
            repeated = judge.differing(self.answers, again)
        said = f"{reordered} of {len(drawn)} answers differ in another order"
        code = judge.state_code(self.bringing.order.spec, self._batch, len(drawn), reordered, repeated)
        if code is None:
            notes.ok(Rule.NO_STATE, said)
        else:
            notes.broken(code, f"{said}, {repeated} in the same order")
        return True

    def _unload(self, seat: Seat) -> bool:
        try:
            seat.endpoint.unload(self.bringing.bench.deadlines.unload_s)
        except SubmissionError as error:
            self.bringing.notes.failed(explained(seat.sandbox, error), Rule.UNLOAD)
        else:
            self.bringing.notes.ok(Rule.UNLOAD, "done")
        return True

    def _pass(self, seat: Seat, points: Sequence[Point], rule: Rule) -> list[Answer] | None:
        """Ask points and return their answers; None where it failed, which is noted under the rule."""
        try:
            return self._decode(self._ask(seat, points), points)
        except SubmissionError as error:
            self.bringing.notes.failed(explained(seat.sandbox, error), rule, here=True)
            return None

    def _usable(self, rule: Rule) -> bool:
        """Whether what was noted under the rule left the conversation whole: wrong answers do, all else does not."""
        codes = [finding.code for finding in self.bringing.notes.findings if finding.rule is rule]
        return all(code == OK_CODE or rule_of(code) in _ANSWER_RULES for code in codes)

    def _ask(self, seat: Seat, points: Sequence[Point]) -> RunRecord:
        return ask(seat.endpoint, self.bringing.order, points)

    def _decode(self, passed: RunRecord, points: Sequence[Point]) -> list[Answer]:
        return codec.decode_responses(passed.responses, points, self.bringing.order.spec, self._batch)


def rules_of(scenario: Scenario) -> tuple[Rule, ...]:
    """Return the rules that apply to a cell of the scenario: one sample a query has no smaller last one."""
    return tuple(rule for rule in CELL_RULES if scenario.batch > 1 or rule is not Rule.LAST_BATCH)


def _place(code: str) -> int:
    """Return where in the judging of a response a code comes; what comes later has not been judged with it."""
    rule = rule_of(code)
    return _ANSWER_RULES.index(rule) if rule in _ANSWER_RULES else 0
