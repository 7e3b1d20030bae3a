"""Write the network as ONNX for its runtime: `as_onnx.py network.onnx`, pictures (n, 8, 8) in, shares (n, 10) out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from kit.graph import Graph
from network import CLASSES, SIDE, read_layers


def main(target: Path) -> None:
    """Write the graph."""
    graph = Graph("digits-cnn")
    flow = graph.input("pixels", np.float32, ["n", SIDE, SIDE])
    flow = graph.add("Unsqueeze", flow, np.array([1], np.int64))
    for layer in read_layers():
        edge = layer.kernel.shape[0] // 2 if layer.padded else 0
        kernel = np.ascontiguousarray(layer.kernel.transpose(3, 2, 0, 1))
        flow = graph.add("Conv", flow, kernel, layer.bias, kernel_shape=list(kernel.shape[2:]), pads=[edge] * 4)
        flow = graph.add("Relu", flow) if layer.active else flow
        flow = graph.add("MaxPool", flow, kernel_shape=[2, 2], strides=[2, 2]) if layer.halved else flow
    scores = graph.add("Softmax", graph.add("Flatten", flow), axis=-1)
    graph.output(scores, "scores", ["n", CLASSES])
    graph.write(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
