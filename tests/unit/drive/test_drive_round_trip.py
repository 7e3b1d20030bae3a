"""An honest vendor is asked: all ten tasks arrive as they were sent and are answered as the model meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from orchestrator.drive.codec import decode_responses, decode_token_stream, encode_requests, encode_token_request
from orchestrator.drive.loadgen import Progress, drive_run, drive_token_pass
from protocol.errors import JoulesealError, ProtocolViolation
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Answer, SampleInput, TextAnswer, TokenDelta
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport
from tests.unit.drive.servers import honest_server
from tests.unit.drive.story import ANSWERS, QUESTIONS, REFUSAL, points_of

DAY_NS = 86_400 * 10**9
T = 20.0


@dataclass
class Vendor:
    """Answers its task's question; refuses the second sample of every query of three."""

    task: Task
    calls: list[object] = field(default_factory=list)

    def describe(self) -> Description:
        support = TaskSupport(task=self.task, precisions=(Precision.FP32, Precision.INT8))
        return Description(
            model="m",
            model_version="1",
            engine="e",
            engine_version="2",
            tasks=(support,),
            max_batch=3,
            streams_tokens=True,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        self.calls.append(order)
        yield LoadPhase.READING
        yield LoadPhase.WARMING

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        self.calls.append(list(inputs))
        return [REFUSAL if index == 1 else ANSWERS[self.task] for index in range(len(inputs))]

    def infer_tokens(self, sample: SampleInput) -> Iterator[TokenDelta | Answer]:
        self.calls.append(sample)
        yield TokenDelta(tokens=4, text="there ")
        yield TokenDelta(tokens=6, text="was 🐟")
        yield ANSWERS[Task.TEXT_GENERATION]

    def unload(self) -> None:
        self.calls.append("unload")


@pytest.mark.parametrize("task", list(Task))
def test_every_task_comes_and_goes_whole(task, socket_path):
    vendor = Vendor(task)
    points = points_of(task, 4)
    with honest_server(socket_path, vendor, task, 3) as endpoint:
        phases: list[LoadPhase] = []
        endpoint.load(task, Precision.INT8, 3, T, phases.append)
        exchange = endpoint.open_exchange()
        progress = Progress()
        requests = encode_requests(points, 3)
        record = drive_run(exchange, requests, [3, 1], [DAY_NS] * 2, progress=progress)
        again = drive_run(exchange, requests, [3, 1], [DAY_NS] * 2)
        exchange.close()
        endpoint.unload(T)
    answer = ANSWERS[task]
    both = record.responses + again.responses
    assert decode_responses(both, points, REGISTRY[task], 3) == [answer, REFUSAL, answer, answer] * 2
    order, first, second, *_ = vendor.calls
    assert isinstance(order, LoadOrder)
    assert (order.task, order.precision, order.batch) == (task, Precision.INT8, 3)
    assert (order.min_output_tokens, order.max_output_tokens) == (REGISTRY[task].min_tokens, REGISTRY[task].max_tokens)
    assert (first, second) == ([QUESTIONS[task]] * 3, [QUESTIONS[task]])
    assert vendor.calls[-1] == "unload"
    assert phases == [LoadPhase.READING, LoadPhase.WARMING, LoadPhase.READY]
    assert progress.done == 2
    assert [(one.query, one.passno, one.samples) for one in record.queries] == [(0, 0, 3), (1, 0, 1)]
    assert record.queries[0].done_ns <= record.queries[1].sent_ns


def test_a_description_arrives_as_it_was_given(socket_path):
    vendor = Vendor(Task.REASONING)
    with honest_server(socket_path, vendor, Task.REASONING) as endpoint:
        assert endpoint.describe(T) == vendor.describe()


def test_tokens_arrive_in_pieces_and_then_whole(socket_path):
    vendor = Vendor(Task.TEXT_GENERATION)
    points = points_of(Task.TEXT_GENERATION, 2)
    with honest_server(socket_path, vendor, Task.TEXT_GENERATION) as endpoint:
        endpoint.load(Task.TEXT_GENERATION, Precision.FP32, 1, T)
        record = drive_token_pass(endpoint, [encode_token_request(point) for point in points], [DAY_NS] * 2)
    stream = decode_token_stream(record.messages[0], points[0], REGISTRY[Task.TEXT_GENERATION])
    assert stream.answer == ANSWERS[Task.TEXT_GENERATION]
    assert "".join(delta.text for delta in stream.deltas) == "there was 🐟"
    for one in record.queries:
        assert one.first_ns is not None
        assert one.sent_ns <= one.first_ns <= one.done_ns


class Tripping(Vendor):
    """Fails with words that nobody else should read."""

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        raise RuntimeError("SECRET weights at /opt/secret")


class Starving(Vendor):
    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        raise MemoryError


class Blank(Vendor):
    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        return [TextAnswer(text="\ud800")]  # a lone surrogate has no UTF-8


@pytest.mark.parametrize(
    ("vendor", "status"), [(Tripping, "INTERNAL"), (Starving, "RESOURCE_EXHAUSTED"), (Blank, "INTERNAL")]
)
def test_a_vendors_exception_is_a_status_without_its_words(vendor, status, socket_path, capfd):
    task = Task.TEXT_CLASSIFICATION
    with honest_server(socket_path, vendor(task), task) as endpoint:
        endpoint.load(task, Precision.FP32, 1, T)
        exchange = endpoint.open_exchange()
        with pytest.raises(ProtocolViolation) as caught:
            exchange.ask(encode_requests(points_of(task, 1), 1)[0], DAY_NS)
        exchange.close()
    assert caught.value.code == "VENDOR_STATUS"
    assert status in caught.value.observed
    assert "SECRET" not in str(caught.value)
    if vendor is Tripping:
        assert "SECRET weights" in capfd.readouterr().err


def test_asking_before_loading_or_the_wrong_kind_or_too_many_is_refused(socket_path):
    task = Task.TEXT_CLASSIFICATION
    asks = {
        "FAILED_PRECONDITION": (False, points_of(task, 1)),
        "INVALID_ARGUMENT": (True, points_of(Task.SPEECH_TO_TEXT, 1)),
    }
    for status, (load, points) in asks.items():
        with honest_server(socket_path, Vendor(task), task, 1) as endpoint:
            if load:
                endpoint.load(task, Precision.FP32, 1, T)
            exchange = endpoint.open_exchange()
            with pytest.raises(ProtocolViolation, match=status):
                exchange.ask(encode_requests(points, 1)[0], DAY_NS)
            exchange.close()


def test_what_was_never_described_cannot_be_loaded(socket_path):
    task = Task.TEXT_CLASSIFICATION
    with honest_server(socket_path, Vendor(task), task) as endpoint, pytest.raises(JoulesealError) as caught:
        endpoint.load(task, Precision.FP8, 1, T)
    assert caught.value.code == "TASK_NOT_OFFERED"
