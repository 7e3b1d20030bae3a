"""A sealed language model: SmolLM2-135M-Instruct by llama.cpp on one processor, for four of the ten tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from kit.pieces import Pieces
from kit.spans import span_of
from llama import Llama
from prompts import MOST_IN_A_SPAN, MOST_REASONED, parts_of

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import (
    Answer,
    ErrorReason,
    QuestionInput,
    SampleError,
    SampleInput,
    SpanAnswer,
    TextAnswer,
    TokenDelta,
    Usage,
)
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

WEIGHTS = Path(__file__).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
TASKS = (Task.TEXT_GENERATION, Task.REASONING, Task.SUMMARIZATION, Task.EXTRACTIVE_QA)
ROOM = 2048  # tokens of prompt and answer together; the model was trained for 8,192, which takes a minute to read
LARGEST_BATCH = 32  # answered one after the other


class SmolLM:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.llama: Llama | None = None
        self.task = Task.TEXT_GENERATION
        self.least = self.most = 0

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="smollm2-135m-instruct",
            model_version="Q4_1",
            engine="llama.cpp (cyllama)",
            engine_version=version("cyllama"),
            tasks=tuple(TaskSupport(task=task, precisions=(Precision.INT4,)) for task in TASKS),
            max_batch=LARGEST_BATCH,
            streams_tokens=True,
            counts_tokens=True,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the weights and answer once."""
        yield LoadPhase.READING
        self.llama = Llama(WEIGHTS, ROOM)
        self.task, self.least = order.task, order.min_output_tokens or 0
        own = MOST_IN_A_SPAN if self.task is Task.EXTRACTIVE_QA else MOST_REASONED
        self.most = max(self.least, min(order.max_output_tokens or own, own))
        yield LoadPhase.WARMING
        list(self.llama.write(self.llama.tokens("A text to begin with"), self.least, self.least))

    def prompt(self, asked: SampleInput) -> list[int] | None:
        """Return the tokens of the prompt, a long text cut at its end; None where there is no room even so."""
        parts = parts_of(self.task, asked)
        if parts is None:
            return None
        cut = [(part.long, self.llama.tokens(part.text, control=not part.given)) for part in parts]
        room = ROOM - self.most - sum(len(tokens) for long, tokens in cut if not long)
        prompt: list[int] = []
        for long, tokens in cut:
            kept = tokens[: max(room, 0)] if long else tokens
            room -= len(kept) if long else 0
            prompt += kept
        return prompt if len(prompt) <= ROOM - self.most else None

    def infer_tokens(self, asked: SampleInput) -> Iterator[TokenDelta | Answer]:
        """Yield each token as it is written, and the whole answer last."""
        prompt = self.prompt(asked)
        if prompt is None:
            yield SampleError(reason=ErrorReason.TOO_LONG)
            return
        pieces, text, written = Pieces(), "", 0
        for token in self.llama.write(prompt, self.least, self.most):
            piece = pieces.add(self.llama.spelled(token))
            text, written = text + piece, written + 1
            yield TokenDelta(tokens=1, text=piece)
            if self.task is Task.EXTRACTIVE_QA and "\n" in text.lstrip():
                break  # the span is looked up in the answer's first line
        usage = Usage(input_tokens=len(prompt), output_tokens=written)
        if isinstance(asked, QuestionInput):
            start, end = span_of(text, asked.context)
            yield SpanAnswer(start=start, end=end, usage=usage)
        else:
            yield TextAnswer(text=text, usage=usage)

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each sample after the one before it."""
        return [[*self.infer_tokens(asked)][-1] for asked in inputs]

    def unload(self) -> None:
        """Let go of the weights."""
        self.llama = None


if __name__ == "__main__":
    serve(SmolLM())
