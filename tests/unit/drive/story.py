"""One question and one answer for each of the ten tasks."""

from __future__ import annotations

from protocol.methodology.tasks import Task
from protocol.samples import (
    Answer,
    AudioInput,
    ChatInput,
    ChatMessage,
    ChatRole,
    Detection,
    DetectionsAnswer,
    ErrorReason,
    ImageAnswer,
    ImageInput,
    LabelsAnswer,
    Point,
    QuestionInput,
    SampleError,
    SampleInput,
    ScoreAnswer,
    SpanAnswer,
    TextAnswer,
    TextInput,
    TextPairInput,
    Usage,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
JPEG = b"\xff\xd8\xff\xe0" + bytes(64)
TEN = Usage(input_tokens=4, output_tokens=10)
_TALK = (
    ChatMessage(role=ChatRole.SYSTEM, content="Be brief."),
    ChatMessage(role=ChatRole.USER, content="How are you?"),
    ChatMessage(role=ChatRole.ASSISTANT, content="Well."),
    ChatMessage(role=ChatRole.USER, content="Why?"),
)

QUESTIONS: dict[Task, SampleInput] = {
    Task.TEXT_GENERATION: TextInput(text="Once upon a tïme 🐟"),
    Task.REASONING: ChatInput(messages=_TALK),
    Task.SUMMARIZATION: TextInput(text="A long text."),
    Task.EXTRACTIVE_QA: QuestionInput(question="Where?", context="In Ōtautahi, 🐟 lives."),
    Task.TEXT_CLASSIFICATION: TextInput(text=""),
    Task.SEMANTIC_SIMILARITY: TextPairInput(first="a cat", second="a dog"),
    Task.IMAGE_CLASSIFICATION: ImageInput(content=PNG),
    Task.OBJECT_DETECTION: ImageInput(content=JPEG),
    Task.SPEECH_TO_TEXT: AudioInput(content=b"fLaC" + bytes(64)),
    Task.IMAGE_GENERATION: TextInput(text="a fish"),
    Task.IMAGE_CAPTIONING: ImageInput(content=PNG),
}
_BOX = Detection(label="fish", score=0.9, x_min=0.0, y_min=1.5, x_max=10.0, y_max=1.5)
ANSWERS: dict[Task, Answer] = {
    Task.TEXT_GENERATION: TextAnswer(text="there was 🐟", usage=TEN),
    Task.REASONING: TextAnswer(text="42", reasoning="6 x 7", usage=Usage(output_tokens=9, reasoning_tokens=0)),
    Task.SUMMARIZATION: TextAnswer(text="Short.", usage=TEN),
    Task.EXTRACTIVE_QA: SpanAnswer(start=3, end=11, score=0.0),
    Task.TEXT_CLASSIFICATION: LabelsAnswer(labels=(("positive", 0.75), ("negative", 0.25))),
    Task.SEMANTIC_SIMILARITY: ScoreAnswer(score=-0.5),
    Task.IMAGE_CLASSIFICATION: LabelsAnswer(labels=(("7", 1.0),)),
    Task.OBJECT_DETECTION: DetectionsAnswer(detections=(_BOX,)),
    Task.SPEECH_TO_TEXT: TextAnswer(text="", usage=Usage(output_tokens=0)),
    Task.IMAGE_GENERATION: ImageAnswer(content=PNG),
    Task.IMAGE_CAPTIONING: TextAnswer(text="a fish in a bowl on a table by a window", usage=TEN),
}
REFUSAL = SampleError(reason=ErrorReason.REFUSED, detail="no")


def points_of(task: Task, count: int) -> list[Point]:
    """`count` points that ask a task's question."""
    return [
        Point(index=number, point_id=str(number), source="story", input=QUESTIONS[task], reference=None)
        for number in range(count)
    ]
