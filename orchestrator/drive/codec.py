"""Turns points into the bytes of queries before a window opens, and bytes into answers after it has closed.

Rules, in the order in which a response is judged; each names the code of the ProtocolViolation that breaks it:
  1. There is one response for each query of each pass (WRONG_OUTPUT_COUNT).
  2. It is no larger than its task allows, and no fuller: sub-messages are counted before anything is built from them
     (OUTPUT_TOO_LARGE).
  3. It is a message (GARBAGE_BYTES) whose texts are UTF-8 (INVALID_UTF8).
  4. It answers this query, with one answer for each sample, in their order (OUT_OF_ORDER, WRONG_OUTPUT_COUNT).
  5. Each answer is of the task's kind, or an error of that sample (WRONG_OUTPUT_TYPE).
  6. Numbers are finite (NOT_A_NUMBER), labels have names (LABEL_EMPTY) and stand best first (LABELS_NOT_SORTED), spans
     lie in the context (SPAN_OUT_OF_RANGE), boxes are not inside out (BOX_INSIDE_OUT) and show some of the picture
     (BOX_OUTSIDE), pictures are JPEG or PNG (IMAGE_UNREADABLE).
  7. Claimed tokens are within the task's bounds (TOO_MANY_TOKENS, TOO_FEW_TOKENS), agree with one another
     (USAGE_CONTRADICTS), and no text is longer than that many tokens can be (TOO_MANY_TOKENS).
What is well-formed and still no answer, by our own count of tokens or our own decoder, is found where it is scored.
Nothing that a vendor wrote is repeated in an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from protocol.errors import ProtocolViolation
from protocol.methodology.tasks import TaskSpec
from protocol.pictures import picture_size
from protocol.samples import (
    Answer,
    DetectionsAnswer,
    ImageAnswer,
    ImageInput,
    LabelsAnswer,
    Point,
    QuestionInput,
    SampleError,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
    TokenDelta,
    Usage,
    image_encoding,
)
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.scan import Finding, scan
from protocol.wire.translate import message_bounds, read_answer, read_delta, read_usage, write_answer, write_sample

ITEMS_MAX = 1_000  # labels or detections of one answer: every class of ImageNet-1k, ten times COCO's 100 detections
NAME_CHARS_MAX = 256  # a label's name
DETAIL_CHARS_MAX = 256  # a sample error's detail
TOKEN_BYTES_MAX = 128  # the longest token of the common vocabularies is a run of 128 spaces (cl100k, o200k)
_SCAN_FROM_BYTES = 16 * 1024  # a smaller message cannot become larger than about a megabyte
_M = TypeVar("_M", bound=Message)
_PARTS_PER_ANSWER = 4  # an answer, its output and its token counts, and room for one addition


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStream:
    """A streamed answer: the pieces in which it arrived, and the whole."""

    deltas: tuple[TokenDelta, ...]
    answer: Answer


def encode_requests(points: Sequence[Point], batch: int) -> list[bytes]:
    """Return one serialised query for each batch of points, in the order given; the last may be smaller."""
    requests = []
    for query, start in enumerate(range(0, len(points), batch)):
        message = pb.InferRequest(query=query)
        for index, point in enumerate(points[start : start + batch]):
            write_sample(message.samples.add(), index, point.input)
        requests.append(message.SerializeToString())
    return requests


def encode_token_request(point: Point) -> bytes:
    """Return the serialised request to answer one point piece by piece."""
    message = pb.InferTokensRequest()
    write_sample(message.sample, 0, point.input)
    return message.SerializeToString()


def decode_responses(
    responses: Sequence[bytes], points_in_order: Sequence[Point], spec: TaskSpec, batch: int
) -> list[Answer]:
    """Return the answers of one or more whole passes over the points, in the order in which they were asked.

    Raises ProtocolViolation for the first response that breaks a rule of this module.
    """
    chunks = [points_in_order[start : start + batch] for start in range(0, len(points_in_order), batch)]
    if not chunks or not responses or len(responses) % len(chunks):
        raise _violation("WRONG_OUTPUT_COUNT", f"{len(responses)} responses", f"{len(chunks)} for each pass")
    answers: list[Answer] = []
    for position, data in enumerate(responses):
        query = position % len(chunks)
        answers += _decode_response(data, query, chunks[query], spec, batch)
    return answers


def encode_answer(answer: Answer) -> bytes:
    """Return the bytes by which an answer is committed to: its message on the wire, as sample 0, deterministic."""
    message = pb.Answer()
    write_answer(message, 0, answer)
    return message.SerializeToString(deterministic=True)


def decode_answer(data: bytes, point: Point, spec: TaskSpec) -> Answer:
    """Return the answer in bytes as `encode_answer` wrote them; raises ProtocolViolation as `decode_responses` does."""
    message = _parse(pb.Answer(), data, spec, 1, "an answer")
    return _decode_answer(message, 0, point, spec, "an answer")


def decode_token_stream(messages: Sequence[bytes], point: Point, spec: TaskSpec) -> TokenStream:
    """Return a streamed answer; raises ProtocolViolation where its pieces do not make the whole."""
    events = [_parse(pb.InferTokensResponse(), data, spec, 1, "a piece") for data in messages]
    *pieces, last = events or [pb.InferTokensResponse()]
    if last.WhichOneof("event") != "answer" or any(one.WhichOneof("event") != "delta" for one in pieces):
        raise _violation("STREAM_ENDED", f"{len(events)} messages", "pieces, and then one whole answer")
    answer = _decode_answer(last.answer, 0, point, spec, "the streamed answer")
    deltas = tuple(read_delta(one.delta) for one in pieces)
    _check_pieces(deltas, answer)
    return TokenStream(deltas=deltas, answer=answer)


def _check_pieces(deltas: Iterable[TokenDelta], answer: Answer) -> None:
    if not isinstance(answer, TextAnswer):
        return
    text = "".join(delta.text for delta in deltas if not delta.reasoning)
    tokens = sum(delta.tokens for delta in deltas)
    claimed = answer.usage.output_tokens if answer.usage else None
    if text != answer.text or (claimed is not None and claimed != tokens) or not all(delta.tokens for delta in deltas):
        raise _violation(
            "USAGE_CONTRADICTS",
            f"pieces of {tokens} tokens and {len(text)} characters",
            f"the whole answer's {claimed} tokens and {len(answer.text)} characters, no piece empty",
        )


def _decode_response(data: bytes, query: int, points: Sequence[Point], spec: TaskSpec, batch: int) -> list[Answer]:
    where = f"query {query}"
    message = _parse(pb.InferResponse(), data, spec, batch, where)
    if message.query != query:
        raise _violation("OUT_OF_ORDER", f"an answer to query {message.query}", where)
    if len(message.answers) != len(points):
        raise _violation("WRONG_OUTPUT_COUNT", f"{len(message.answers)} answers to {where}", f"{len(points)}")
    answers = [
        _decode_answer(one, index, point, spec, f"{where}, sample {index}")
        for index, (one, point) in enumerate(zip(message.answers, points, strict=True))
    ]
    if message.HasField("usage"):
        _check_sum(read_usage(message.usage), answers, where)
    return answers


def _parse(message: _M, data: bytes, spec: TaskSpec, batch: int, where: str) -> _M:
    """Fill a message from bytes that nobody has looked at yet."""
    bound = message_bounds(spec, batch)[1]
    if len(data) > bound:
        raise _violation("OUTPUT_TOO_LARGE", f"{len(data)} bytes in {where}", f"at most {bound}")
    parts = batch * (ITEMS_MAX + _PARTS_PER_ANSWER) + _PARTS_PER_ANSWER
    if len(data) > _SCAN_FROM_BYTES and scan(data, message, parts) is Finding.TOO_MANY:
        raise _violation("OUTPUT_TOO_LARGE", f"more than {parts} sub-messages in {where}", f"at most {parts}")
    try:
        message.ParseFromString(data)
    except DecodeError:
        text = scan(data, message, parts) is Finding.BAD_TEXT
        code = "INVALID_UTF8" if text else "GARBAGE_BYTES"
        raise _violation(code, f"{len(data)} bytes in {where}", "a message of the wire, its texts in UTF-8") from None
    return message


def _decode_answer(message: pb.Answer, index: int, point: Point, spec: TaskSpec, where: str) -> Answer:
    if message.index != index:
        raise _violation("OUT_OF_ORDER", f"an answer to sample {message.index}", where)
    answer = read_answer(message)
    if answer is None or answer.kind not in {spec.output, None}:
        seen = "no output" if answer is None or answer.kind is None else answer.kind.value
        raise _violation("WRONG_OUTPUT_TYPE", f"{seen} in {where}", spec.output.value)
    _check_output(answer, point, spec, where)
    if answer.usage is not None:
        _check_usage(answer.usage, answer, spec, where)
    if isinstance(answer, SampleError) and answer.detail is not None:
        return replace(answer, detail=answer.detail[:DETAIL_CHARS_MAX])
    return answer


def _check_output(answer: Answer, point: Point, spec: TaskSpec, where: str) -> None:
    match answer:
        case TextAnswer():
            _check_text(answer, spec, where)
        case SpanAnswer():
            _check_span(answer, point, where)
        case LabelsAnswer():
            _check_labels(answer, where)
        case ScoreAnswer():
            _check_numbers((answer.score,), where)
        case DetectionsAnswer():
            _check_detections(answer, point, where)
        case ImageAnswer():
            if image_encoding(answer.content) is None:
                raise _violation("IMAGE_UNREADABLE", f"neither JPEG nor PNG in {where}", "one of the two")
        case SampleError():
            pass


def _check_numbers(numbers: Iterable[float], where: str) -> None:
    if not all(map(math.isfinite, numbers)):
        raise _violation("NOT_A_NUMBER", f"a number that is not finite in {where}", "finite numbers")


def _check_text(answer: TextAnswer, spec: TaskSpec, where: str) -> None:
    if spec.max_tokens is None:
        return
    size = len(answer.text.encode()) + len((answer.reasoning or "").encode())
    bound = spec.max_tokens * TOKEN_BYTES_MAX
    if size > bound:
        raise _violation(
            "TOO_MANY_TOKENS", f"{size} bytes of text in {where}", f"at most {bound}, as {spec.max_tokens} tokens give"
        )


def _check_span(answer: SpanAnswer, point: Point, where: str) -> None:
    length = len(point.input.context) if isinstance(point.input, QuestionInput) else 0
    if not answer.start <= answer.end <= length:
        raise _violation("SPAN_OUT_OF_RANGE", f"[{answer.start}, {answer.end}) in {where}", f"within [0, {length})")
    _check_numbers(() if answer.score is None else (answer.score,), where)


def _check_items(names: Sequence[str], where: str) -> None:
    if len(names) > ITEMS_MAX or any(len(name) > NAME_CHARS_MAX for name in names):
        raise _violation(
            "OUTPUT_TOO_LARGE",
            f"{len(names)} items in {where}",
            f"at most {ITEMS_MAX}, with names of at most {NAME_CHARS_MAX} characters",
        )


def _check_names(names: Sequence[str], where: str) -> None:
    if not all(names):
        raise _violation("LABEL_EMPTY", f"a label without a name in {where}", "the dataset's names")


def _check_labels(answer: LabelsAnswer, where: str) -> None:
    if not answer.labels:
        raise _violation("WRONG_OUTPUT_TYPE", f"no label in {where}", "at least one")
    names = [name for name, _ in answer.labels]
    _check_items(names, where)
    _check_names(names, where)
    scores = [score for _, score in answer.labels]
    _check_numbers(scores, where)
    if scores != sorted(scores, reverse=True):
        raise _violation("LABELS_NOT_SORTED", f"a better label after a worse one in {where}", "best first")


def _check_detections(answer: DetectionsAnswer, point: Point, where: str) -> None:
    names = [found.label for found in answer.detections]
    _check_items(names, where)
    _check_names(names, where)
    size = picture_size(point.input.content) if isinstance(point.input, ImageInput) else None
    width, height = size or (math.inf, math.inf)
    for found in answer.detections:
        _check_numbers((found.score, found.x_min, found.y_min, found.x_max, found.y_max), where)
        if found.x_min > found.x_max or found.y_min > found.y_max:
            raise _violation("BOX_INSIDE_OUT", f"a box whose edges are swapped in {where}", "minimum before maximum")
        if found.x_max < 0 or found.y_max < 0 or found.x_min > width or found.y_min > height:
            expected = "pixels of the picture that was sent; a box may overhang its edges and is cut there"
            raise _violation("BOX_OUTSIDE", f"a box that shows nothing of the picture in {where}", expected)


def _check_usage(usage: Usage, answer: Answer, spec: TaskSpec, where: str) -> None:
    if _exceeds(usage.reasoning_tokens, usage.output_tokens) or _exceeds(usage.cached_input_tokens, usage.input_tokens):
        raise _violation("USAGE_CONTRADICTS", f"a part larger than its whole in {where}", "parts within their whole")
    if usage.output_tokens is None or isinstance(answer, SampleError):
        return
    if spec.max_tokens is not None and usage.output_tokens > spec.max_tokens:
        raise _violation("TOO_MANY_TOKENS", f"{usage.output_tokens} in {where}", f"at most {spec.max_tokens}")
    if spec.min_tokens is not None and usage.output_tokens < spec.min_tokens:
        raise _violation("TOO_FEW_TOKENS", f"{usage.output_tokens} in {where}", f"at least {spec.min_tokens}")


def _exceeds(part: int | None, whole: int | None) -> bool:
    return part is not None and whole is not None and part > whole


def _check_sum(claimed: Usage, answers: Sequence[Answer], where: str) -> None:
    """Compare a query's claimed output tokens with its answers', where every answer claims its own."""
    parts = [answer.usage.output_tokens if answer.usage else None for answer in answers]
    known = [part for part in parts if part is not None]
    if claimed.output_tokens is not None and len(known) == len(parts) and sum(known) != claimed.output_tokens:
        raise _violation("USAGE_CONTRADICTS", f"{claimed.output_tokens} tokens for {where}", f"{sum(known)}, their sum")


def _violation(code: str, observed: str, expected: str) -> ProtocolViolation:
    return ProtocolViolation(
        code=code,
        observed=observed,
        expected=expected,
        hint="correct the model's answers; `jouleseal check IMAGE` shows them with full logs",
    )
