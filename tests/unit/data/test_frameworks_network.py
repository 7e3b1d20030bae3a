"""The network of the frameworks' images, by numpy alone: how it is taught, and how well it answers."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.datasets.store import load
from reference_containers.frameworks.network import numpy_scores, read_layers

FOLDER = Path(__file__).resolve().parents[3] / "reference_containers" / "frameworks"


def test_the_committed_weights_name_the_digits_of_the_set():
    points = load("embedded-digits").points
    pictures = [Image.open(io.BytesIO(point.input.content)).convert("L") for point in points]
    scores = numpy_scores(read_layers(), np.stack([np.asarray(one, np.float32) / 255 for one in pictures]))
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    right = np.array([int(point.reference) for point in points]) == scores.argmax(axis=1)
    assert right.mean() == pytest.approx(0.98, abs=0.02)


def test_every_weight_is_a_16_bit_float_that_a_framework_copies_exactly():
    for layer in read_layers():
        for array in (layer.kernel, layer.bias):
            assert array.dtype == np.float32
            assert (array.astype(np.float16).astype(np.float32) == array).all()
            assert np.isfinite(array).all()


def test_what_the_training_follows_is_the_slope_of_its_loss(monkeypatch):
    """Each kind of layer against differences: a wrong transpose or border would still learn, and worse."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import train  # noqa: PLC0415 - a script beside its network, found once its folder is on the path

    draw = np.random.default_rng(7)
    pixels, labels = draw.random((6, 8, 8)), draw.integers(0, 10, 6)
    layers = [
        replace(one, kernel=one.kernel.astype(np.float64), bias=draw.normal(0, 0.1, one.bias.shape))
        for one in train.fresh(draw)
    ]

    def slope(array: np.ndarray, place: tuple[int, ...]) -> float:
        kept, losses = array[place], []
        for step in (1e-6, -1e-6):
            array[place] = kept + step
            losses.append(-np.log(numpy_scores(layers, pixels)[np.arange(6), labels]).mean())
        array[place] = kept
        return (losses[0] - losses[1]) / 2e-6

    for layer, found in zip(layers, train.gradients(layers, pixels, labels), strict=True):
        for array, grown in zip((layer.kernel, layer.bias), found, strict=True):
            for _ in range(8):
                place = tuple(int(draw.integers(0, size)) for size in array.shape)
                assert grown[place] == pytest.approx(slope(array, place), rel=1e-3, abs=1e-6)
