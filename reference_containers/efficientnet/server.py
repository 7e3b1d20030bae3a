"""A sealed classifier of photographs: EfficientNet-Lite0 by ONNX Runtime, in 32-bit floats or 8-bit whole numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from kit import pictures
from kit.onnx import ENGINE, ENGINE_VERSION, open_session
from prepare import SIDE, prepared

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, ErrorReason, ImageInput, LabelsAnswer, SampleError, SampleInput
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

HERE = Path(__file__).parent
BEST = 5  # labels given per picture
LARGEST_BATCH = 64


class EfficientNet:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.session = None
        self.labels: list[str] = []

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="efficientnet-lite0",
            model_version="57934424",
            engine=ENGINE,
            engine_version=ENGINE_VERSION,
            tasks=(TaskSupport(task=Task.IMAGE_CLASSIFICATION, precisions=(Precision.FP32, Precision.INT8)),),
            max_batch=LARGEST_BATCH,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the network of the precision that is asked for, and run it once at the batch that will be asked."""
        yield LoadPhase.READING
        self.labels = (HERE / "labels.txt").read_text(encoding="utf-8").splitlines()
        self.session = open_session(HERE / f"{order.precision.value}.onnx")
        yield LoadPhase.WARMING
        self.session.run(None, {"pictures": np.zeros((order.batch, 3, SIDE, SIDE), np.float32)})

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each picture with its best labels."""
        read = [pictures.read(asked.content) if isinstance(asked, ImageInput) else None for asked in inputs]
        seen = [prepared(picture) for picture in read if picture is not None]
        rows = iter(self.session.run(None, {"pictures": np.stack(seen)})[0] if seen else ())
        return [SampleError(reason=ErrorReason.UNREADABLE) if one is None else self.best(next(rows)) for one in read]

    def best(self, shares: np.ndarray) -> LabelsAnswer:
        """Return the best labels of one picture with their shares."""
        order = np.argsort(-shares, kind="stable")[:BEST]
        return LabelsAnswer(labels=tuple((self.labels[place], float(shares[place])) for place in order))

    def unload(self) -> None:
        """Let go of the network."""
        self.session = None


if __name__ == "__main__":
    serve(EfficientNet())
