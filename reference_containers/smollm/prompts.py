"""How SmolLM2 is asked for each task: the words around what the dataset gives, and how many tokens may follow.

A text is continued as it stands where text generation sends one, as the AI Energy Score does. Everything else is a
conversation in the model's own template, without a system's turn: this small model answers better without one.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.methodology.tasks import Task
from protocol.samples import ChatInput, ChatMessage, ChatRole, QuestionInput, SampleInput, TextInput

TURN = "<|im_start|>{role}\n"
END = "<|im_end|>\n"
MOST_REASONED = 192  # tokens of our own choice: this model repeats itself after that
MOST_IN_A_SPAN = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a prompt. `given` text comes from outside and controls nothing; `long` text is cut to the room."""

    text: str
    given: bool = False
    long: bool = False


def _asked(before: str, *given: Part, after: str = "") -> list[Part]:
    opening = Part(text=TURN.format(role=ChatRole.USER.value) + before)
    return [opening, *given, Part(text=after + END + TURN.format(role=ChatRole.ASSISTANT.value))]


def _conversation(messages: tuple[ChatMessage, ...]) -> list[Part]:
    parts = []
    for message in messages:
        said = Part(text=message.content, given=True, long=True)
        parts += [Part(text=TURN.format(role=message.role.value)), said, Part(text=END)]
    return [*parts, Part(text=TURN.format(role=ChatRole.ASSISTANT.value))]


def parts_of(task: Task, asked: SampleInput) -> list[Part] | None:
    """Return the prompt for one sample, None where the task does not take such a sample."""
    if isinstance(asked, ChatInput):
        return _conversation(asked.messages)
    if isinstance(asked, QuestionInput):
        question = Part(text=f"\n\n{asked.question}", given=True)
        return _asked("", Part(text=asked.context, given=True, long=True), question)
    if not isinstance(asked, TextInput):
        return None
    text = Part(text=asked.text, given=True, long=True)
    if task is Task.SUMMARIZATION:
        return _asked("Write a short title for this text:\n\n", text)
    if task is Task.REASONING:
        return _asked("", text, after="\n\nThink step by step. End with 'The answer is' and the answer.")
    return [text]
