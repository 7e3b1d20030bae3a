"""Train the digit classifier and write it as ONNX: `train.py TRAIN.jsonl MODEL.onnx`, the same weights every time.

A network of one hidden layer (64 pixels, 64 units, 10 digits) learns the pictures of the file, each also shifted by one
pixel in four directions; the seed is fixed and the arithmetic runs in one thread.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.neural_network import MLPClassifier

HIDDEN = 64
SEED = 20_250_101
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
OPSET = 17
IR_VERSION = 8


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the pictures as (n, 64) float32 between 0 and 1, and their labels."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(row["png"]))), np.float32) / 255 for row in rows]
    labels = [int(row["reference"]) for row in rows]
    shifted = [np.roll(picture, shift, (0, 1)).reshape(-1) for shift in SHIFTS for picture in pictures]
    return np.stack(shifted), np.array(labels * len(SHIFTS))


def as_onnx(model: MLPClassifier) -> onnx.ModelProto:
    """Return the network as a graph from `pixels` (n, 64) to `scores` (n, 10)."""
    weights = {
        f"{kind}{layer}": numpy_helper.from_array(array.astype(np.float32), f"{kind}{layer}")
        for kind, arrays in (("w", model.coefs_), ("b", model.intercepts_))
        for layer, array in enumerate(arrays)
    }
    nodes = [
        helper.make_node("Gemm", ["pixels", "w0", "b0"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w1", "b1"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=-1),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 64])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "digits", [pixels], [scores], list(weights.values()))
    opset = helper.make_opsetid("", OPSET)
    made = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="digits")
    onnx.checker.check_model(made)
    return made


def main(source: Path, target: Path) -> None:
    """Train on the file's pictures and write the model."""
    pictures, labels = read(source)
    model = MLPClassifier((HIDDEN,), random_state=SEED, max_iter=60, early_stopping=False, alpha=1e-3, tol=0)
    # The number of passes is fixed: stopping where the loss settles would depend on the processor's rounding.
    for _ in range(60):
        model.partial_fit(pictures, labels, classes=np.arange(10))
    target.write_bytes(as_onnx(model).SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
