"""What is asked and what is answered: points, inputs and answers as plain values, the same for runner and vendor.

Rules:
  * An input holds exactly what the dataset published: text as text, pictures and recordings in their original bytes.
  * An answer never holds more than the task asks for; a sample that cannot be answered is a `SampleError`.
  * Token counts are claims. Absent is None and never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, TypeAlias

from protocol.methodology.tasks import Input, Output


class ImageEncoding(Enum):
    """How the bytes of a picture are encoded; the value is the beginning that tells."""

    JPEG = b"\xff\xd8\xff"
    PNG = b"\x89PNG\r\n\x1a\n"


class AudioEncoding(Enum):
    """How the bytes of a recording are encoded; the value is the beginning that tells."""

    FLAC = b"fLaC"
    WAV = b"RIFF"


class ChatRole(Enum):
    """Who speaks in a conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextInput:
    """A text."""

    kind: ClassVar[Input] = Input.TEXT
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One turn of a conversation."""

    role: ChatRole
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatInput:
    """A conversation, oldest turn first, whose last turn is to be answered."""

    kind: ClassVar[Input] = Input.CHAT
    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionInput:
    """A question that a span of the context answers."""

    kind: ClassVar[Input] = Input.QUESTION
    question: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPairInput:
    """Two texts whose meanings are compared."""

    kind: ClassVar[Input] = Input.TEXT_PAIR
    first: str
    second: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """A picture as the original bytes of its JPEG or PNG file."""

    kind: ClassVar[Input] = Input.IMAGE
    content: bytes

    @property
    def encoding(self) -> ImageEncoding | None:
        """The encoding that the first bytes tell, None where they tell none that the wire knows."""
        return image_encoding(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInput:
    """A recording as the original bytes of its FLAC or WAV file."""

    kind: ClassVar[Input] = Input.AUDIO
    content: bytes

    @property
    def encoding(self) -> AudioEncoding | None:
        """The encoding that the first bytes tell, None where they tell none that the wire knows."""
        return next((known for known in AudioEncoding if self.content.startswith(known.value)), None)


SampleInput: TypeAlias = TextInput | ChatInput | QuestionInput | TextPairInput | ImageInput | AudioInput


def image_encoding(content: bytes) -> ImageEncoding | None:
    """Return the encoding that a picture's first bytes tell, None where they tell none that the wire knows."""
    return next((known for known in ImageEncoding if content.startswith(known.value)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of a dataset.

    `index` is its place in the dataset as published, `point_id` its name there, `source` the collection it was drawn
    from. `reference` is the right answer (a label, a text, or JSON text for richer ones), None where quality is judged
    without one. Only `input` ever leaves the runner.
    """

    index: int
    point_id: str
    source: str
    input: SampleInput
    reference: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts as the model's own tokenizer counts them; a claim. `output_tokens` includes the reasoning."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_input_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAnswer:
    """A text, with the reasoning that led to it where the model shows it."""

    kind: ClassVar[Output] = Output.TEXT
    text: str
    reasoning: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanAnswer:
    """A span of the context in Unicode code points, end excluded; an empty span says that there is no answer."""

    kind: ClassVar[Output] = Output.SPAN
    start: int
    end: int
    score: float | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsAnswer:
    """Labels with their scores, best first."""

    kind: ClassVar[Output] = Output.LABELS
    labels: tuple[tuple[str, float], ...]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAnswer:
    """How alike two texts are; higher is more alike, on a scale of the model's own."""

    kind: ClassVar[Output] = Output.SCORE
    score: float
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One object and the box around it, in pixels of the picture that was sent, from its upper left corner."""

    label: str
    score: float
    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionsAnswer:
    """The objects found in a picture; none is an answer."""

    kind: ClassVar[Output] = Output.DETECTIONS
    detections: tuple[Detection, ...]
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAnswer:
    """A picture as the bytes of its JPEG or PNG file."""

    kind: ClassVar[Output] = Output.IMAGE
    content: bytes
    usage: Usage | None = None


class ErrorReason(Enum):
    """Why one sample could not be answered while the others were."""

    UNSPECIFIED = "unspecified"
    INTERNAL = "internal"
    TOO_LONG = "too-long"
    UNREADABLE = "unreadable"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleError:
    """A sample that could not be answered; it counts as answered wrongly. `detail` is for the vendor's own eyes."""

    kind: ClassVar[None] = None
    reason: ErrorReason
    detail: str | None = None
    usage: Usage | None = None


Answer: TypeAlias = TextAnswer | SpanAnswer | LabelsAnswer | ScoreAnswer | DetectionsAnswer | ImageAnswer | SampleError


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDelta:
    """A piece of a streamed answer: how many tokens, and their text."""

    tokens: int
    text: str
    reasoning: bool = False
