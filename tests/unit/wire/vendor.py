"""A vendor's whole program, started as a process of its own: it answers, or it sleeps for ever when asked to."""

from __future__ import annotations

import time
from collections.abc import Sequence

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, LabelsAnswer, SampleInput, TextInput
from protocol.wire import Description, LoadOrder, TaskSupport, serve


class Vendor:
    def describe(self) -> Description:
        support = TaskSupport(task=Task.TEXT_CLASSIFICATION, precisions=(Precision.FP32,))
        return Description(model="m", model_version="1", engine="e", engine_version="1", tasks=(support,), max_batch=1)

    def load(self, order: LoadOrder) -> None:
        pass

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        if inputs == [TextInput(text="sleep")]:
            print("asleep", flush=True)
            time.sleep(10**6)
        return [LabelsAnswer(labels=(("positive", 1.0),))]


if __name__ == "__main__":
    serve(Vendor(), grace_s=0.2)
