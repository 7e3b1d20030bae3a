"""A sealed image classifier around one network and whichever framework its image holds: PNG in, digits with scores out.

Rules
1. What differs between the four images is `backend.py` and the framework. Reading pictures, filling up a batch,
   choosing labels and the weights are the same code and the same file.
2. A query shorter than the batch that was loaded is filled up with blank pictures, in every framework: two of them
   compile for a shape, and none may compile inside a window.
3. Every framework has as many threads as the sandbox has processors.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
from network import SIDE, read_layers
from PIL import Image, UnidentifiedImageError

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, ErrorReason, ImageInput, LabelsAnswer, SampleError, SampleInput
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

FRAMEWORK = os.environ["FRAMEWORK"]
DISTRIBUTION = {"tensorflow": "tensorflow-cpu"}.get(FRAMEWORK, FRAMEWORK)
BEST = 10  # labels given per picture: all of them, so that frameworks can be held against each other
LARGEST_BATCH = 256


def pixels(asked: SampleInput) -> np.ndarray | None:
    """Return a picture as (8, 8) float32 between 0 and 1, None where it cannot be read."""
    if not isinstance(asked, ImageInput):
        return None
    try:
        with Image.open(io.BytesIO(asked.content)) as picture:
            grey = picture.convert("L")
            small = grey if grey.size == (SIDE, SIDE) else grey.resize((SIDE, SIDE))
            return np.asarray(small, np.float32) / 255
    except (UnidentifiedImageError, OSError, ValueError):
        return None


class Digits:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.network = None
        self.batch = 1

    def describe(self) -> Description:
        """State what the image holds; the framework is not imported for it, which takes seconds."""
        return Description(
            model="digits-cnn",
            model_version="1.0",
            engine=FRAMEWORK,
            engine_version=version(DISTRIBUTION),
            tasks=(TaskSupport(task=Task.IMAGE_CLASSIFICATION, precisions=(Precision.FP32,)),),
            max_batch=LARGEST_BATCH,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Import the framework, give it the network and run it at the batch that will be asked."""
        yield LoadPhase.READING
        # An import of seconds, when facts are promised within one.
        from backend import Network  # noqa: PLC0415

        yield LoadPhase.COMPILING
        self.batch = order.batch
        self.network = Network(read_layers(), threads=len(os.sched_getaffinity(0)))
        yield LoadPhase.WARMING
        self.network.scores(np.zeros((self.batch, SIDE, SIDE), np.float32))

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each picture with its labels, the best first."""
        read = [pixels(asked) for asked in inputs]
        batch = np.zeros((max(self.batch, len(read)), SIDE, SIDE), np.float32)
        for place, picture in enumerate(read):
            if picture is not None:
                batch[place] = picture
        scores = self.network.scores(batch)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
        return [
            SampleError(reason=ErrorReason.UNREADABLE)
            if picture is None
            else LabelsAnswer(labels=tuple((str(digit), float(scores[place, digit])) for digit in best[place]))
            for place, picture in enumerate(read)
        ]

    def unload(self) -> None:
        """Let go of the network."""
        self.network = None


if __name__ == "__main__":
    serve(Digits())
