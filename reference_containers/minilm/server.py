"""A sealed judge of likeness: two texts in, the cosine of their all-MiniLM-L6-v2 vectors out, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from kit.onnx import ENGINE, ENGINE_VERSION, open_session
from tokenizers import Tokenizer

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, ErrorReason, SampleError, SampleInput, ScoreAnswer, TextPairInput, Usage
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

HERE = Path(__file__).parent
MOST_TOKENS = 256  # of one text, as the model's sentence_bert_config.json says; what is longer is cut
AT_ONCE = {Precision.FP32: 16, Precision.INT8: 1}
"""Texts in one run of the network. INT8 rounds by the largest number of a run: a neighbour would change an answer."""
LARGEST_BATCH = 256


class MiniLM:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.session = self.tokenizer = None
        self.at_once = 1

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="all-minilm-l6-v2",
            model_version="1.0",
            engine=ENGINE,
            engine_version=ENGINE_VERSION,
            tasks=(TaskSupport(task=Task.SEMANTIC_SIMILARITY, precisions=(Precision.FP32, Precision.INT8)),),
            max_batch=LARGEST_BATCH,
            counts_tokens=True,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the network of the precision that is asked for, and compare as many texts as a query will hold."""
        yield LoadPhase.READING
        self.tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MOST_TOKENS)
        self.at_once = AT_ONCE[order.precision]
        self.session = open_session(HERE / f"{order.precision.value}.onnx")
        yield LoadPhase.WARMING
        self.infer([TextPairInput(first="a text", second="another text")] * order.batch)

    def vectors(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """Return one vector of length one for each text of tokens, (n, 384); texts of like length run together."""
        made = np.empty((len(texts), 384), np.float32)
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        for begin in range(0, len(order), self.at_once):
            places = order[begin : begin + self.at_once]
            width = len(texts[places[-1]])
            tokens = np.array([[*texts[place], *[0] * (width - len(texts[place]))] for place in places], np.int64)
            mask = (np.arange(width) < np.array([[len(texts[place])] for place in places])).astype(np.float32)
            given = {"tokens": tokens, "mask": mask, "places": np.tile(np.arange(width), (len(places), 1))}
            made[places] = self.session.run(None, given)[0]
        return made

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each pair with the cosine between its two texts."""
        pairs = [asked for asked in inputs if isinstance(asked, TextPairInput)]
        texts = [text for pair in pairs for text in (pair.first, pair.second)]
        tokens = [made.ids for made in self.tokenizer.encode_batch(texts)]
        vectors = self.vectors(tokens)
        counts = [len(one) + len(other) for one, other in zip(tokens[::2], tokens[1::2], strict=True)]
        scores = np.sum(vectors[::2] * vectors[1::2], axis=1)
        made = iter(zip(scores, counts, strict=True))
        answers: list[Answer] = []
        for asked in inputs:
            if not isinstance(asked, TextPairInput):
                answers.append(SampleError(reason=ErrorReason.UNREADABLE))
                continue
            score, count = next(made)
            answers.append(ScoreAnswer(score=float(score), usage=Usage(input_tokens=count)))
        return answers

    def unload(self) -> None:
        """Let go of the network."""
        self.session = self.tokenizer = None


if __name__ == "__main__":
    serve(MiniLM())
