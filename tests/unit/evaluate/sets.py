"""Points and answers of every task, and how a run of them is scored."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.evaluate.quality import Quality, score
from protocol.methodology.tasks import REGISTRY, Input, Task
from protocol.samples import (
    Answer,
    AudioInput,
    ChatInput,
    ChatMessage,
    ChatRole,
    ErrorReason,
    ImageInput,
    Point,
    QuestionInput,
    SampleError,
    SampleInput,
    TextInput,
    TextPairInput,
)
from reference_containers.build_data import png

BLANK = png([[0] * 100] * 80)  # 100 pixels wide, 80 high
FAILED = SampleError(reason=ErrorReason.INTERNAL)
CONTEXT = "In Ōtautahi, on the Avon, a fish 🐟 lives in the Town Hall."

INPUTS: dict[Input, SampleInput] = {
    Input.TEXT: TextInput(text="a text"),
    Input.CHAT: ChatInput(messages=(ChatMessage(role=ChatRole.USER, content="hello"),)),
    Input.QUESTION: QuestionInput(question="Where?", context=CONTEXT),
    Input.TEXT_PAIR: TextPairInput(first="a cat", second="a dog"),
    Input.IMAGE: ImageInput(content=BLANK),
    Input.AUDIO: AudioInput(content=b"fLaC" + bytes(64)),
}


def asked(task: Task) -> SampleInput:
    """Return something that the task may be asked."""
    return INPUTS[min(REGISTRY[task].inputs, key=lambda kind: kind.value)]


def points_of(task: Task, references: Sequence[str | None], sources: Sequence[str] | None = None) -> list[Point]:
    """Return points with these references."""
    return [
        Point(
            index=number,
            point_id=f"p{number:04d}",
            source=sources[number] if sources else "s",
            input=asked(task),
            reference=reference,
        )
        for number, reference in enumerate(references)
    ]


def scored(task: Task, references: Sequence[str | None], answers: Sequence[Answer], **others: Sequence[str]) -> Quality:
    """Score these answers to points with these references."""
    return score(REGISTRY[task], points_of(task, references, **others), answers)
