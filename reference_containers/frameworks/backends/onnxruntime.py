"""The network in ONNX Runtime: a graph that the image's build wrote from the same weights, with all optimizations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from network import Layer


class Network:
    """The network with its weights; asked with pictures (n, 8, 8), it answers with shares (n, 10)."""

    def __init__(self, _layers: Sequence[Layer], *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        path = Path(__file__).with_name("network.onnx")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """Return the shares of pictures."""
        return self._session.run(None, {"pixels": pixels})[0]
