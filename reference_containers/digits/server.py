"""A sealed image classifier: PNG in, digits with scores out, by ONNX Runtime on one processor."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, UnidentifiedImageError

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, ErrorReason, ImageInput, LabelsAnswer, SampleError, SampleInput
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

WEIGHTS = Path(__file__).with_name("digits.onnx")
SIDE = 8  # pixels
BEST = 3  # labels given per picture
LARGEST_BATCH = 256


def pixels(asked: SampleInput) -> np.ndarray | None:
    """Return a picture as 64 float32 between 0 and 1, None where it cannot be read."""
    if not isinstance(asked, ImageInput):
        return None
    try:
        with Image.open(io.BytesIO(asked.content)) as picture:
            grey = picture.convert("L")
            small = grey if grey.size == (SIDE, SIDE) else grey.resize((SIDE, SIDE))
            return np.asarray(small, np.float32).reshape(-1) / 255
    except (UnidentifiedImageError, OSError, ValueError):
        return None


class Digits:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.session: onnxruntime.InferenceSession | None = None

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="digits-mlp",
            model_version="1.0",
            engine="onnxruntime",
            engine_version=onnxruntime.__version__,
            tasks=(TaskSupport(task=Task.IMAGE_CLASSIFICATION, precisions=(Precision.FP32,)),),
            max_batch=LARGEST_BATCH,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the network and run it once at the batch that will be asked."""
        yield LoadPhase.READING
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(WEIGHTS), options, providers=["CPUExecutionProvider"])
        yield LoadPhase.WARMING
        self.session.run(None, {"pixels": np.zeros((order.batch, SIDE * SIDE), np.float32)})

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each picture with its best labels."""
        read = [pixels(asked) for asked in inputs]
        batch = np.stack([np.zeros(SIDE * SIDE, np.float32) if row is None else row for row in read])
        scores = self.session.run(None, {"pixels": batch})[0]
        best = np.argsort(-scores, axis=1)[:, :BEST]
        return [
            SampleError(reason=ErrorReason.UNREADABLE)
            if row is None
            else LabelsAnswer(labels=tuple((str(digit), float(scores[i, digit])) for digit in best[i]))
            for i, row in enumerate(read)
        ]

    def unload(self) -> None:
        """Let go of the network."""
        self.session = None


if __name__ == "__main__":
    serve(Digits())
