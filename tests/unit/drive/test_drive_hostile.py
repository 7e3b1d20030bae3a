"""Vendors that break the wire: each is met on a real socket and leaves with a named error and nothing else."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.drive import codec
from orchestrator.drive.codec import decode_responses, decode_token_stream, encode_requests, encode_token_request
from orchestrator.drive.loadgen import drive_run
from protocol.errors import DatasetUnavailable, DeadlineExceeded, JoulesealError, ProtocolViolation
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import REGISTRY, Task
from protocol.samples import Detection, DetectionsAnswer, ImageAnswer, LabelsAnswer, SpanAnswer, TextAnswer, Usage
from protocol.wire import translate
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.transport import grpc
from tests.unit.drive.servers import TIMEOUT_S, Raw, label_answer, raw_server
from tests.unit.drive.story import QUESTIONS, points_of

DAY_NS = 86_400 * 10**9
SOON_NS = 200 * 10**6
TEXT = Task.TEXT_CLASSIFICATION


def answering(data: bytes) -> Raw:
    """A server that answers every query with the same bytes."""

    def infer(requests, _context):
        for _ in requests:
            yield data

    return Raw(infer=infer)


def labels(query: int = 0, indices: tuple[int, ...] = (0,), scores: tuple[float, ...] = (0.5,)) -> bytes:
    response = pb.InferResponse(query=query)
    for index in indices:
        response.answers.add(index=index).labels.labels.extend(pb.Label(name="a", score=score) for score in scores)
    return response.SerializeToString()


def one(value, *, usage: pb.Usage | None = None) -> bytes:
    response = pb.InferResponse(usage=usage)
    translate.write_answer(response.answers.add(), 0, value)
    return response.SerializeToString()


def text(content: str, **usage: int) -> TextAnswer:
    return TextAnswer(text=content, usage=Usage(**usage))


def bare_text(content: bytes) -> bytes:
    """A response whose one label's name is `content`."""
    for number in (1, 1, 4, 2):  # Label.name, LabelsOutput.labels, Answer.labels, InferResponse.answers
        content = bytes([number << 3 | 2, len(content)]) + content
    return content


def box(label: str = "a", **edges: float) -> DetectionsAnswer:
    sides = {"x_min": 0.0, "y_min": 0.0, "x_max": 1.0, "y_max": 1.0} | edges
    return DetectionsAnswer(detections=(Detection(label=label, score=1.0, **sides),))


GEN, QA, BOXES, DRAW = Task.TEXT_GENERATION, Task.EXTRACTIVE_QA, Task.OBJECT_DETECTION, Task.IMAGE_GENERATION
SPAN_END = len(QUESTIONS[QA].context) + 1
HOSTILE = {
    "no answer": ("WRONG_OUTPUT_COUNT", TEXT, b""),
    "two answers to one sample": ("WRONG_OUTPUT_COUNT", TEXT, labels(indices=(0, 1))),
    "an answer to another sample": ("OUT_OF_ORDER", TEXT, labels(indices=(1,))),
    "an answer to another query": ("OUT_OF_ORDER", TEXT, labels(query=7)),
    "another task's answer": ("WRONG_OUTPUT_TYPE", TEXT, one(text("x"))),
    "an empty answer": ("WRONG_OUTPUT_TYPE", TEXT, pb.InferResponse(answers=[pb.Answer()]).SerializeToString()),
    "no label": ("WRONG_OUTPUT_TYPE", TEXT, labels(scores=())),
    "labels worst first": ("LABELS_NOT_SORTED", TEXT, labels(scores=(0.1, 0.9))),
    "not a number": ("NOT_A_NUMBER", TEXT, labels(scores=(math.nan,))),
    "an infinite number": ("NOT_A_NUMBER", TEXT, labels(scores=(math.inf, 0.0))),
    "a box of nothing": ("NOT_A_NUMBER", BOXES, one(box(x_max=math.nan))),
    "a box inside out": ("BOX_INSIDE_OUT", BOXES, one(box(y_max=-1.0))),
    "a box with no name": ("LABEL_EMPTY", BOXES, one(box(label=""))),
    "a label with no name": ("LABEL_EMPTY", TEXT, one(LabelsAnswer(labels=(("a", 1.0), ("", 0.5))))),
    "a span beyond the context": ("SPAN_OUT_OF_RANGE", QA, one(SpanAnswer(start=0, end=SPAN_END))),
    "a span backwards": ("SPAN_OUT_OF_RANGE", QA, one(SpanAnswer(start=5, end=4))),
    "a picture of text": ("IMAGE_UNREADABLE", DRAW, one(ImageAnswer(content=b"GIF89a"))),
    "garbage": ("GARBAGE_BYTES", TEXT, b"\xff" * 64),
    "a response cut short": ("GARBAGE_BYTES", TEXT, label_answer().SerializeToString()[:-3]),
    "a text that is not UTF-8": ("INVALID_UTF8", TEXT, bare_text(b"\xc3\x28")),
    "a thousand and one labels": ("OUTPUT_TOO_LARGE", TEXT, labels(scores=(0.5,) * 1001)),
    "a label without end": ("OUTPUT_TOO_LARGE", TEXT, one(LabelsAnswer(labels=(("a" * 257, 1.0),)))),
    "half a million empty answers": ("OUTPUT_TOO_LARGE", TEXT, b"\x12\x00" * 500_000),
    "too many tokens": ("TOO_MANY_TOKENS", GEN, one(text("x", output_tokens=11))),
    "too few tokens": ("TOO_FEW_TOKENS", GEN, one(text("x", output_tokens=9))),
    "a text longer than its tokens": ("TOO_MANY_TOKENS", GEN, one(text("x" * 1281, output_tokens=10))),
    "more reasoning than tokens": ("USAGE_CONTRADICTS", GEN, one(text("x", output_tokens=10, reasoning_tokens=11))),
    "more remembered than read": ("USAGE_CONTRADICTS", GEN, one(text("x", input_tokens=1, cached_input_tokens=2))),
    "a sum that is none": ("USAGE_CONTRADICTS", GEN, one(text("x", output_tokens=10), usage=pb.Usage(output_tokens=9))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_named(name, socket_path):
    code, task, data = HOSTILE[name]
    points = points_of(task, 1)
    with raw_server(socket_path, answering(data), task) as endpoint:
        exchange = endpoint.open_exchange()
        record = drive_run(exchange, encode_requests(points, 1), [1], [DAY_NS])
        exchange.close()
    with pytest.raises(ProtocolViolation) as caught:
        decode_responses(record.responses, points, REGISTRY[task], 1)
    assert caught.value.code == code


def failing(raw: Raw, socket_path: str, deadline_ns: int = DAY_NS) -> JoulesealError:
    """The error of the second of three queries."""
    with raw_server(socket_path, raw) as endpoint:
        exchange = endpoint.open_exchange()
        requests = encode_requests(points_of(TEXT, 3), 1)
        assert exchange.ask(requests[0], DAY_NS) == label_answer().SerializeToString()
        with pytest.raises(JoulesealError) as caught:
            exchange.ask(requests[1], deadline_ns)
        exchange.close()
    return caught.value


def second(behaviour) -> Raw:
    """A server that answers once and then does something else."""

    def infer(requests, context):
        next(requests)
        yield label_answer().SerializeToString()
        next(requests)
        yield from behaviour(context)

    return Raw(infer=infer)


def test_an_answer_of_200_megabytes_is_refused_at_the_door(socket_path):
    error = failing(second(lambda _: iter([bytes(200 << 20)])), socket_path)
    assert (type(error), error.code) == (ProtocolViolation, "RESPONSE_TOO_LARGE")


def test_a_compressed_bomb_is_refused_at_the_door(socket_path):
    raw = second(lambda _: iter([bytes(60 << 20)]))
    raw.compression = grpc.Compression.Gzip
    assert failing(raw, socket_path).code == "RESPONSE_TOO_LARGE"


def test_a_status_is_named_and_its_details_are_not(socket_path):
    def abort(context):
        context.abort(grpc.StatusCode.DATA_LOSS, "SECRET message larger than max")
        yield b""

    error = failing(second(abort), socket_path)
    assert (type(error), error.code) == (ProtocolViolation, "VENDOR_STATUS")
    assert "DATA_LOSS" in error.observed
    assert "SECRET" not in str(error)


def test_an_exception_in_the_vendors_own_server_is_a_status(socket_path):
    def trip(_context):
        raise ValueError("SECRET")
        yield b""

    error = failing(second(trip), socket_path)
    assert error.code == "VENDOR_STATUS"
    assert "SECRET" not in str(error)


def test_a_stream_that_ends_early_is_named(socket_path):
    assert failing(second(lambda _: iter(())), socket_path).code == "STREAM_ENDED"


def test_a_model_that_hangs_is_cancelled_at_its_deadline(socket_path):
    released = threading.Event()

    def hang(context):
        context.add_callback(released.set)
        released.wait(TIMEOUT_S)
        yield b""

    error = failing(second(hang), socket_path, SOON_NS)
    assert (type(error), error.code) == (DeadlineExceeded, "SAMPLE_DEADLINE")
    assert released.is_set()


def test_an_answer_that_comes_too_late_fails_the_pass_even_when_nobody_looked():
    class Slow:
        def ask(self, request: bytes, deadline_ns: int) -> bytes:
            return request

    ticks = iter([0, 10, 20, 31])
    with pytest.raises(DeadlineExceeded, match="query 1") as caught:
        drive_run(Slow(), [b"a", b"b"], [1, 1], [10, 10], clock=lambda: next(ticks))
    assert caught.value.code == "SAMPLE_DEADLINE"


def test_a_query_larger_than_its_task_allows_is_the_datasets_fault(socket_path):
    with raw_server(socket_path, answering(b"")) as endpoint:
        exchange = endpoint.open_exchange()
        with pytest.raises(DatasetUnavailable):
            exchange.ask(bytes(REGISTRY[TEXT].request_bytes + (1 << 20)), DAY_NS)
        exchange.close()


def test_an_exchange_closes_while_the_model_still_computes(socket_path):
    released = threading.Event()

    def infer(requests, context):
        context.add_callback(released.set)
        for _ in requests:
            yield label_answer().SerializeToString()
            released.wait(TIMEOUT_S)

    with raw_server(socket_path, Raw(infer=infer)) as endpoint:
        exchange = endpoint.open_exchange()
        exchange.ask(encode_requests(points_of(TEXT, 1), 1)[0], DAY_NS)
        exchange.close()
        exchange.close()
        assert released.wait(TIMEOUT_S)


def test_600_000_empty_answers_are_counted_before_they_are_built(monkeypatch):
    monkeypatch.setattr(codec.pb, "InferResponse", Unbuilt)
    with pytest.raises(ProtocolViolation) as caught:
        decode_responses([b"\x12\x00" * 600_000], points_of(TEXT, 32), REGISTRY[TEXT], 32)
    assert caught.value.code == "OUTPUT_TOO_LARGE"


class Unbuilt:
    """A message that must not be built."""

    DESCRIPTOR = pb.InferResponse.DESCRIPTOR

    def ParseFromString(self, data: bytes) -> None:  # noqa: N802
        pytest.fail(f"{len(data)} bytes were built")


def test_what_a_vendor_sends_is_an_answer_or_a_violation_and_nothing_else():
    sound = bytearray(b"".join(data for _, _, data in HOSTILE.values() if len(data) < 2_000))

    @given(
        st.binary(max_size=200)
        | st.builds(lambda a, b: bytes(sound[a : a + b]), st.integers(0, len(sound)), st.integers(0, 99))
    )
    @settings(deadline=None, max_examples=300)
    def judge(data: bytes) -> None:
        for task in Task:
            try:
                (answer,) = decode_responses([data], points_of(task, 1), REGISTRY[task], 1)
            except ProtocolViolation:
                continue
            assert answer.kind in {REGISTRY[task].output, None}

    judge()


def test_waiting_for_health_ends_when_the_container_has(socket_path):
    class Ended(Exception):
        pass

    def look() -> None:
        raise Ended

    with raw_server(socket_path, Raw(health=lambda _q, _c: b"\x08\x02")) as endpoint, pytest.raises(Ended):
        endpoint.wait_healthy(TIMEOUT_S, look)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_responses_must_be_whole_passes(count):
    with pytest.raises(ProtocolViolation) as caught:
        decode_responses([labels()] * count, points_of(TEXT, 2), REGISTRY[TEXT], 1)
    assert caught.value.code == "WRONG_OUTPUT_COUNT"


# --- before the first query


def test_nobody_behind_the_socket_is_a_health_timeout(socket_path):
    with raw_server(socket_path, Raw()) as endpoint:
        endpoint.wait_healthy(TIMEOUT_S)
    with raw_server(socket_path, Raw(health=lambda _q, _c: b"\x08\x02")) as endpoint:
        with pytest.raises(DeadlineExceeded, match="serving status 2") as caught:
            endpoint.wait_healthy(0.3)
        assert caught.value.code == "HEALTH_TIMEOUT"


def test_health_that_is_garbage_is_named(socket_path):
    with (
        raw_server(socket_path, Raw(health=lambda _q, _c: b"\xff")) as endpoint,
        pytest.raises(ProtocolViolation) as caught,
    ):
        endpoint.wait_healthy(TIMEOUT_S)
    assert caught.value.code == "GARBAGE_BYTES"


def described(**fields) -> bytes:
    support = pb.TaskSupport(task="TASK_TEXT_CLASSIFICATION", precisions=["PRECISION_FP32"])
    whole = {
        "schema_revision": 1,
        "minimum_client_revision": 1,
        "model": "m",
        "model_version": "1",
        "engine": "e",
        "engine_version": "1",
        "tasks": [support],
        "max_batch_size": 1,
    }
    return pb.DescribeResponse(**(whole | fields)).SerializeToString()


DESCRIPTIONS = {
    "garbage": ("GARBAGE_BYTES", b"\xff"),
    "nothing": ("DESCRIPTION_INCOMPLETE", b""),
    "no batch": ("DESCRIPTION_INCOMPLETE", described(max_batch_size=None)),
    "no tasks": ("DESCRIPTION_INCOMPLETE", described(tasks=[])),
    "a task without precisions": ("DESCRIPTION_INCOMPLETE", described(tasks=[pb.TaskSupport(task=1)])),
    "the same task twice": ("DESCRIPTION_INCOMPLETE", described(tasks=[pb.TaskSupport(task=1, precisions=[1])] * 2)),
    "a name of control characters": ("DESCRIPTION_INCOMPLETE", described(model="\x1b[31m")),
    "a name without end": ("DESCRIPTION_INCOMPLETE", described(engine="e" * 129)),
    "a server of the future": (
        "REVISION_UNSUPPORTED",
        described(schema_revision=9, minimum_client_revision=9),
    ),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_bad_description_is_named(name, socket_path):
    code, data = DESCRIPTIONS[name]
    with (
        raw_server(socket_path, Raw(describe=lambda _q, _c: data)) as endpoint,
        pytest.raises(ProtocolViolation) as caught,
    ):
        endpoint.describe(TIMEOUT_S)
    assert caught.value.code == code


def test_a_sound_description_of_the_future_is_read_without_what_is_unknown(socket_path):
    known = pb.TaskSupport(task="TASK_TEXT_CLASSIFICATION", precisions=["PRECISION_FP32", 99])
    data = described(schema_revision=9, tasks=[known, pb.TaskSupport(task=99, precisions=[1])]) + b"\xa2\x06\x01x"
    with raw_server(socket_path, Raw(describe=lambda _q, _c: data)) as endpoint:
        (support,) = endpoint.describe(TIMEOUT_S).tasks
    assert (support.task, support.precisions) == (TEXT, (Precision.FP32,))


def hang(_request, context):
    released = threading.Event()
    context.add_callback(released.set)
    released.wait(TIMEOUT_S)
    return b""


def hang_streaming(request, context):
    yield hang(request, context)


def test_every_call_before_the_run_has_its_own_deadline_code(socket_path):
    raw = Raw(describe=hang, load=hang_streaming, infer_tokens=hang_streaming)
    with raw_server(socket_path, raw) as endpoint:
        calls = {
            "DESCRIBE_TIMEOUT": lambda: endpoint.describe(0.2),
            "LOAD_TIMEOUT": lambda: endpoint.load(TEXT, Precision.FP32, 1, 0.2),
            "SAMPLE_DEADLINE": lambda: list(endpoint.infer_tokens(b"", 0.2)),
        }
        for code, call in calls.items():
            with pytest.raises(DeadlineExceeded) as caught:
                call()
            assert caught.value.code == code


def test_loading_that_never_gets_ready_is_named(socket_path):
    with (
        raw_server(socket_path, Raw(load=lambda _q, _c: iter([b"\x08\x01", b"\x08\x63"]))) as endpoint,
        pytest.raises(ProtocolViolation) as caught,
    ):
        endpoint.load(TEXT, Precision.FP32, 1, TIMEOUT_S)
    assert caught.value.code == "LOAD_INCOMPLETE"


# --- streamed answers


def piece(content: str, tokens: int = 1) -> bytes:
    return pb.InferTokensResponse(delta=pb.TokenDelta(tokens=tokens, text=content)).SerializeToString()


def whole(content: str, tokens: int = 10) -> bytes:
    message = pb.InferTokensResponse()
    translate.write_answer(message.answer, 0, text(content, output_tokens=tokens))
    return message.SerializeToString()


STREAMS = {
    "no end": ("STREAM_ENDED", [piece("ab", 10)]),
    "nothing": ("STREAM_ENDED", []),
    "two ends": ("STREAM_ENDED", [whole("ab"), whole("ab")]),
    "another text": ("USAGE_CONTRADICTS", [piece("ab", 10), whole("abc")]),
    "other tokens": ("USAGE_CONTRADICTS", [piece("ab", 9), whole("ab")]),
    "an empty piece": ("USAGE_CONTRADICTS", [piece("", 0), piece("ab", 10), whole("ab")]),
    "garbage": ("GARBAGE_BYTES", [b"\xff", whole("ab")]),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_bad_token_stream_is_named(name):
    code, messages = STREAMS[name]
    with pytest.raises(ProtocolViolation) as caught:
        decode_token_stream(messages, points_of(GEN, 1)[0], REGISTRY[GEN])
    assert caught.value.code == code


def test_more_pieces_than_tokens_are_cut_off(socket_path):
    def flood(_request, context):
        while context.is_active():
            yield piece("x")

    with (
        raw_server(socket_path, Raw(infer_tokens=flood), GEN) as endpoint,
        pytest.raises(ProtocolViolation) as caught,
    ):
        list(endpoint.infer_tokens(encode_token_request(points_of(GEN, 1)[0]), TIMEOUT_S))
    assert caught.value.code == "TOO_MANY_TOKENS"
