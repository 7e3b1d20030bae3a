"""Write all-MiniLM-L6-v2 as ONNX: `convert.py MODEL.safetensors FOLDER` makes fp32.onnx and int8.onnx there.

The graph is BERT's encoder (Devlin et al., 2018) with six layers, then the mean over a text's tokens, scaled to length
one, as the model's own 1_Pooling and Normalize modules say. INT8 multiplies whole numbers: weights are quantized once,
what flows between them for every query (dynamic quantization of ONNX Runtime).
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
from kit.graph import Graph
from onnxruntime.quantization import QuantType, quantize_dynamic

LAYERS, HEADS, WIDTH = 6, 12, 384
EPSILON = 1e-12  # of the layer norms, from the model's config.json
DEPTH = WIDTH // HEADS


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the 32-bit tensors of a safetensors file: eight bytes of length, a header of JSON, then the numbers."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    body, tensors = content[8 + length :], {}
    for name, about in header.items():
        if name != "__metadata__" and about["dtype"] == "F32":
            begin, end = about["data_offsets"]
            tensors[name] = np.frombuffer(body[begin:end], "<f4").reshape(about["shape"])
    return tensors


class Bert:
    """The encoder as a graph that grows layer by layer."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.graph = Graph("all-MiniLM-L6-v2")
        self.add = self.graph.add

    def linear(self, given: str, name: str) -> str:
        """Multiply by a matrix, add its bias."""
        made = self.add("MatMul", given, self.weights[f"{name}.weight"].T.copy())
        return self.add("Add", made, self.weights[f"{name}.bias"])

    def norm(self, given: str, name: str) -> str:
        """Bring to mean zero and variance one along the width."""
        scale, shift = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return self.add("LayerNormalization", given, scale, shift, axis=-1, epsilon=EPSILON)

    def heads(self, given: str, order: list[int]) -> str:
        """Split the width into heads and bring the axes (batch, token, head, depth) into an order."""
        split = self.add("Reshape", given, np.array([0, 0, HEADS, DEPTH], np.int64))
        return self.add("Transpose", split, perm=order)

    def layer(self, given: str, bias: str, number: int) -> str:
        """Attend, then feed forward."""
        name = f"encoder.layer.{number}"
        query = self.heads(self.linear(given, f"{name}.attention.self.query"), [0, 2, 1, 3])
        key = self.heads(self.linear(given, f"{name}.attention.self.key"), [0, 2, 3, 1])
        value = self.heads(self.linear(given, f"{name}.attention.self.value"), [0, 2, 1, 3])
        scores = self.add("Mul", self.add("MatMul", query, key), np.float32(DEPTH**-0.5).reshape(1))
        weights = self.add("Softmax", self.add("Add", scores, bias), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", weights, value), perm=[0, 2, 1, 3])
        joined = self.add("Reshape", mixed, np.array([0, 0, WIDTH], np.int64))
        attended = self.add("Add", self.linear(joined, f"{name}.attention.output.dense"), given)
        attended = self.norm(attended, f"{name}.attention.output.LayerNorm")
        inner = self.linear(attended, f"{name}.intermediate.dense")
        share = self.add("Erf", self.add("Div", inner, np.float32(np.sqrt(2)).reshape(1)))
        active = self.add("Mul", self.add("Mul", inner, self.add("Add", share, np.ones(1, np.float32))),
                          np.full(1, 0.5, np.float32))  # fmt: skip
        outer = self.add("Add", self.linear(active, f"{name}.output.dense"), attended)
        return self.norm(outer, f"{name}.output.LayerNorm")

    def embedded(self, tokens: str, places: str) -> str:
        """Look up tokens and places; a text on its own is of type 0."""
        words = self.add("Gather", self.weights["embeddings.word_embeddings.weight"], tokens)
        where = self.add("Gather", self.weights["embeddings.position_embeddings.weight"], places)
        kind = self.weights["embeddings.token_type_embeddings.weight"][:1]
        return self.norm(self.add("Add", self.add("Add", words, where), kind), "embeddings.LayerNorm")

    def write(self, path: Path) -> None:
        """Write the whole graph: tokens, their places and their mask (n, t) in, one vector a text (n, 384) out."""
        tokens = self.graph.input("tokens", np.int64, ["n", "t"])
        places = self.graph.input("places", np.int64, ["n", "t"])
        mask = self.graph.input("mask", np.float32, ["n", "t"])
        hidden = self.graph.add("Sub", mask, np.ones(1, np.float32))
        bias = self.add("Unsqueeze", self.add("Mul", hidden, np.full(1, 1e9, np.float32)), np.array([1, 2]))
        flow = self.embedded(tokens, places)
        for number in range(LAYERS):
            flow = self.layer(flow, bias, number)
        kept = self.add("Mul", flow, self.add("Unsqueeze", mask, np.array([2])))
        summed = self.add("ReduceSum", kept, np.array([1]), keepdims=0)
        length = self.add("ReduceL2", summed, axes=[1], keepdims=1)  # the mean and the sum point the same way
        self.graph.output(self.add("Div", summed, length), "vectors", ["n", WIDTH])
        self.graph.write(path)


def main(source: Path, folder: Path) -> None:
    """Write the model in both precisions."""
    Bert(read(source)).write(folder / "fp32.onnx")
    quantize_dynamic(folder / "fp32.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
