"""The judge of pictures that show one digit: which digit a reader would see. Its share of right ones is judge-accuracy.

Rules:
1. A picture is brought into MNIST's form first (Y. LeCun, C. Cortes and C. Burges): grey, light ink on dark ground
   whichever way round it was drawn, the ink cut out, its longer side scaled to 20 pixels, its centre of mass in the
   middle of 28 by 28 pixels.
2. A network with one hidden layer then names the digit. It computes in integers, so every machine sees the same digit;
   of two that are equal the smaller wins.
3. Its weights are `data/judge.npz`, made by reference_containers/build_evaluate.py from 5,000 pictures of handwritten
   digits that no reference vendor learns from, and pinned below. On the other 5,000 it is right in JUDGED_RIGHT.
4. A picture without ink shows nothing. A failed answer, and a picture that cannot be read, are wrong.
A toy domain, and said so: it judges digits, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import accuracy_score

from orchestrator.evaluate.pairs import Metrics, Pair, numbered
from orchestrator.evaluate.pictures import grey
from protocol.errors import RigError
from protocol.samples import ImageAnswer

WEIGHTS: Final = "judge.npz"
WEIGHTS_SHA256: Final = "45bf536f58808a9e8ce832d9212f2a9eed3c8bc27492834e6c5989e3b01eb099"
JUDGED_RIGHT: Final = Fraction(4796, 5000)
SIDE: Final = 28
INK: Final = 20
_SHOWN: Final = 255
_INK_SHARE: Final = 4  # ink is what is at least a quarter as light as the lightest
_NOTHING: Final = ""

Pixels = NDArray[np.int64]


def canonical(picture: Image.Image) -> Pixels | None:
    """Return a grey picture in MNIST's form, 28 by 28 whole numbers from 0 to 255; None where there is no ink."""
    pixels = np.asarray(picture, dtype=np.int64)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if 2 * int(np.sort(edge)[edge.size // 2]) > _SHOWN:
        pixels = _SHOWN - pixels
    pixels = _stretched(pixels)
    rows, columns = np.nonzero(pixels * _INK_SHARE >= _SHOWN)
    if not rows.size:
        return None
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    longer = max(box[2] - box[0], box[3] - box[1])
    size = tuple(max(1, (2 * INK * side + longer) // (2 * longer)) for side in (box[2] - box[0], box[3] - box[1]))
    light = Image.fromarray(pixels.astype(np.uint8))
    scaled = light.resize((size[0], size[1]), Image.Resampling.BICUBIC, box=box)
    return _centred(_stretched(np.asarray(scaled, dtype=np.int64)))


def seen(picture: Image.Image) -> str:
    """Return the digit that a grey picture shows, "" where it shows nothing."""
    form = canonical(picture)
    if form is None:
        return _NOTHING
    first, first_bias, second, second_bias = _weights()
    hidden = np.maximum(form.reshape(-1) @ first + first_bias, 0)
    return str(int(np.argmax(hidden @ second + second_bias)))


def judge_accuracy(pairs: Sequence[Pair]) -> Fraction:
    """Return the share of pictures that show the digit of their reference."""
    found = [_judged(pair) for pair in pairs]
    right = accuracy_score(*numbered([pair.reference for pair in pairs], found), normalize=False)
    return Fraction(int(right), len(pairs))


METRICS: Metrics = {"judge-accuracy": judge_accuracy}


def _judged(pair: Pair) -> str:
    picture = grey(pair.answer.content) if isinstance(pair.answer, ImageAnswer) else None
    return _NOTHING if picture is None else seen(picture)


def _stretched(pixels: Pixels) -> Pixels:
    """Return pixels from 0 to 255; all 0 where they are all alike."""
    low, high = int(pixels.min()), int(pixels.max())
    return (pixels - low) * _SHOWN // max(high - low, 1)


def _centred(ink: Pixels) -> Pixels:
    """Return ink on a dark square, its centre of mass as near to the middle as it fits."""
    height, width = ink.shape
    mass = max(int(ink.sum()), 1)
    rows, columns = np.mgrid[:height, :width]
    top = (SIDE - 1) * mass // 2 - int((ink * rows).sum())
    left = (SIDE - 1) * mass // 2 - int((ink * columns).sum())
    at_row = min(max((2 * top + mass) // (2 * mass), 0), SIDE - height)
    at_column = min(max((2 * left + mass) // (2 * mass), 0), SIDE - width)
    square = np.zeros((SIDE, SIDE), dtype=np.int64)
    square[at_row : at_row + height, at_column : at_column + width] = ink
    return square


@cache
def _weights() -> tuple[Pixels, Pixels, Pixels, Pixels]:
    data = (resources.files("orchestrator.evaluate") / "data" / WEIGHTS).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise RigError(
            code="JUDGE_DAMAGED",
            observed=f"{WEIGHTS} has the SHA-256 {digest}",
            expected=WEIGHTS_SHA256,
            hint="install the runner again: a file of the package was changed",
        )
    with np.load(BytesIO(data), allow_pickle=False) as held:
        first, first_bias, second, second_bias = (
            held[name].astype(np.int64) for name in ("first", "first_bias", "second", "second_bias")
        )
    return first, first_bias, second, second_bias
