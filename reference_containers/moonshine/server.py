"""A sealed recogniser of English speech: Moonshine tiny by ONNX Runtime, its decoder driven step by step in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from kit import sound
from kit.onnx import ENGINE, ENGINE_VERSION, open_session
from vocabulary import read_vocabulary, text_of

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, AudioInput, ErrorReason, SampleError, SampleInput, TextAnswer, Usage
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

HERE = Path(__file__).parent
RATE = 16_000  # samples a second
PIECE_S = 30  # the model was trained on recordings of at most about 30 seconds; longer ones are cut at their quietest
SEARCHED_S = 5  # before the end of a piece
SHORTEST = RATE // 10  # samples: the encoder needs a few frames
TOKENS_PER_S = 6.5  # the authors' own bound, against a decoder that repeats itself
BEGIN, END = 1, 2  # tokens
LARGEST_BATCH = 32  # answered one after the other


def pieces_of(samples: np.ndarray) -> list[np.ndarray]:
    """Return a recording in pieces of at most PIECE_S seconds, cut where the last seconds of each are quietest."""
    pieces = []
    while len(samples) > PIECE_S * RATE:
        begin, frame = (PIECE_S - SEARCHED_S) * RATE, RATE // 50
        loudness = (samples[begin : PIECE_S * RATE] ** 2).reshape(-1, frame).sum(axis=1)
        cut = begin + int(loudness.argmin()) * frame + frame // 2
        pieces.append(samples[:cut])
        samples = samples[cut:]
    return [*pieces, np.pad(samples, (0, max(0, SHORTEST - len(samples))))]


class Moonshine:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.encoder = self.decoder = None
        self.vocabulary: list[bytes] = []
        self.most = 0

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="moonshine-tiny-en",
            model_version="0.0.49",
            engine=ENGINE,
            engine_version=ENGINE_VERSION,
            tasks=(TaskSupport(task=Task.SPEECH_TO_TEXT, precisions=(Precision.INT8,)),),
            max_batch=LARGEST_BATCH,
            counts_tokens=True,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the encoder, the decoder and the vocabulary, and listen to a second of silence."""
        yield LoadPhase.READING
        self.vocabulary = read_vocabulary((HERE / "tokenizer.bin").read_bytes())
        self.encoder = open_session(HERE / "encoder_model.ort")
        self.decoder = open_session(HERE / "decoder_model_merged.ort")
        self.most = order.max_output_tokens or 0
        yield LoadPhase.WARMING
        self.tokens(np.zeros(RATE, np.float32))

    def tokens(self, samples: np.ndarray) -> list[int]:
        """Return the tokens of one piece, greedy; each step reads the keys and values that the steps before it left."""
        mask = np.ones((1, len(samples)), np.int64)
        heard = self.encoder.run(None, {"input_values": samples[None], "attention_mask": mask})[0]
        # The first step also gives the keys and values of the recording, which no later one gives again.
        names = [slot.name for slot in self.decoder.get_inputs() if slot.name.startswith("past_key_values")]
        shapes = {slot.name: slot.shape for slot in self.decoder.get_inputs()}
        past = {name: np.zeros((1, shapes[name][1], 0, shapes[name][3]), np.float32) for name in names}
        written: list[int] = []
        token = BEGIN
        for step in range(int(len(samples) / RATE * TOKENS_PER_S) + 1):
            given = {
                "input_ids": np.array([[token]], np.int64),
                "encoder_hidden_states": heard,
                "encoder_attention_mask": mask,
                "use_cache_branch": np.array([step > 0]),
            }
            logits, *present = self.decoder.run(None, given | past)
            given_back = zip(names, present, strict=True)
            past |= {name: array for name, array in given_back if step == 0 or ".decoder." in name}
            token = int(logits[0, -1].argmax())
            if token == END:
                break
            written.append(token)
        return written

    def answer(self, asked: SampleInput) -> Answer:
        """Write down one recording."""
        samples = sound.read(asked.content, RATE) if isinstance(asked, AudioInput) else None
        if samples is None:
            return SampleError(reason=ErrorReason.UNREADABLE)
        written = [self.tokens(piece) for piece in pieces_of(samples)]
        text = " ".join(filter(None, (text_of(self.vocabulary, tokens) for tokens in written)))
        return TextAnswer(text=text, usage=Usage(output_tokens=sum(map(len, written))))

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Write down each recording after the one before it."""
        return [self.answer(asked) for asked in inputs]

    def unload(self) -> None:
        """Let go of the networks."""
        self.encoder = self.decoder = None


if __name__ == "__main__":
    serve(Moonshine())
