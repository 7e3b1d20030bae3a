"""One small convolutional network, written down once: what all four frameworks are given, and what numpy makes of it.

Pictures of 8 by 8 pixels pass two convolutions, are halved, pass a third, are halved, and a fourth that sees all that
is left gives ten scores. There is no layer but convolutions, so that no framework's order of channels matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("weights.npz")
SIDE, CLASSES = 8, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution: `kernel` (height, width, in, out) and `bias` (out,), float32, and what follows it.

    `padded` keeps the size by a border of zeros; `active` cuts off below 0; `halved` takes the largest of two by two.
    """

    kernel: np.ndarray
    bias: np.ndarray
    padded: bool
    active: bool
    halved: bool


# Kernel and channels out, then padded, active, halved.
SHAPE = ((3, 32, True, True, False), (3, 64, True, True, True), (3, 64, True, True, True), (2, CLASSES, False, False, False))  # fmt: skip  # noqa: E501


def read_layers(path: Path = WEIGHTS) -> list[Layer]:
    """Return the network; the file holds 16-bit floats, which 32-bit ones repeat exactly."""
    with np.load(path, allow_pickle=False) as stored:
        return [
            Layer(
                kernel=stored[f"kernel{place}"].astype(np.float32),
                bias=stored[f"bias{place}"].astype(np.float32),
                padded=padded,
                active=active,
                halved=halved,
            )
            for place, (_, _, padded, active, halved) in enumerate(SHAPE)
        ]


def windows(given: np.ndarray, kernel: int, *, padded: bool) -> np.ndarray:
    """Return what each place of (n, h, w, c) sees: (n, h', w', kernel * kernel * c)."""
    if padded:
        given = np.pad(given, ((0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2, (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(given, (kernel, kernel), axis=(1, 2))
    seen = seen.transpose(0, 1, 2, 4, 5, 3)
    return np.ascontiguousarray(seen).reshape(*seen.shape[:3], -1)


def halves(given: np.ndarray) -> np.ndarray:
    """Return the two-by-two squares of (n, h, w, c): (n, h / 2, w / 2, 4, c)."""
    count, height, width, channels = given.shape
    squares = given.reshape(count, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(count, height // 2, width // 2, 4, channels)


def shares(logits: np.ndarray) -> np.ndarray:
    """Return logits (n, 10) as shares that sum to 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def numpy_scores(layers: Sequence[Layer], pixels: np.ndarray) -> np.ndarray:
    """Return the shares (n, 10) of pictures (n, 8, 8) between 0 and 1, by numpy alone: the fifth opinion."""
    flow = pixels[..., None]
    for layer in layers:
        size, _, _, out = layer.kernel.shape
        flow = windows(flow, size, padded=layer.padded) @ layer.kernel.reshape(-1, out) + layer.bias
        flow = np.maximum(flow, 0) if layer.active else flow
        flow = halves(flow).max(axis=3) if layer.halved else flow
    return shares(flow.reshape(len(pixels), CLASSES))
