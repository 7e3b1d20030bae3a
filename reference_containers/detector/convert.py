"""Write CenterNet over MobileNetV3 as ONNX: `convert.py MODEL.json MODEL.bin TARGET.onnx`, from TensorFlow.js' format.

The JSON names the nodes of a frozen TensorFlow graph, the other file holds its constants as 16-bit floats, one after
the other. Every operator that the two wanted outputs need is written as ONNX; axes are moved once at each end, because
ONNX convolves with the channels first and TensorFlow with the channels last.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kit.graph import Graph

SIDE = 512  # pixels
WANTED = {"tower_0/keypoints": ("likeness", 80), "tower_0/wh": ("edges", 4)}
PICTURES = "tower_0/images"
CHANNELS_FIRST = {0: 0, 1: 2, 2: 3, 3: 1, -1: 1}  # where an axis of TensorFlow's lies in ONNX


def constants(manifest: list[dict[str, Any]], content: bytes) -> dict[str, np.ndarray]:
    """Return the constants by name, as 32-bit floats and 64-bit whole numbers."""
    found, place = {}, 0
    for about in (one for group in manifest for one in group["weights"]):
        stored = np.dtype(about.get("quantization", {}).get("dtype", about["dtype"])).newbyteorder("<")
        count = int(np.prod(about["shape"], dtype=np.int64))
        values = np.frombuffer(content, stored, count, place).reshape(about["shape"])
        found[about["name"]] = values.astype(np.float32 if stored.kind == "f" else np.int64)
        place += values.nbytes
    if place != len(content):
        raise ValueError(f"the constants take {place} bytes of {len(content)}")
    return found


def words(node: dict[str, Any], name: str) -> list[str]:
    """Return a list of texts among a node's attributes."""
    return [base64.b64decode(text).decode() for text in node["attr"].get(name, {}).get("list", {}).get("s", [])]


class Converter:
    """Writes node after node, each after what it needs."""

    def __init__(self, nodes: list[dict[str, Any]], values: dict[str, np.ndarray]) -> None:
        self.nodes = {node["name"]: node for node in nodes}
        self.values = values
        self.graph = Graph("mb3-centernet-coco80")
        self.made: dict[str, str] = {}

    def flow(self, name: str) -> str:
        """Return what a node gives, channels first, written when it is first asked for."""
        name = name.removesuffix(":0")
        if name not in self.made:
            self.made[name] = self.write(self.nodes[name])
        return self.made[name]

    def operand(self, name: str) -> str | np.ndarray:
        """Return one side of an arithmetic node; constants of one value a channel lie along the channels."""
        if name not in self.values:
            return self.flow(name)
        value = self.values[name]
        return value.reshape(1, -1, 1, 1) if value.size > 1 else value.reshape(1)

    def write(self, node: dict[str, Any]) -> str:
        """Write one node and return the name of what it gives."""
        kind, taken = node["op"], [name for name in node["input"] if not name.startswith("^")]
        simple = {"Relu": "Relu", "Sigmoid": "Sigmoid", "Identity": "Identity"}
        if kind in simple:
            return self.graph.add(simple[kind], self.flow(taken[0]))
        if kind in {"Add", "AddV2", "Mul", "Sub"}:
            return self.graph.add(kind.removesuffix("V2"), self.operand(taken[0]), self.operand(taken[1]))
        return getattr(self, f"write_{kind.lower().lstrip('_')}")(node, taken)

    def write_relu6(self, _node: dict[str, Any], taken: list[str]) -> str:
        """Cut to 0..6."""
        return self.graph.add("Clip", self.flow(taken[0]), np.array(0, np.float32), np.array(6, np.float32))

    def write_mean(self, node: dict[str, Any], taken: list[str]) -> str:
        """Take the mean over height and width."""
        axes = sorted(CHANNELS_FIRST[int(axis)] for axis in self.values[taken[1]])
        if axes != [2, 3] or not node["attr"]["keep_dims"]["b"]:
            raise ValueError(f"{node['name']} is no mean over a picture")
        return self.graph.add("GlobalAveragePool", self.flow(taken[0]))

    def write_concatv2(self, _node: dict[str, Any], taken: list[str]) -> str:
        """Put side by side."""
        axis = CHANNELS_FIRST[int(self.values[taken[-1]])]
        return self.graph.add("Concat", *map(self.flow, taken[:-1]), axis=axis)

    def write_resizebilinear(self, node: dict[str, Any], taken: list[str]) -> str:
        """Enlarge; TensorFlow's first rule of where a pixel lies is ONNX's `asymmetric`."""
        if node["attr"]["align_corners"]["b"] or node["attr"]["half_pixel_centers"]["b"]:
            raise ValueError(f"{node['name']} enlarges by another rule")
        scales = np.array([1, 1, 2, 2], np.float32)
        empty = np.zeros(0, np.float32)
        return self.graph.add("Resize", self.flow(taken[0]), empty, scales, mode="linear",
                              coordinate_transformation_mode="asymmetric")  # fmt: skip

    def convolved(self, node: dict[str, Any], taken: list[str], kernel: np.ndarray, group: int) -> str:
        """Convolve, add the bias and cut, as a fused node does all three."""
        strides = [int(step) for step in node["attr"]["strides"]["list"]["i"]][1:3]
        dilations = [int(step) for step in node["attr"].get("dilations", {}).get("list", {}).get("i", "1111")][1:3]
        padding = base64.b64decode(node["attr"]["padding"]["s"]).decode()
        flow, fused = self.flow(taken[0]), words(node, "fused_ops")
        extra = [self.values[taken[2]]] if "BiasAdd" in fused else []
        made = self.graph.add("Conv", flow, kernel, *extra, group=group, strides=strides, dilations=dilations,
                              kernel_shape=list(kernel.shape[2:]),
                              auto_pad="SAME_UPPER" if padding == "SAME" else "VALID")  # fmt: skip
        for activation in fused:
            if activation == "Relu6":
                made = self.graph.add("Clip", made, np.array(0, np.float32), np.array(6, np.float32))
            elif activation == "Relu":
                made = self.graph.add("Relu", made)
            elif activation != "BiasAdd":
                raise ValueError(f"{node['name']} is fused with {activation}")
        return made

    def write_fusedconv2d(self, node: dict[str, Any], taken: list[str]) -> str:
        """Convolve over all channels."""
        return self.convolved(node, taken, self.values[taken[1]].transpose(3, 2, 0, 1), 1)

    write_conv2d = write_fusedconv2d

    def write_fuseddepthwiseconv2dnative(self, node: dict[str, Any], taken: list[str]) -> str:
        """Convolve each channel for itself."""
        kernel = self.values[taken[1]]
        height, width, channels, _copies = kernel.shape
        return self.convolved(node, taken, kernel.transpose(2, 3, 0, 1).reshape(-1, 1, height, width), channels)

    write_depthwiseconv2dnative = write_fuseddepthwiseconv2dnative

    def convert(self, target: Path) -> None:
        """Write the wanted outputs, channels last again, and the graph: pictures (n, 512, 512, 3) in, 0 to 255."""
        pictures = self.graph.input("pictures", np.float32, ["n", SIDE, SIDE, 3])
        self.made[PICTURES] = self.graph.add("Transpose", pictures, perm=[0, 3, 1, 2])
        for name, (output, depth) in WANTED.items():
            last = self.graph.add("Transpose", self.flow(name), perm=[0, 2, 3, 1])
            self.graph.output(last, output, ["n", SIDE // 4, SIDE // 4, depth])
        self.graph.write(target)


def main(model: Path, weights: Path, target: Path) -> None:
    """Convert the two files."""
    document = json.loads(model.read_text(encoding="utf-8"))
    values = constants(document["weightsManifest"], weights.read_bytes())
    Converter(document["modelTopology"]["node"], values).convert(target)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
