"""A sealed finder of objects: CenterNet over MobileNetV3 with COCO's 80 classes, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from boxes import boxes
from kit import pictures
from kit.onnx import ENGINE, ENGINE_VERSION, open_session
from PIL import Image

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, Detection, DetectionsAnswer, ErrorReason, ImageInput, SampleError, SampleInput
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

HERE = Path(__file__).parent
SIDE = 512  # pixels of the square that the network sees
AT_ONCE = 4  # pictures in one run of the network: more would take more memory and no less time
LARGEST_BATCH = 64


class Detector:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.session = None
        self.labels: list[str] = []

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="mb3-centernet-coco80",
            model_version="3.3.6",
            engine=ENGINE,
            engine_version=ENGINE_VERSION,
            tasks=(TaskSupport(task=Task.OBJECT_DETECTION, precisions=(Precision.FP32,)),),
            max_batch=LARGEST_BATCH,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the network and look at as many grey pictures as one run will hold."""
        yield LoadPhase.READING
        self.labels = (HERE / "labels.txt").read_text(encoding="utf-8").splitlines()
        self.session = open_session(HERE / "centernet.onnx")
        yield LoadPhase.WARMING
        self.look([Image.new("RGB", (SIDE, SIDE), "grey")] * min(order.batch, AT_ONCE))

    def look(self, seen: Sequence[Image.Image]) -> list[DetectionsAnswer]:
        """Return what is in each picture, in its own pixels; a box ends where the picture does."""
        squares = [pictures.letterbox(picture, SIDE) for picture in seen]
        given = np.stack([square.astype(np.float32) for square, *_ in squares])
        likeness, edges = self.session.run(None, {"pictures": given})
        answers = []
        for place, (picture, (_, scale, left, top)) in enumerate(zip(seen, squares, strict=True)):
            margins, bounds = np.array([left, top, left, top]), np.array(picture.size * 2)
            found = []
            for number, score, corners in boxes(likeness[place], edges[place]):
                x_min, y_min, x_max, y_max = np.clip((corners - margins) / scale, 0, bounds).tolist()
                if x_min < x_max and y_min < y_max:
                    label = self.labels[number]
                    found.append(
                        Detection(label=label, score=score, x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)
                    )
            answers.append(DetectionsAnswer(detections=tuple(found)))
        return answers

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each picture with the objects in it."""
        read = [pictures.read(asked.content) if isinstance(asked, ImageInput) else None for asked in inputs]
        seen = [picture for picture in read if picture is not None]
        answers = iter([one for at in range(0, len(seen), AT_ONCE) for one in self.look(seen[at : at + AT_ONCE])])
        return [SampleError(reason=ErrorReason.UNREADABLE) if one is None else next(answers) for one in read]

    def unload(self) -> None:
        """Let go of the network."""
        self.session = None


if __name__ == "__main__":
    serve(Detector())
