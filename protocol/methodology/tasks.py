"""The task registry: one row per task, with what goes in, what comes out, how it is bounded and how it is scored.

Adding a task adds a row here and a message on the wire, and touches no other room.
Sources of the ten tasks: AI Energy Score (February 2025), https://huggingface.github.io/AIEnergyScore.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

from protocol.units import MIB, NS_PER_S


class Task(Enum):
    """The ten standard tasks; the value is the name used in submissions, plans and figures."""

    TEXT_GENERATION = "text-generation"
    REASONING = "reasoning"
    SUMMARIZATION = "summarization"
    EXTRACTIVE_QA = "extractive-qa"
    TEXT_CLASSIFICATION = "text-classification"
    SEMANTIC_SIMILARITY = "semantic-similarity"
    IMAGE_CLASSIFICATION = "image-classification"
    OBJECT_DETECTION = "object-detection"
    SPEECH_TO_TEXT = "speech-to-text"
    IMAGE_GENERATION = "image-generation"


class Input(Enum):
    """What a sample of the task carries; the value is the field of the wire's `Sample.input`."""

    TEXT = "text"
    CHAT = "chat"
    QUESTION = "question"
    TEXT_PAIR = "text_pair"
    IMAGE = "image"
    AUDIO = "audio"


class Output(Enum):
    """What an answer of the task carries; the value is the field of the wire's `Answer.output`."""

    TEXT = "text"
    SPAN = "span"
    LABELS = "labels"
    SCORE = "score"
    DETECTIONS = "detections"
    IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A row of the registry.

    Token bounds are per answer, None where the task has no tokens. `request_bytes` and `response_bytes` bound one
    sample's share of a message. `sample_deadline_ns` is the time an answer to one sample may take; a batch may take the
    sum of its samples' deadlines. `quality_floor` is the value of `quality_metric` below which nothing is rated, None
    where no floor is defined yet (such a task cannot be certified).
    """

    task: Task
    inputs: frozenset[Input]
    output: Output
    min_tokens: int | None
    max_tokens: int | None
    request_bytes: int
    response_bytes: int
    sample_deadline_ns: int
    quality_metric: str
    quality_floor: Fraction | None


def _row(  # noqa: PLR0917 - a table reads best as rows
    task: Task,
    inputs: set[Input],
    output: Output,
    tokens: tuple[int, int] | None,
    mib: tuple[int, int],
    deadline_s: int,
    quality: tuple[str, Fraction | None],
) -> TaskSpec:
    return TaskSpec(
        task=task,
        inputs=frozenset(inputs),
        output=output,
        min_tokens=tokens[0] if tokens else None,
        max_tokens=tokens[1] if tokens else None,
        request_bytes=mib[0] * MIB,
        response_bytes=mib[1] * MIB,
        sample_deadline_ns=deadline_s * NS_PER_S,
        quality_metric=quality[0],
        quality_floor=quality[1],
    )


# Token bounds: AI Energy Score generates 10 tokens (min = max) for text generation and summarization; reasoning answers
# are given room to think. Message bounds: original JPEG, PNG, FLAC and WAV bytes of the standard datasets with room to
# spare; answers are text, numbers or one PNG. Floors exist for the two tasks that have data here and are our own
# choice: 0.6 lies above guessing (0.1 for ten digits, 0.5 for two sentiments) and below the measured accuracy of our
# own reference vendors (0.967 and 0.810).
_TEXT = {Input.TEXT, Input.CHAT}
REGISTRY: dict[Task, TaskSpec] = {
    spec.task: spec
    for spec in (
        _row(Task.TEXT_GENERATION, _TEXT, Output.TEXT, (10, 10), (4, 1), 60, ("none", None)),
        _row(Task.REASONING, _TEXT, Output.TEXT, (1, 4096), (4, 1), 600, ("exact-match", None)),
        _row(Task.SUMMARIZATION, {Input.TEXT}, Output.TEXT, (10, 10), (4, 1), 60, ("rouge-1", None)),
        _row(Task.EXTRACTIVE_QA, {Input.QUESTION}, Output.SPAN, None, (4, 1), 60, ("f1", None)),
        _row(Task.TEXT_CLASSIFICATION, {Input.TEXT}, Output.LABELS, None, (4, 1), 10, ("accuracy", Fraction(6, 10))),
        _row(Task.SEMANTIC_SIMILARITY, {Input.TEXT_PAIR}, Output.SCORE, None, (4, 1), 10, ("spearman", None)),
        _row(Task.IMAGE_CLASSIFICATION, {Input.IMAGE}, Output.LABELS, None, (8, 1), 10, ("accuracy", Fraction(6, 10))),
        _row(Task.OBJECT_DETECTION, {Input.IMAGE}, Output.DETECTIONS, None, (8, 1), 30, ("ap50", None)),
        _row(Task.SPEECH_TO_TEXT, {Input.AUDIO}, Output.TEXT, (0, 4096), (16, 1), 120, ("wer", None)),
        _row(Task.IMAGE_GENERATION, {Input.TEXT}, Output.IMAGE, None, (1, 16), 300, ("judge-accuracy", None)),
    )
}
