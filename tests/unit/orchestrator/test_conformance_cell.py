"""One cell's questions put to models on real sockets: honest ones, and ones that are wrong in one way each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.conformance.cell import CellCheck, rules_of
from orchestrator.conformance.report import Finding, Notes
from orchestrator.conformance.rules import Rule
from orchestrator.conformance.seat import Seat
from orchestrator.datasets.store import load
from orchestrator.doctor import Health
from orchestrator.drive.loadgen import Progress
from orchestrator.live import View
from orchestrator.session import Bench, SessionOrder
from protocol.methodology.scenario import Precision, Scenario
from protocol.methodology.tasks import Task
from protocol.samples import Answer, ErrorReason, LabelsAnswer, SampleError, SampleInput
from protocol.submission import Cell
from protocol.wire import Description, TaskSupport
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.transport import grpc
from tests.unit.drive.servers import Raw, honest_server, label_answer, raw_server

TASK = Task.TEXT_CLASSIFICATION
REVIEWS = load("embedded-reviews")
REFERENCES = {point.input.text: point.reference for point in (*REVIEWS.points, *REVIEWS.warm_up)}
ALIVE = SimpleNamespace(failure=lambda: None)


class Model:
    """Answers every review rightly, until `answer` is something else."""

    def __init__(self, answer: Callable[[int, str], Answer] | None = None) -> None:
        self.asked = 0
        self._answer = answer or (lambda _asked, reference: right(reference))

    def describe(self) -> Description:
        support = (TaskSupport(task=TASK, precisions=(Precision.FP32,)),)
        return Description(model="m", model_version="1", engine="e", engine_version="1", tasks=support, max_batch=32)

    def load(self, _order: Any) -> None:
        """Load nothing."""

    def infer(self, inputs: list[SampleInput]) -> list[Answer]:
        answers = []
        for given in inputs:
            self.asked += 1
            answers.append(self._answer(self.asked, REFERENCES[given.text]))
        return answers


def right(reference: str) -> Answer:
    return LabelsAnswer(labels=((reference, 0.9),))


def session(scenario: Scenario, samples: int) -> SessionOrder:
    cell = Cell(
        task=TASK,
        scenario=scenario,
        precision=Precision.FP32,
        dataset=REVIEWS.name,
        dataset_digest=REVIEWS.digest,
        points=samples,
        runs=1,
    )
    return SessionOrder(session_id="s", cell=cell, image=None, profile=None, cpus=1, dataset=REVIEWS, nonce=b"")


class Seated:
    """Stands for Bringing: seats at an endpoint that is there already, as often as is asked for."""

    def __init__(self, endpoint: Any, order: SessionOrder, sandbox: Any = ALIVE) -> None:
        self.notes, self.order, self.seats = Notes(order.cell.cell_id), order, 0
        self.bench = Bench(engine=None, interrupts=None, view=View(Progress()), work=Path())
        self._endpoint, self._sandbox = endpoint, sandbox

    @contextmanager
    def seat(self) -> Iterator[Seat]:
        self.seats += 1
        yield Seat(sandbox=self._sandbox, endpoint=self._endpoint, ready_ns=10**9)


def checked(endpoint: Any, scenario: Scenario, samples: int = 33) -> tuple[CellCheck, dict[Rule, Finding]]:
    check = CellCheck(Seated(endpoint, session(scenario, samples)))
    check.check()
    return check, {finding.rule: finding for finding in check.bringing.notes.findings}


def asked(tmp_path: Path, model: Model, scenario: Scenario) -> dict[Rule, Finding]:
    with honest_server(str(tmp_path / "s"), model, TASK, scenario.batch) as endpoint:
        endpoint.load(TASK, Precision.FP32, scenario.batch, 20)
        return checked(endpoint, scenario)[1]


ASKING = {
    Rule.STREAM,
    Rule.FORM,
    Rule.CONTENT,
    Rule.TOKENS,
    Rule.DEADLINE,
    Rule.QUALITY,
    Rule.NO_STATE,
    Rule.UNLOAD,
}


@pytest.mark.parametrize("scenario", list(Scenario))
def test_a_good_model_keeps_every_rule_of_its_scenario(tmp_path: Path, scenario: Scenario):
    found = asked(tmp_path, Model(), scenario)
    assert found.keys() == ASKING | ({Rule.LAST_BATCH} & set(rules_of(scenario)))
    assert {finding.health for finding in found.values()} == {Health.OK}
    assert "accuracy 1.0000 on 33 public points" in found[Rule.QUALITY].observed


def test_a_model_that_answers_by_the_clock_of_its_queries_keeps_state(tmp_path: Path):
    """It counts its queries within a pass and answers by that number: right in one order, wrong in every other."""
    by_place = [point.reference for point in (*REVIEWS.warm_up[:10], *REVIEWS.points[:33])]

    def place(asked: int, _reference: str) -> Answer:
        return right(by_place[asked - 1] if asked <= 43 else by_place[10 + (asked - 44) % 33])

    found = asked(tmp_path, Model(place), Scenario.LATENCY)
    assert found[Rule.QUALITY].health is Health.OK
    assert found[Rule.NO_STATE].code == "ANSWERS_DEPEND_ON_ORDER"
    assert found[Rule.NO_STATE].health is Health.FAILED


def test_a_model_that_throws_dice_is_warned_and_not_failed(tmp_path: Path):
    def dice(asked: int, _reference: str) -> Answer:
        return right("positive" if asked * asked % 7 < 3 else "negative")

    found = asked(tmp_path, Model(dice), Scenario.LATENCY)
    assert (found[Rule.NO_STATE].code, found[Rule.NO_STATE].health) == ("NOT_DETERMINISTIC", Health.WARNING)


def test_a_model_that_guesses_is_below_the_floor(tmp_path: Path):
    found = asked(tmp_path, Model(lambda _asked, _reference: right("maybe")), Scenario.LATENCY)
    assert (found[Rule.QUALITY].code, found[Rule.QUALITY].health) == ("BELOW_FLOOR", Health.WARNING)
    assert "floor 0.6000" in found[Rule.QUALITY].observed


def test_errors_of_samples_fail_and_are_told_in_the_models_words(tmp_path: Path):
    def refuse(asked: int, reference: str) -> Answer:
        refused = SampleError(reason=ErrorReason.TOO_LONG, detail="over 512 tokens")
        return refused if asked % 10 == 0 else right(reference)

    quality = asked(tmp_path, Model(refuse), Scenario.LATENCY)[Rule.QUALITY]
    assert (quality.code, quality.health) == ("SAMPLE_ERRORS", Health.FAILED)
    assert "too-long over 512 tokens" in quality.observed


def answering(twist: Callable[[int, pb.InferResponse], None]) -> Raw:
    """A server whose answers are sound but for what `twist` does to them, told how many queries came before."""
    seen = [0]

    def infer(requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        for data in requests:
            request = pb.InferRequest.FromString(data)
            response = label_answer(request.query, len(request.samples))
            twist(seen[0], response)
            seen[0] += 1
            yield response.SerializeToString()

    return Raw(infer=infer)


def test_several_rules_broken_at_once_are_several_findings(tmp_path: Path):
    def twist(number: int, response: pb.InferResponse) -> None:
        match number % 3:
            case 0:
                response.answers[0].labels.labels[0].score = float("nan")
            case 1:
                response.answers.add(index=1)

    with raw_server(str(tmp_path / "s"), answering(twist)) as endpoint:
        found = checked(endpoint, Scenario.LATENCY)[1]
    assert found[Rule.FORM].code == "WRONG_OUTPUT_COUNT"
    assert found[Rule.CONTENT].code == "NOT_A_NUMBER"
    assert found[Rule.TOKENS].health is Health.OK
    assert Rule.QUALITY not in found
    assert Rule.NO_STATE not in found


def test_what_was_never_judged_is_not_called_sound(tmp_path: Path):
    def twist(_number: int, response: pb.InferResponse) -> None:
        response.query += 1

    with raw_server(str(tmp_path / "s"), answering(twist)) as endpoint:
        found = checked(endpoint, Scenario.LATENCY)[1]
    assert found[Rule.FORM].code == "OUT_OF_ORDER"
    assert {Rule.CONTENT, Rule.TOKENS} & found.keys() == set()


def test_a_server_that_drops_what_is_missing_from_the_last_batch_is_found(tmp_path: Path):
    def twist(_number: int, response: pb.InferResponse) -> None:
        if len(response.answers) == 8:
            del response.answers[4:]

    with raw_server(str(tmp_path / "s"), answering(twist), batch=32) as endpoint:
        found = checked(endpoint, Scenario.THROUGHPUT, samples=64)[1]
    assert found[Rule.FORM].health is Health.OK
    assert (found[Rule.LAST_BATCH].code, found[Rule.LAST_BATCH].health) == ("WRONG_OUTPUT_COUNT", Health.FAILED)
    assert found[Rule.NO_STATE].health is Health.OK


def test_a_stage_that_loses_the_stream_is_followed_by_the_next_in_another_seat(tmp_path: Path):
    def infer(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        next(requests)
        context.abort(grpc.StatusCode.INTERNAL, "a secret of the vendor")
        yield b""

    with raw_server(str(tmp_path / "s"), Raw(infer=infer), batch=32) as endpoint:
        check, found = checked(endpoint, Scenario.THROUGHPUT)
    assert check.bringing.seats == 3  # the answers, the last batch, and the unloading
    assert {found[rule].code for rule in (Rule.STREAM, Rule.LAST_BATCH, Rule.UNLOAD)} == {"VENDOR_STATUS"}
    assert "secret" not in str(found)
    assert check.estimate.seconds is None
