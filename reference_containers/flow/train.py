"""Learn to write digits: `train.py FOLDER MODEL.npz`, from the package mnist's files, the same weights every time.

Only the half of the pictures is used that the judge of generated digits has not learned from: pictures are ranked by
SHA-256 under the judge's own seed, and the judge has the first 5,000 (orchestrator/evaluate/judge.py).
The seed and the number of steps are fixed, and the arithmetic runs in one thread.
"""

from __future__ import annotations

import hashlib
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from field import COMPONENTS, DIGITS, FREQUENCIES, NOBODY, Layers, given, hidden

JUDGES = 5_000  # pictures
SEED = 20_250_101
WIDTH = 256
STEPS, AT_ONCE = 6_000, 256
RATE = 2e-3  # of Adam, falling to 0 along a half cosine
UNTOLD = 0.1  # the share of pictures whose digit is not told


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures (n, 784) between 0 and 1 that are not the judge's, in the order of their rank, and labels."""
    ranked = []
    for digit in range(DIGITS):
        rows = np.array(json.loads((folder / f"{digit}.json").read_text(encoding="utf-8"))["data"], np.float32)
        for number, picture in enumerate(rows.reshape(-1, 784)):
            rank = hashlib.sha256(f"jouleseal-judge\0mnist-{digit}-{number:04d}".encode()).digest()
            ranked.append((rank, digit, picture))
    ranked.sort(key=lambda row: row[0])
    own = ranked[JUDGES:]
    return np.stack([picture for *_, picture in own]), np.array([digit for _, digit, _ in own])


def components(pictures: np.ndarray) -> Layers:
    """Return the mean (784,), the axes (40, 784) and their spread (40,) of principal components."""
    mean = pictures.mean(axis=0)
    _, sizes, axes = np.linalg.svd((pictures - mean).astype(np.float64), full_matrices=False)
    kept = axes[:COMPONENTS]
    signs = np.sign(kept[np.arange(COMPONENTS), np.abs(kept).argmax(axis=1)])
    spread = sizes[:COMPONENTS] / np.sqrt(len(pictures))
    return {"mean": mean, "axes": (kept * signs[:, None]).astype(np.float32), "spread": spread.astype(np.float32)}


def begin(draw: np.random.Generator) -> Layers:
    """Return a network that has learned nothing."""
    widths = [COMPONENTS + 2 * FREQUENCIES + 1 + DIGITS + 1, WIDTH, WIDTH, COMPONENTS]
    layers: Layers = {}
    for number, (taken, made) in enumerate(pairwise(widths)):
        layers[f"w{number}"] = (draw.standard_normal((taken, made)) * np.sqrt(2 / taken)).astype(np.float32)
        layers[f"b{number}"] = np.zeros(made, np.float32)
    return layers


def slopes(layers: Layers, taken: np.ndarray, wanted: np.ndarray) -> Layers:
    """Return how the mean squared miss changes with every weight."""
    first, second, way = hidden(layers, taken)
    back = 2 * (way - wanted) / wanted.size
    found: Layers = {}
    for number, (before, inner) in ((2, (second, second)), (1, (first, first)), (0, (taken, None))):
        found[f"w{number}"], found[f"b{number}"] = before.T @ back, back.sum(axis=0)
        if inner is not None:
            back = (back @ layers[f"w{number}"].T) * (inner > 0)
    return found


def learn(places: np.ndarray, digits: np.ndarray) -> Layers:
    """Return the network after STEPS steps of Adam: straight ways from noise to pictures are what it is shown."""
    draw = np.random.default_rng(SEED)
    layers = begin(draw)
    means, squares = ({name: np.zeros_like(array) for name, array in layers.items()} for _ in range(2))
    for step in range(1, STEPS + 1):
        chosen = draw.integers(0, len(places), AT_ONCE)
        noise, times = draw.standard_normal((AT_ONCE, COMPONENTS)), draw.random(AT_ONCE)
        told = np.where(draw.random(AT_ONCE) < UNTOLD, NOBODY, digits[chosen])
        between = times[:, None] * places[chosen] + (1 - times[:, None]) * noise
        wanted = (places[chosen] - noise).astype(np.float32)
        rate = RATE * (1 + np.cos(np.pi * step / STEPS)) / 2
        for name, slope in slopes(layers, given(between, times, told), wanted).items():
            means[name] = 0.9 * means[name] + 0.1 * slope
            squares[name] = 0.999 * squares[name] + 0.001 * slope**2
            ahead = np.sqrt(squares[name] / (1 - 0.999**step)) + 1e-8
            layers[name] -= (rate * means[name] / (1 - 0.9**step) / ahead).astype(np.float32)
    return layers


def main(source: Path, target: Path) -> None:
    """Learn from the folder's pictures and write the model."""
    pictures, digits = read(source)
    basis = components(pictures)
    places = (pictures - basis["mean"]) @ basis["axes"].T / basis["spread"]
    np.savez(target, **basis, **learn(places, digits))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
