"""Train the network with numpy and write weights.npz: `python reference_containers/frameworks/train.py [FILE]`.

Rules
1. It learns the pictures of ../digits/train.jsonl, none of which is a point of embedded-digits, each also shifted by
   one pixel in four directions. The seed and the number of passes are fixed.
2. Floating-point training differs between machines: the committed file is what the images hold.
3. Weights are rounded to 16-bit floats, which makes the file half as large and every framework's 32-bit copy exact.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
from network import CLASSES, SHAPE, SIDE, WEIGHTS, Layer, halves, numpy_scores, read_layers, shares, windows
from PIL import Image

SOURCE = Path(__file__).resolve().parents[1] / "digits" / "train.jsonl"
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
SEED, PASSES, BATCH = 20_250_101, 16, 64
RATE, DECAY = 1.5e-3, 1e-4
KEEP, KEEP_SQUARE, LEAST = 0.9, 0.999, 1e-8  # of Adam, Kingma and Ba, 2015

Gradients = list[tuple[np.ndarray, np.ndarray]]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures as (n, 8, 8) float32 between 0 and 1, and their labels."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(row["png"]))), np.float32) / 255 for row in rows]
    shifted = [np.roll(picture, shift, (0, 1)) for shift in SHIFTS for picture in pictures]
    return np.stack(shifted), np.array([int(row["reference"]) for row in rows] * len(SHIFTS))


def fresh(draw: np.random.Generator) -> list[Layer]:
    """Return layers before they have learned anything (He et al., 2015)."""
    layers, given = [], 1
    for size, out, padded, active, halved in SHAPE:
        kernel = draw.normal(0, np.sqrt(2 / (size * size * given)), (size, size, given, out)).astype(np.float32)
        bias = np.zeros(out, np.float32)
        layers.append(Layer(kernel=kernel, bias=bias, padded=padded, active=active, halved=halved))
        given = out
    return layers


def spread(seen: np.ndarray, size: int, shape: tuple[int, ...], *, padded: bool) -> np.ndarray:
    """Return what windows add up to where they came from: the reverse of `windows`, (n, h, w, c)."""
    count, height, width, channels = shape
    edge = size // 2 if padded else 0
    whole = np.zeros((count, height + 2 * edge, width + 2 * edge, channels), np.float32)
    rows, columns = seen.shape[1:3]
    parts = seen.reshape(count, rows, columns, size, size, channels)
    for down in range(size):
        for right in range(size):
            whole[:, down : down + rows, right : right + columns] += parts[:, :, :, down, right]
    return whole[:, edge : edge + height, edge : edge + width]


def gradients(layers: list[Layer], pixels: np.ndarray, labels: np.ndarray) -> Gradients:
    """Return which way the mean cross-entropy grows, for each kernel and bias."""
    flow, steps = pixels[..., None], []
    for layer in layers:
        size, _, _, out = layer.kernel.shape
        seen = windows(flow, size, padded=layer.padded)
        made = seen @ layer.kernel.reshape(-1, out) + layer.bias
        made = np.maximum(made, 0) if layer.active else made
        squares = halves(made) if layer.halved else None
        steps.append((flow.shape, seen, made, squares))
        flow = made if squares is None else squares.max(axis=3)
    grown = (shares(flow.reshape(len(pixels), CLASSES)) - np.eye(CLASSES, dtype=np.float32)[labels]) / len(pixels)
    grown, found = grown.reshape(flow.shape).astype(np.float32), []
    for layer, (shape, seen, made, squares) in zip(reversed(layers), reversed(steps), strict=True):
        size, _, given, out = layer.kernel.shape
        if squares is not None:
            first = np.arange(4)[:, None] == squares.argmax(axis=3)[..., None, :]
            parts = (first * grown[..., None, :]).reshape(*grown.shape[:3], 2, 2, out)
            grown = parts.transpose(0, 1, 3, 2, 4, 5).reshape(made.shape)
        grown = grown * (made > 0) if layer.active else grown
        flat = grown.reshape(-1, out)
        found.append(((seen.reshape(-1, size * size * given).T @ flat).reshape(layer.kernel.shape), flat.sum(axis=0)))
        grown = spread(grown @ layer.kernel.reshape(-1, out).T, size, shape, padded=layer.padded)
    return found[::-1]


def train(pictures: np.ndarray, labels: np.ndarray) -> list[Layer]:
    """Return the layers after a fixed number of passes, by Adam with a rate that falls to 0."""
    draw = np.random.default_rng(SEED)
    layers = fresh(draw)
    arrays = [array for layer in layers for array in (layer.kernel, layer.bias)]
    means, squares = [np.zeros_like(one) for one in arrays], [np.zeros_like(one) for one in arrays]
    turns = PASSES * (len(pictures) // BATCH)
    turn = 0
    for _ in range(PASSES):
        order = draw.permutation(len(pictures))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            turn += 1
            rate = RATE * (1 - turn / turns)
            found = [one for pair in gradients(layers, pictures[chosen], labels[chosen]) for one in pair]
            for place, grown in enumerate(found):
                means[place] += (1 - KEEP) * (grown - means[place])
                squares[place] += (1 - KEEP_SQUARE) * (grown * grown - squares[place])
                spread_out = np.sqrt(squares[place] / (1 - KEEP_SQUARE**turn)) + LEAST
                step = means[place] / (1 - KEEP**turn) / spread_out
                arrays[place] -= rate * (step + DECAY * arrays[place])
    return layers


def main(target: Path) -> None:
    """Train, write the weights, and print how many of the pictures learned are named rightly."""
    pictures, labels = read(SOURCE)
    layers = train(pictures, labels)
    stored = {f"kernel{place}": layer.kernel.astype(np.float16) for place, layer in enumerate(layers)}
    stored |= {f"bias{place}": layer.bias.astype(np.float16) for place, layer in enumerate(layers)}
    np.savez(target, **stored)
    named = numpy_scores(read_layers(target), pictures.reshape(-1, SIDE, SIDE)).argmax(axis=1)
    print(f"{target}: {sum(one.size for one in stored.values())} weights, {np.mean(named == labels):.3f} learned")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
