"""A sealed painter of digits: "a handwritten seven" in, a PNG of one out, by flow matching in numpy."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from field import COMPONENTS, Layers, follow
from PIL import Image

from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import Answer, ErrorReason, ImageAnswer, SampleError, SampleInput, TextInput
from protocol.wire import Description, LoadOrder, LoadPhase, TaskSupport, serve

MODEL = Path(__file__).with_name("flow.npz")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ASKED = re.compile(rf"\b(?:{'|'.join(WORDS)}|[0-9])\b")
SIDE, SHOWN = 28, 112  # pixels as learned, and as shown
LARGEST_BATCH = 256


def digit_of(prompt: str) -> int | None:
    """Return the first digit that a prompt names, in words or as a numeral; None where it names none."""
    found = ASKED.search(prompt.lower())
    if found is None:
        return None
    return WORDS.index(found[0]) if found[0] in WORDS else int(found[0])


def noise_of(prompt: str) -> np.ndarray:
    """Return the noise that a prompt begins with, (40,): the same prompt is answered with the same picture."""
    seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest(), "big")
    return np.random.default_rng(seed).standard_normal(COMPONENTS)


class Flow:
    """The model, as the wire asks for it."""

    def __init__(self) -> None:
        self.layers: Layers = {}

    def describe(self) -> Description:
        """State what the image holds."""
        return Description(
            model="digit-flow",
            model_version="1.0",
            engine="numpy",
            engine_version=np.__version__,
            tasks=(TaskSupport(task=Task.IMAGE_GENERATION, precisions=(Precision.FP32,)),),
            max_batch=LARGEST_BATCH,
        )

    def load(self, order: LoadOrder) -> Iterator[LoadPhase]:
        """Read the network and paint as many pictures as a query will ask for."""
        yield LoadPhase.READING
        with np.load(MODEL) as arrays:
            self.layers = dict(arrays)
        yield LoadPhase.WARMING
        self.infer([TextInput(text="a handwritten seven")] * order.batch)

    def painted(self, digits: Sequence[int], noise: np.ndarray) -> list[bytes]:
        """Return one PNG for each digit, from its own noise (n, 40)."""
        arrived = follow(self.layers, noise, np.array(digits))
        pictures = (arrived * self.layers["spread"]) @ self.layers["axes"] + self.layers["mean"]
        files = []
        for shades in np.clip(np.rint(pictures * 255), 0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE):
            file = io.BytesIO()
            Image.fromarray(shades).resize((SHOWN, SHOWN), Image.Resampling.BICUBIC).save(file, "PNG")
            files.append(file.getvalue())
        return files

    def infer(self, inputs: Sequence[SampleInput]) -> list[Answer]:
        """Answer each prompt with a picture of the digit that it names; other prompts are declined."""
        prompts = [asked.text if isinstance(asked, TextInput) else "" for asked in inputs]
        known = [(prompt, digit) for prompt in prompts if (digit := digit_of(prompt)) is not None]
        if not known:
            return [SampleError(reason=ErrorReason.REFUSED)] * len(prompts)
        made = iter(self.painted([digit for _, digit in known], np.stack([noise_of(prompt) for prompt, _ in known])))
        return [
            SampleError(reason=ErrorReason.REFUSED) if digit_of(prompt) is None else ImageAnswer(content=next(made))
            for prompt in prompts
        ]

    def unload(self) -> None:
        """Let go of the network."""
        self.layers = {}


if __name__ == "__main__":
    serve(Flow())
