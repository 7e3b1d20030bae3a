"""The flow: which way noise moves to become a handwritten digit, the same when it is learned and when it is asked.

A picture is 40 numbers, its principal components. A network of two hidden layers says for every place, time and digit
where to go next; from noise at time 0 it is followed to a picture at time 1 in steps of equal length.
Source: Lipman et al., Flow Matching for Generative Modeling, 2023; guidance after Ho and Salimans, Classifier-Free
Diffusion Guidance, 2022.
"""

from __future__ import annotations

import numpy as np

COMPONENTS = 40
DIGITS = 10
NOBODY = DIGITS  # the digit of a picture whose digit is not told
FREQUENCIES = 4
STEPS = 20
GUIDANCE = 1.5  # how much further the digit asked for leads than no digit does

Layers = dict[str, np.ndarray]


def given(places: np.ndarray, times: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Return what the network takes: places (n, 40), times (n,) from 0 to 1 as waves, digits (n,) as one of 11."""
    turns = 2 * np.pi * times[:, None] * 2.0 ** np.arange(FREQUENCIES)
    waves = np.concatenate([np.sin(turns), np.cos(turns), times[:, None]], axis=1)
    return np.concatenate([places, waves, np.eye(DIGITS + 1)[digits]], axis=1).astype(np.float32)


def hidden(layers: Layers, taken: np.ndarray) -> list[np.ndarray]:
    """Return what each layer gives, (n, width): two that are cut at 0, and the way to go (n, 40)."""
    first = np.maximum(taken @ layers["w0"] + layers["b0"], 0)
    second = np.maximum(first @ layers["w1"] + layers["b1"], 0)
    return [first, second, second @ layers["w2"] + layers["b2"]]


def follow(layers: Layers, noise: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Return where noise (n, 40) arrives on its way to the digits (n,)."""
    places = noise.astype(np.float32)
    nobody = np.full_like(digits, NOBODY)
    for step in range(STEPS):
        times = np.full(len(places), (step + 0.5) / STEPS)
        told = hidden(layers, given(places, times, digits))[-1]
        untold = hidden(layers, given(places, times, nobody))[-1]
        places += (untold + GUIDANCE * (told - untold)) / STEPS
    return places
