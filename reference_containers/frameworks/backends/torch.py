"""The network in PyTorch: eager, as PyTorch runs where nobody compiles it, in inference mode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from network import Layer
from torch import nn


class Network:
    """The network with its weights; asked with pictures (n, 8, 8), it answers with shares (n, 10)."""

    def __init__(self, layers: Sequence[Layer], *, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        parts: list[nn.Module] = []
        for layer in layers:
            size, _, given, out = layer.kernel.shape
            convolution = nn.Conv2d(given, out, size, padding=size // 2 if layer.padded else 0)
            convolution.weight.data = torch.from_numpy(np.ascontiguousarray(layer.kernel.transpose(3, 2, 0, 1)))
            convolution.bias.data = torch.from_numpy(layer.bias)
            parts += [convolution, *[nn.ReLU()] * layer.active, *[nn.MaxPool2d(2)] * layer.halved]
        self._network = nn.Sequential(*parts, nn.Flatten(), nn.Softmax(dim=1)).eval()

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Return the shares of pictures."""
        with torch.inference_mode():
            return self._network(torch.from_numpy(pixels)[:, None]).numpy()
