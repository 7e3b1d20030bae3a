"""Translates between the wire's messages and the plain values of protocol.samples and protocol.wire.model.

Translation never judges: what a value may be is checked by whoever received it. Enumerators that this revision does not
know become None or, where the value has one, its "unspecified".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task, TaskSpec
from protocol.samples import (
    Answer,
    AudioEncoding,
    AudioInput,
    ChatInput,
    ChatMessage,
    ChatRole,
    Detection,
    DetectionsAnswer,
    ErrorReason,
    ImageAnswer,
    ImageEncoding,
    ImageInput,
    LabelsAnswer,
    QuestionInput,
    SampleError,
    SampleInput,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
    TextInput,
    TextPairInput,
    TokenDelta,
    Usage,
    image_encoding,
)
from protocol.units import NS_PER_MS
from protocol.wire.jouleseal.v1 import sealed_inference_pb2 as pb
from protocol.wire.model import Description, LoadOrder, LoadPhase, TaskSupport

_TASKS = {task: pb.Task.Value(f"TASK_{task.name}") for task in Task}
_PRECISIONS = {precision: pb.Precision.Value(f"PRECISION_{precision.name}") for precision in Precision}
_PHASES = {phase: pb.LoadPhase.Value(f"LOAD_PHASE_{phase.name}") for phase in LoadPhase}
_ROLES = {role: pb.ChatRole.Value(f"CHAT_ROLE_{role.name}") for role in ChatRole}
_IMAGES = {known: pb.ImageEncoding.Value(f"IMAGE_ENCODING_{known.name}") for known in ImageEncoding}
_AUDIO = {known: pb.AudioEncoding.Value(f"AUDIO_ENCODING_{known.name}") for known in AudioEncoding}
_REASONS = {reason: pb.SampleError.Reason.Value(f"REASON_{reason.name}") for reason in ErrorReason}
_TASK_OF = {number: task for task, number in _TASKS.items()}
_PRECISION_OF = {number: precision for precision, number in _PRECISIONS.items()}
_PHASE_OF = {number: phase for phase, number in _PHASES.items()}
_ROLE_OF = {number: role for role, number in _ROLES.items()}
_REASON_OF = {number: reason for reason, number in _REASONS.items()}
_Count = Literal["input_tokens", "output_tokens", "reasoning_tokens", "cached_input_tokens"]
_USAGE_FIELDS: tuple[_Count, ...] = ("input_tokens", "output_tokens", "reasoning_tokens", "cached_input_tokens")
_ENVELOPE_BYTES = 64 * 1024  # room in a message for the fields around its samples, and for token counts


def message_bounds(spec: TaskSpec, batch: int) -> tuple[int, int]:
    """Return the largest query and the largest answer of a task in bytes, for queries of `batch` samples."""
    return spec.request_bytes * batch + _ENVELOPE_BYTES, spec.response_bytes * batch + _ENVELOPE_BYTES


# --- inputs


def write_sample(sample: pb.Sample, index: int, value: SampleInput) -> None:
    """Fill a message of the wire with one input."""
    sample.index = index
    match value:
        case TextInput():
            sample.text.SetInParent()
            sample.text.text = value.text
        case ChatInput():
            sample.chat.SetInParent()
            for turn in value.messages:
                sample.chat.messages.add(role=_ROLES[turn.role], content=turn.content)
        case QuestionInput():
            sample.question.SetInParent()
            sample.question.question = value.question
            sample.question.context = value.context
        case TextPairInput():
            sample.text_pair.SetInParent()
            sample.text_pair.first = value.first
            sample.text_pair.second = value.second
        case ImageInput():
            sample.image.SetInParent()
            sample.image.content = value.content
            sample.image.encoding = _IMAGES[value.encoding] if value.encoding else pb.IMAGE_ENCODING_UNSPECIFIED
        case AudioInput():
            sample.audio.SetInParent()
            sample.audio.content = value.content
            sample.audio.encoding = _AUDIO[value.encoding] if value.encoding else pb.AUDIO_ENCODING_UNSPECIFIED


def _read_chat(chat: pb.ChatInput) -> ChatInput:
    turns = (ChatMessage(role=_ROLE_OF.get(turn.role, ChatRole.USER), content=turn.content) for turn in chat.messages)
    return ChatInput(messages=tuple(turns))


_READ_INPUT: dict[str, Callable[[Any], SampleInput]] = {
    "text": lambda text: TextInput(text=text.text),
    "chat": _read_chat,
    "question": lambda asked: QuestionInput(question=asked.question, context=asked.context),
    "text_pair": lambda pair: TextPairInput(first=pair.first, second=pair.second),
    "image": lambda image: ImageInput(content=image.content),
    "audio": lambda audio: AudioInput(content=audio.content),
}


def read_sample(sample: pb.Sample) -> SampleInput | None:
    """Return the input of a sample, None where it holds none that this revision knows."""
    kind = sample.WhichOneof("input")
    return None if kind is None else _READ_INPUT[kind](getattr(sample, kind))


# --- answers


def _write_usage(usage: pb.Usage, value: Usage) -> None:
    usage.SetInParent()
    for name in _USAGE_FIELDS:
        count = getattr(value, name)
        if count is not None:
            setattr(usage, name, count)


def read_usage(usage: pb.Usage) -> Usage:
    """Return token counts; a count that was not sent is None."""
    return Usage(**{name: getattr(usage, name) if usage.HasField(name) else None for name in _USAGE_FIELDS})


def _write_text(answer: pb.Answer, value: TextAnswer) -> None:
    answer.text.SetInParent()
    answer.text.text = value.text
    if value.reasoning is not None:
        answer.text.reasoning = value.reasoning


def _write_span(answer: pb.Answer, value: SpanAnswer) -> None:
    answer.span.SetInParent()
    answer.span.start = value.start
    answer.span.end = value.end
    if value.score is not None:
        answer.span.score = value.score


def _write_detections(answer: pb.Answer, value: DetectionsAnswer) -> None:
    answer.detections.SetInParent()
    for found in value.detections:
        answer.detections.detections.add(
            label=found.label,
            score=found.score,
            x_min=found.x_min,
            y_min=found.y_min,
            x_max=found.x_max,
            y_max=found.y_max,
        )


def _write_image(answer: pb.Answer, value: ImageAnswer) -> None:
    answer.image.SetInParent()
    answer.image.content = value.content
    encoding = image_encoding(value.content)
    answer.image.encoding = _IMAGES[encoding] if encoding else pb.IMAGE_ENCODING_UNSPECIFIED


def _write_error(answer: pb.Answer, value: SampleError) -> None:
    answer.error.SetInParent()
    answer.error.reason = _REASONS[value.reason]
    if value.detail is not None:
        answer.error.detail = value.detail


def write_answer(answer: pb.Answer, index: int, value: Answer) -> None:
    """Fill a message of the wire with one answer."""
    answer.index = index
    match value:
        case TextAnswer():
            _write_text(answer, value)
        case SpanAnswer():
            _write_span(answer, value)
        case LabelsAnswer():
            answer.labels.SetInParent()
            for name, score in value.labels:
                answer.labels.labels.add(name=name, score=score)
        case ScoreAnswer():
            answer.score.SetInParent()
            answer.score.score = value.score
        case DetectionsAnswer():
            _write_detections(answer, value)
        case ImageAnswer():
            _write_image(answer, value)
        case SampleError():
            _write_error(answer, value)
    if value.usage is not None:
        _write_usage(answer.usage, value.usage)


def _read_text(answer: pb.Answer, usage: Usage | None) -> Answer:
    reasoning = answer.text.reasoning if answer.text.HasField("reasoning") else None
    return TextAnswer(text=answer.text.text, reasoning=reasoning, usage=usage)


def _read_span(answer: pb.Answer, usage: Usage | None) -> Answer:
    score = answer.span.score if answer.span.HasField("score") else None
    return SpanAnswer(start=answer.span.start, end=answer.span.end, score=score, usage=usage)


def _read_labels(answer: pb.Answer, usage: Usage | None) -> Answer:
    return LabelsAnswer(labels=tuple((label.name, label.score) for label in answer.labels.labels), usage=usage)


def _read_detections(answer: pb.Answer, usage: Usage | None) -> Answer:
    found = (
        Detection(label=one.label, score=one.score, x_min=one.x_min, y_min=one.y_min, x_max=one.x_max, y_max=one.y_max)
        for one in answer.detections.detections
    )
    return DetectionsAnswer(detections=tuple(found), usage=usage)


def _read_error(answer: pb.Answer, usage: Usage | None) -> Answer:
    detail = answer.error.detail if answer.error.HasField("detail") else None
    reason = _REASON_OF.get(answer.error.reason, ErrorReason.UNSPECIFIED)
    return SampleError(reason=reason, detail=detail, usage=usage)


_READ_ANSWER: dict[str, Callable[[pb.Answer, Usage | None], Answer]] = {
    "text": _read_text,
    "span": _read_span,
    "labels": _read_labels,
    "score": lambda answer, usage: ScoreAnswer(score=answer.score.score, usage=usage),
    "detections": _read_detections,
    "image": lambda answer, usage: ImageAnswer(content=answer.image.content, usage=usage),
    "error": _read_error,
}


def read_answer(answer: pb.Answer) -> Answer | None:
    """Return an answer, None where it holds no output that this revision knows."""
    kind = answer.WhichOneof("output")
    if kind is None:
        return None
    usage = read_usage(answer.usage) if answer.HasField("usage") else None
    return _READ_ANSWER[kind](answer, usage)


def write_delta(delta: pb.TokenDelta, value: TokenDelta) -> None:
    """Fill a message of the wire with one piece of a streamed answer."""
    delta.tokens = value.tokens
    delta.text = value.text
    delta.reasoning = value.reasoning


def read_delta(delta: pb.TokenDelta) -> TokenDelta:
    """Return one piece of a streamed answer."""
    return TokenDelta(tokens=delta.tokens, text=delta.text, reasoning=delta.reasoning)


# --- facts of the image, and loading


def write_description(value: Description) -> pb.DescribeResponse:
    """Return a description as a message of the wire."""
    message = pb.DescribeResponse(
        schema_revision=value.schema_revision,
        minimum_client_revision=value.minimum_client_revision,
        model=value.model,
        model_version=value.model_version,
        engine=value.engine,
        engine_version=value.engine_version,
        max_batch_size=value.max_batch,
        streams_tokens=value.streams_tokens,
        counts_tokens=value.counts_tokens,
        weights_sealed=value.weights_sealed,
    )
    for support in value.tasks:
        message.tasks.add(task=_TASKS[support.task], precisions=[_PRECISIONS[one] for one in support.precisions])
    return message


def read_description(message: pb.DescribeResponse) -> Description:
    """Return a description without tasks and precisions that this revision does not know; an absent batch is 0."""
    tasks = (
        TaskSupport(
            task=_TASK_OF[support.task],
            precisions=tuple(_PRECISION_OF[one] for one in support.precisions if one in _PRECISION_OF),
        )
        for support in message.tasks
        if support.task in _TASK_OF
    )
    return Description(
        schema_revision=message.schema_revision,
        minimum_client_revision=message.minimum_client_revision,
        model=message.model,
        model_version=message.model_version,
        engine=message.engine,
        engine_version=message.engine_version,
        tasks=tuple(tasks),
        max_batch=message.max_batch_size,
        streams_tokens=message.streams_tokens,
        counts_tokens=message.counts_tokens,
        weights_sealed=message.weights_sealed,
    )


def write_load(spec: TaskSpec, precision: Precision, batch: int) -> pb.LoadRequest:
    """Return the order to load a task, with the bounds of its session."""
    request_bytes, response_bytes = message_bounds(spec, batch)
    return pb.LoadRequest(
        task=_TASKS[spec.task],
        precision=_PRECISIONS[precision],
        batch_size=batch,
        limits=pb.Limits(
            min_output_tokens=spec.min_tokens,
            max_output_tokens=spec.max_tokens,
            max_request_bytes=request_bytes,
            max_response_bytes=response_bytes,
            sample_deadline_ms=spec.sample_deadline_ns // NS_PER_MS,
        ),
    )


def read_load(message: pb.LoadRequest) -> LoadOrder | None:
    """Return the order to load, None where its task or precision is not one that this revision knows."""
    task, precision = _TASK_OF.get(message.task), _PRECISION_OF.get(message.precision)
    if task is None or precision is None:
        return None
    limits = message.limits
    return LoadOrder(
        task=task,
        precision=precision,
        batch=message.batch_size,
        min_output_tokens=limits.min_output_tokens if limits.HasField("min_output_tokens") else None,
        max_output_tokens=limits.max_output_tokens if limits.HasField("max_output_tokens") else None,
        max_request_bytes=limits.max_request_bytes,
        max_response_bytes=limits.max_response_bytes,
        sample_deadline_ms=limits.sample_deadline_ms,
    )


def write_phase(phase: LoadPhase) -> pb.LoadResponse:
    """Return a phase of loading as a message of the wire."""
    return pb.LoadResponse(phase=_PHASES[phase])


def read_phase(message: pb.LoadResponse) -> LoadPhase | None:
    """Return a phase of loading, None where it is not one that this revision knows."""
    return _PHASE_OF.get(message.phase)
