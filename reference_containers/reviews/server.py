"""A sealed text classifier: a review in, positive and negative with scores out, by numpy on one processor."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from features import terms

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, ErrorReason, LabelsAnswer, SampleError, SampleInput, TextInput
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

HERE = Path(__file__).parent
LARGEST_BATCH = 256


class Reviews:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.vocabulary: dict[str, int] = {}
        self.idf = self.weights = np.zeros(0, np.float32)
        self.bias = np.float32(0)

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="reviews-tfidf",
            model_version="1.0",
            engine="numpy",
            engine_version=np.__version__,
            tasks=(TaskSupport(task=Task.TEXT_CLASSIFICATION, precisions=(Precision.FP32,)),),
            max_batch=LARGEST_BATCH,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the vocabulary and the weights, and score a text once."""
        yield LoadPhase.READING
        self.vocabulary = json.loads((HERE / "vocabulary.json").read_text(encoding="utf-8"))
        with np.load(HERE / "weights.npz") as arrays:
            self.idf, self.weights, self.bias = arrays["idf"], arrays["weights"], arrays["bias"][0]
        yield LoadPhase.WARMING
        self.infer([TextInput(text="a text to begin with")] * order.batch)

    def positive(self, text: str) -> float:
        """Return the probability that a text is positive."""
        counts = Counter(column for term in terms(text) if (column := self.vocabulary.get(term)) is not None)
        columns = np.fromiter(counts, np.int64, len(counts))
        values = (1 + np.log(np.fromiter(counts.values(), np.float32, len(counts)))) * self.idf[columns]
        length = float(np.sqrt(values @ values)) or 1.0
        return float(1 / (1 + np.exp(-(values @ self.weights[columns] / length + self.bias))))

    def answer(self, asked: SampleInput) -> Answer:
        """Answer one review with both labels, the likelier first."""
        if not isinstance(asked, TextInput):
            return SampleError(reason=ErrorReason.UNREADABLE)
        positive = self.positive(asked.text)
        labels = [("positive", positive), ("negative", 1 - positive)]
        return LabelsAnswer(labels=tuple(sorted(labels, key=lambda label: -label[1])))

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each review."""
        return [self.answer(asked) for asked in inputs]

    def unload(self) -> None:
        """Let go of the vocabulary."""
        self.vocabulary = {}


if __name__ == "__main__":
    serve(Reviews())
